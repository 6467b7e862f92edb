"""The HTTP client of a language model: what it sends is listed, what it reads is bounded.

Imported only where a model is asked: it needs the extra `llm`.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache

import httpx2

from signals.errors import ModelError

#: The headers that are sent; those that the client library adds about the machine, or takes from
#: its environment, are not.
SENT = frozenset(
    {
        "host", "connection", "content-type", "content-length", "accept", "accept-encoding",
        "authorization", "user-agent",
    }
)  # fmt: skip


def open_client(key: str | None, seconds: float, most: int) -> httpx2.AsyncClient:
    """Return a client that reads at most `most` bytes of an answer.

    It follows no redirect and asks for plain bytes; an answer that comes compressed all the same
    is refused, so that no small answer becomes a large one.

    Parameters
    ----------
    key : str or None
        Sent as a bearer token.
    seconds : float
        Longest wait for each part of an answer; the caller bounds the whole.
    most : int
        Bytes.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(seconds),
        verify=_trust(),
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=1, max_keepalive_connections=0),
        event_hooks={"request": [_only_listed(key)], "response": [_bounded(most)]},
    )


@cache
def _trust() -> ssl.SSLContext:
    """Return whom to trust; to load it takes longer than all else about a request."""
    return httpx2.create_ssl_context()


def _only_listed(key: str | None) -> Callable[[httpx2.Request], Awaitable[None]]:
    async def before(request: httpx2.Request) -> None:
        for name in [name for name in request.headers if name.lower() not in SENT]:
            del request.headers[name]
        request.headers["accept-encoding"] = "identity"
        request.headers["user-agent"] = "alphad"
        request.headers.pop("authorization", None)
        if key is not None:
            request.headers["authorization"] = f"Bearer {key}"

    return before


def _bounded(most: int) -> Callable[[httpx2.Response], Awaitable[None]]:
    async def after(response: httpx2.Response) -> None:
        encoding = response.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            raise ModelError(
                f"the endpoint answered compressed ({encoding[:20]})",
                rule="plain bytes are asked for, so that the size of an answer is what is read",
                hint="switch the compression of the endpoint or its gateway off",
                retryable=True,
            )
        if int(response.headers.get("content-length", "0")) > most:
            raise _too_long(most)
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("an asynchronous client reads asynchronously")
        response.stream = _Bounded(response.stream, most)

    return after


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends in a ModelError when it is too long."""

    def __init__(self, inner: httpx2.AsyncByteStream, most: int) -> None:
        self._inner = inner
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for chunk in self._inner:
            read += len(chunk)
            if read > self._most:
                raise _too_long(self._most)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


def _too_long(most: int) -> ModelError:
    return ModelError(
        f"the endpoint answered more than {most} bytes",
        rule="an answer is read up to llm.max_response_bytes",
        hint="look at what answers at llm.base_url",
        retryable=True,
    )
