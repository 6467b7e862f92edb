"""How answers are let out: at a pace, in pieces, by their tags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from daemon.web.answers import BURST_SECONDS, LEAST_COST, PIECE, Pace, Pieces
from daemon.web.asked import is_known, quality


def test_what_a_view_took_is_owed() -> None:
    """Work of a tenth of a second at a fifth of a processor puts the next turn off by half."""

    async def spend() -> tuple[float, float]:
        pace = Pace(0.2)
        await pace.turn()
        before = pace._next
        pace.spent(0.1)
        return before, pace._next

    before, after = asyncio.run(spend())
    assert after - before == pytest.approx(0.1 / 0.2)


def test_quiet_time_is_not_saved_up_for_ever() -> None:
    """After any pause only so much may be done at once."""

    async def turns() -> tuple[float, float]:
        pace = Pace(1.0)
        loop = asyncio.get_running_loop()
        await pace.turn()
        return pace._next, loop.time()

    following, now = asyncio.run(turns())
    assert following == pytest.approx(now - BURST_SECONDS + LEAST_COST, abs=0.5)


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
def test_body_is_sent_in_pieces(size: int) -> None:
    """Each piece waits until the one before is taken; together they are the body."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Pieces(b"x" * size)({}, None, send))  # type: ignore[arg-type]
    start, *pieces = sent
    assert (b"content-length", str(size).encode()) in start["headers"]
    assert b"".join(piece["body"] for piece in pieces) == b"x" * size
    assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert all(len(piece["body"]) <= PIECE for piece in pieces)


@pytest.mark.parametrize(
    ("header", "known"),
    [('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"ab"', False), ("", False)],
)
def test_tags_are_compared_whole(header: str, known: bool) -> None:
    """If-None-Match holds a list of tags; a weak one is as good."""
    scope = {"type": "http", "headers": [(b"if-none-match", header.encode())]}
    assert is_known(Request(scope), '"a"') is known


def test_nearest_range_decides() -> None:
    """What is said of a type itself counts more than what is said of its kind or of all."""
    accept = "application/json;q=0, application/*;q=0.5, */*;q=0.9"
    assert [quality(accept, word) for word in ("json", "parquet", "csv")] == [0.0, 0.5, 0.9]
    assert quality("text/csv;q=2", "csv") == 0.0
