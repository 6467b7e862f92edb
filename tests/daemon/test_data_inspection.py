"""What `alphad data diff` says, and how a held change of members is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path

import pytest

from daemon.clock import ReplayClock
from daemon.context import Context, open_context
from daemon.data_commands import _value
from daemon.data_inspection import data_diff
from daemon.settings import build_settings
from signals.errors import DataError
from tests.storage.build import bar, bars, keep

#: Monday to Thursday.
DAYS = tuple(date(2024, 6, number) for number in (3, 4, 5, 6))


def evening(number: int) -> datetime:
    """Return a time after the bars of session `number` are final in New York."""
    return datetime.combine(DAYS[number], time(23), UTC)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = build_settings(
        {"state_dir": tmp_path / "state", "publish_dir": tmp_path / "out", "markets": {"us": {}}}
    )
    with open_context(settings, ReplayClock(evening(3))) as opened:
        yield opened


def test_what_a_backfill_brought_is_new_from_its_own_session_on(context: Context) -> None:
    """Rows of a later session than the earlier time are added by then, not known before."""
    history = bars([bar(day, "A", 10.0 + number) for number, day in enumerate(DAYS)])
    keep(context.bars, history, evening(3), reconstructed=True)
    market = context.markets["us"]
    found = data_diff(context, market, evening(1), evening(3), None, None)
    assert (found.counts, found.rows) == ({"added": 2}, [])


def test_a_correction_names_what_changed(context: Context) -> None:
    """The bar that was told otherwise, with both values and the cause."""
    keep(context.bars, bars([bar(DAYS[0], "A"), bar(DAYS[0], "B")]), evening(0))
    keep(context.bars, bars([bar(DAYS[0], "A", 10.0, volume=90.0)]), evening(1))
    found = data_diff(context, context.markets["us"], evening(0), evening(1), None, None)
    assert [(row["asset"], row["volume"]) for row in found.rows] == [("A", [100.0, 90.0])]


@pytest.mark.parametrize(
    ("times", "span", "fact"),
    [
        ((1, 0), (None, None), "the times are 2024-06-04"),
        ((0, 1), (DAYS[2], DAYS[1]), "--from 2024-06-05 is after --to 2024-06-04"),
        ((0, 1), (None, None), "no bar of us was known"),
    ],
)
def test_a_question_without_sense_is_refused(
    context: Context, times: tuple[int, int], span: tuple[date | None, date | None], fact: str
) -> None:
    """Times or days the wrong way round, or a store without bars: an error with a way out."""
    with pytest.raises(DataError, match=fact) as caught:
        data_diff(context, context.markets["us"], evening(times[0]), evening(times[1]), *span)
    assert caught.value.hint


def test_a_held_change_is_told_in_words() -> None:
    """Who joins, who leaves, since when, and the command that confirms it."""
    held = {
        "digest": "abc",
        "session": DAYS[0],
        "joined": [f"A{number}" for number in range(7)],
        "left": ["B"],
        "confirmed": False,
    }
    assert _value([held]) == (
        "7 join (A0, A1, A2, A3, A4, …) and 1 leave (B) since 2024-06-03, "
        "waits for: alphad data confirm-members abc"
    )
