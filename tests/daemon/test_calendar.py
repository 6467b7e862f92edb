from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from daemon.calendar import MarketCalendar, Overlay, load_overlay
from signals.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def xnys() -> MarketCalendar:
    return MarketCalendar("XNYS", Overlay())


def test_half_day_closes_early(xnys: MarketCalendar) -> None:
    """The day after Thanksgiving 2026 closes at 13:00 in New York, 18:00 UTC."""
    assert xnys.close(date(2026, 11, 27)) == datetime(2026, 11, 27, 18, tzinfo=UTC)
    assert xnys.close(date(2026, 11, 25)) == datetime(2026, 11, 25, 21, tzinfo=UTC)
    assert xnys.finality(date(2026, 11, 27), 90) == datetime(2026, 11, 27, 19, 30, tzinfo=UTC)


def test_close_follows_summer_time(xnys: MarketCalendar) -> None:
    """The close is at 16:00 in New York on both sides of the change of 2026-03-08."""
    assert xnys.close(date(2026, 3, 6)).hour == 21
    assert xnys.close(date(2026, 3, 9)).hour == 20


def test_sessions_leave_out_weekends_and_holidays(xnys: MarketCalendar) -> None:
    """Both ends are included and the exchange's holidays are not."""
    days = xnys.sessions(date(2024, 12, 31), date(2025, 1, 10))
    assert [day.day for day in days] == [31, 2, 3, 6, 7, 8, 10]  # 01-09: day of mourning
    assert not xnys.is_session(date(2025, 1, 9))
    assert xnys.sessions(date(2025, 1, 4), date(2025, 1, 5)) == []


def test_next_and_previous_session_are_strict(xnys: MarketCalendar) -> None:
    """Neither returns the day itself; both skip closed days and count."""
    assert xnys.next_session(date(2026, 11, 25)) == date(2026, 11, 27)
    assert xnys.previous_session(date(2026, 11, 27)) == date(2026, 11, 25)
    assert xnys.next_session(date(2026, 11, 26), 2) == date(2026, 11, 30)
    assert xnys.previous_session(date(2026, 11, 28), 2) == date(2026, 11, 25)


def test_last_final_session_turns_at_finality(xnys: MarketCalendar) -> None:
    """A session is final from its finality on, to the second, weekends included."""
    final = xnys.finality(date(2026, 11, 27), 90)
    assert xnys.last_final(final - timedelta(seconds=1), 90) == date(2026, 11, 25)
    assert xnys.last_final(final, 90) == date(2026, 11, 27)
    assert xnys.last_final(datetime(2026, 11, 29, 12, tzinfo=UTC), 90) == date(2026, 11, 27)


def test_calendar_covers_2005(xnys: MarketCalendar) -> None:
    """Its first session is the first of 2005, and nothing before is guessed."""
    assert xnys.next_session(date(2005, 1, 1)) == date(2005, 1, 3)
    with pytest.raises(DataError, match="outside the calendar"):
        xnys.previous_session(date(2005, 1, 3))


def test_beyond_the_horizon_is_an_error() -> None:
    """After the last session anybody knows, no question is answered by a guess."""
    xshg = MarketCalendar("XSHG", Overlay())
    after = xshg.horizon + timedelta(days=1)
    for ask in (
        lambda: xshg.is_session(after),
        lambda: xshg.sessions(xshg.horizon, after),
        lambda: xshg.next_session(xshg.horizon),
        lambda: xshg.last_final(datetime.combine(after, time(9), UTC), 90),
    ):
        with pytest.raises(DataError, match="outside the calendar") as caught:
            ask()
        assert "overlay" in caught.value.hint


def test_day_that_is_no_session_has_no_close(xnys: MarketCalendar) -> None:
    """Thanksgiving has no close."""
    with pytest.raises(DataError, match="no session of XNYS"):
        xnys.close(date(2026, 11, 26))


def test_unknown_exchange_is_refused() -> None:
    """A misspelt exchange is a ConfigError that names the nearest code."""
    with pytest.raises(ConfigError, match="did you mean XNYS"):
        MarketCalendar("XNYSE", Overlay()).is_session(date(2024, 1, 2))


def test_overlay_corrects_the_calendar() -> None:
    """Added and removed sessions and other closes replace what the calendar says."""
    overlay = Overlay(
        added=frozenset({date(2024, 1, 6)}),
        removed=frozenset({date(2024, 1, 5)}),
        closes={date(2024, 1, 8): time(12)},
    )
    xnys = MarketCalendar("XNYS", overlay)
    days = xnys.sessions(date(2024, 1, 4), date(2024, 1, 8))
    assert [day.day for day in days] == [4, 6, 8]
    assert xnys.close(date(2024, 1, 6)) == datetime(2024, 1, 6, 21, tzinfo=UTC)
    assert xnys.close(date(2024, 1, 8)) == datetime(2024, 1, 8, 17, tzinfo=UTC)


def test_overlay_may_reach_further_than_the_calendar() -> None:
    """With a horizon of its own the overlay's sessions lengthen the calendar."""
    end = MarketCalendar("XSHG", Overlay()).horizon
    day = end + timedelta(days=4)
    longer = MarketCalendar("XSHG", Overlay(added=frozenset({day}), horizon=day))
    assert longer.next_session(end) == day
    with pytest.raises(ConfigError, match="after its horizon"):
        MarketCalendar("XSHG", Overlay(added=frozenset({day}))).is_session(end)


def test_overlay_file_is_read(tmp_path: Path) -> None:
    """One table for each exchange; exchanges that are absent are not corrected."""
    file = tmp_path / "overlay.toml"
    file.write_text(
        "[XSHG]\nhorizon = 2027-01-31\nadded = [2027-01-04]\nremoved = [2024-02-08]\n"
        "closes = { 2026-12-24 = 13:00:00 }\n"
    )
    overlay = load_overlay("XSHG", file)
    assert overlay.horizon == date(2027, 1, 31)
    assert overlay.closes == {date(2026, 12, 24): time(13)}
    assert load_overlay("XNYS", file) == Overlay()
    assert load_overlay("XNYS") == Overlay()


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[XNYS]\nadd = [2024-01-06]", "XNYS.add is no key"),
        ("[XNYS]\nadded = ['2024-01-06']", "malformed"),
        ("[XNYS]\ncloses = { 2024-01-08 = 12 }", "malformed"),
        ("[XNYS]\ncloses = { monday = 12:00:00 }", "malformed"),
        ("[XNYS", "no TOML"),
    ],
)
def test_malformed_overlay_is_refused(tmp_path: Path, text: str, fact: str) -> None:
    """A key or value an overlay cannot have is a ConfigError."""
    file = tmp_path / "overlay.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=fact):
        load_overlay("XNYS", file)
