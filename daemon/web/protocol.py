"""HTTP as this daemon speaks it: nobody may hold a connection, or all of them, for long."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

#: Bytes of a request line with its headers.
LONGEST_HEADERS = 16_384
#: Connections at once; one more ends the one that has been idle longest.
MOST_CONNECTIONS = 256
#: Seconds until a request has to be there with its headers.
HEADERS_SECONDS = 10.0
#: Seconds until it has to be answered, and the answer taken.
ANSWER_SECONDS = 60.0


class GuardedProtocol(H11Protocol):
    """A connection with deadlines; uvicorn's own would wait for a silent client for ever."""

    #: The seconds above, for a test to shorten.
    headers_seconds = HEADERS_SECONDS
    answer_seconds = ANSWER_SECONDS
    most_connections = MOST_CONNECTIONS

    _deadline: asyncio.TimerHandle | None = None
    _since: float = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection in, and end another where there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._expect(self.headers_seconds)
        if len(self.connections) > self.most_connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline with the connection."""
        self._clear()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; those no server can make sense of end the connection."""
        before = self.cycle
        try:
            super().data_received(data)
        except (h11.ProtocolError, ValueError):  # garbage while an answer is on its way
            self.transport.abort()
            return
        if self.cycle is not before:
            self._expect(self.answer_seconds)

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._since = self.loop.time()
        before = self.cycle
        super().on_response_complete()
        self._expect(self.answer_seconds if self.cycle is not before else self.headers_seconds)

    @property
    def is_idle(self) -> bool:
        """Whether no request of this connection waits for an answer."""
        cycle: RequestResponseCycle | None = self.cycle  # there is none before the first request
        return cycle is None or cycle.response_complete

    def _make_room(self) -> None:
        others: list[Any] = [each for each in self.connections if each is not self]
        idle = [each for each in others if each.is_idle]
        victim = min(idle, key=lambda each: each._since) if idle else self  # noqa: SLF001
        victim.transport.abort()

    def _expect(self, seconds: float) -> None:
        self._clear()
        self._deadline = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        sending = self.transport.get_write_buffer_size() > 0
        if sending and self.loop.time() - self._since < self.answer_seconds:
            self._expect(self.headers_seconds)
        else:
            self.transport.abort()

    def _clear(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
