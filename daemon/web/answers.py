"""Answers of the web endpoints: their bytes in pieces, their threads, their tags."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from time import monotonic, thread_time
from typing import Any

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.web.asked import is_known

#: Bytes handed over at once: what a slow client has not taken yet costs no more memory than this.
PIECE = 65_536

#: Seconds of work that a quiet time lets be done at once.
BURST_SECONDS = 1.0
#: Seconds a request costs the server itself, beside its view.
LEAST_COST = 0.0007

View = Callable[[Request], Response]
Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


class Pieces(Response):
    """An answer that is sent as fast as it is taken, and no faster."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send the answer."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        body = memoryview(self.body)
        last = max(len(body) - 1, 0) // PIECE
        for number in range(last + 1):
            piece = bytes(body[number * PIECE : (number + 1) * PIECE])
            await send({"type": "http.response.body", "body": piece, "more_body": number < last})


class Pace:
    """Lets a group of views take a share of one processor; who asks for more waits his turn.

    Parameters
    ----------
    share : float
        Of one processor, in (0, 1].
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self._next = 0.0
        self._cost = LEAST_COST

    async def turn(self) -> None:
        """Wait until there is something left of the share."""
        now = monotonic()
        start = max(self._next, now - BURST_SECONDS)
        self._next = start + self._cost / self.share
        if start > now:
            await asyncio.sleep(start - now)

    def spent(self, seconds: float) -> None:
        """Say what the view took, so that the next ones are let in at the pace it allows."""
        cost = seconds + LEAST_COST
        self._next += (cost - self._cost) / self.share
        self._cost += 0.2 * (cost - self._cost)


def in_threads(limit: int, share: float = 1.0) -> Callable[[View], Endpoint]:
    """Return what lets views run beside the server's loop, `limit` of them at once.

    The others wait in a queue: the more of them ran, the more of the interpreter they would take
    from whoever is publishing meanwhile.

    Parameters
    ----------
    share : float
        What they may take of one processor.
    """
    limiter, pace = anyio.CapacityLimiter(limit), Pace(share)

    def threaded(view: View) -> Endpoint:
        def timed(request: Request) -> tuple[Response, float]:
            begun = thread_time()
            return view(request), thread_time() - begun

        async def endpoint(request: Request) -> Response:
            await pace.turn()
            response, seconds = await anyio.to_thread.run_sync(timed, request, limiter=limiter)
            pace.spent(seconds)
            return response

        return endpoint

    return threaded


def tagged(request: Request, response: Response, tag: str) -> Response:
    """Return the answer with its ETag, or 304 where the client has it."""
    quoted = f'"{tag}"'
    if is_known(request, quoted):
        kept = {"cache-control", "vary", "content-security-policy"}
        headers = {name: value for name, value in response.headers.items() if name in kept}
        return Response(status_code=304, headers={**headers, "ETag": quoted})
    response.headers["ETag"] = quoted
    return response


def digest(data: bytes) -> str:
    """Return a short name for some bytes."""
    return hashlib.sha256(data).hexdigest()[:20]
