from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.calendar import PROVISIONAL_DAYS, MarketCalendar, Overlay, load_overlay
from daemon.clock import ReplayClock
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


def test_far_beyond_the_horizon_is_an_error() -> None:
    """Where weekdays are presumed no longer, no question is answered by a guess."""
    xshg = MarketCalendar("XSHG", Overlay())
    last = xshg.horizon + timedelta(days=PROVISIONAL_DAYS)
    after = last + timedelta(days=1)
    for ask in (
        lambda: xshg.is_session(after),
        lambda: xshg.is_provisional(after),
        lambda: xshg.sessions(xshg.horizon, after),
        lambda: xshg.next_session(last),
        lambda: xshg.last_final(datetime.combine(after, time(9), UTC), 90),
    ):
        with pytest.raises(DataError, match="outside the calendar") as caught:
            ask()
        assert "overlay" in caught.value.hint


def test_year_after_the_last_known_has_provisional_weekdays() -> None:
    """The Shanghai calendar of 4.13.2 ends with 2026; in 2027 its weekdays count, marked so."""
    xshg = MarketCalendar("XSHG", Overlay())
    after = xshg.horizon + timedelta(days=1)
    days = xshg.sessions(after, after + timedelta(days=364))
    assert len(days) in {260, 261, 262}
    assert all(day.weekday() < 5 and xshg.is_provisional(day) for day in days)
    assert not xshg.is_provisional(xshg.previous_session(after))
    assert xshg.next_session(xshg.horizon) == days[0]
    for day in days:
        assert xshg.close(day) == datetime.combine(day, time(7), UTC)
        assert xshg.last_final(xshg.finality(day, 90), 90) == day


def test_horizon_is_counted_in_days() -> None:
    """It shrinks day by day and is negative once it is passed."""
    xshg = MarketCalendar("XSHG", Overlay())
    noon = datetime.combine(xshg.horizon, time(12), UTC)
    assert xshg.horizon_days(noon - timedelta(days=45)) == 45
    assert xshg.horizon_days(noon + timedelta(days=3)) == -3


def test_provisional_close_follows_summer_time() -> None:
    """A presumed session closes at the exchange's usual local time."""
    xnys = MarketCalendar("XNYS", Overlay())
    after = xnys.horizon + timedelta(days=1)
    for day in xnys.sessions(after, after + timedelta(days=365)):
        assert xnys.close(day).astimezone(ZoneInfo("America/New_York")).time() == time(16)


def test_last_known_day_may_be_a_holiday() -> None:
    """A holiday between the last session and the horizon is known, not presumed a session."""
    clock = ReplayClock(datetime(2028, 12, 24, 12, tzinfo=UTC))  # Christmas 2029 is a Tuesday
    xnys = MarketCalendar("XNYS", Overlay(), clock)
    assert xnys.horizon == date(2029, 12, 25)
    assert xnys.next_session(date(2029, 12, 24)) == date(2029, 12, 26)


def test_calendar_is_built_anew_when_the_day_changes() -> None:
    """A process older than a day sees a new horizon; within one day nothing is built again."""
    clock = ReplayClock(datetime(2029, 6, 1, 12, tzinfo=UTC))
    xnys = MarketCalendar("XNYS", Overlay(), clock)
    first = xnys.horizon
    clock.advance(timedelta(hours=11))
    assert xnys.horizon == first
    clock.advance(timedelta(hours=2))
    assert xnys.horizon == first + timedelta(days=1)
    clock.advance(timedelta(days=700))
    assert not xnys.is_provisional(xnys.next_session(clock.now().date()))


def test_clock_of_the_past_does_not_shorten_the_calendar() -> None:
    """A replay asks about days after its own clock and gets the exchange's sessions."""
    past = MarketCalendar("XNYS", Overlay(), ReplayClock(datetime(2015, 1, 2, tzinfo=UTC)))
    assert past.horizon == MarketCalendar("XNYS", Overlay()).horizon


@pytest.mark.parametrize(
    ("name", "zone", "usual", "half"),
    [
        ("XNYS", "America/New_York", time(16), time(13)),
        ("XLON", "Europe/London", time(16, 30), time(12, 30)),
    ],
)
def test_each_session_comes_once_through_summer_time(
    name: str, zone: str, usual: time, half: time
) -> None:
    """2026 to 2028, hour by hour: each session is final once, in order, at its local close."""
    clock = ReplayClock(datetime(2028, 12, 31, tzinfo=UTC))
    calendar = MarketCalendar(name, Overlay(), clock)
    expected = calendar.sessions(date(2026, 1, 1), date(2028, 12, 31))
    seen: list[date] = []
    now = datetime(2026, 1, 1, 23, tzinfo=UTC)
    while now < datetime(2028, 12, 31, tzinfo=UTC):
        final = calendar.last_final(now, 90)
        if final >= date(2026, 1, 1) and (not seen or seen[-1] != final):
            seen.append(final)
        now += timedelta(hours=1)
    assert seen == expected
    closes = {day: calendar.close(day).astimezone(ZoneInfo(zone)).time() for day in expected}
    short = [day for day, close in closes.items() if close == half]
    assert {close for day, close in closes.items() if day not in short} == {usual}
    assert 5 <= len(short) <= 9
    assert all((day.month, day.day) >= (11, 23) or day.month == 7 for day in short)


@pytest.mark.parametrize(
    "day",
    ["2024-07-03", "2024-11-29", "2024-12-24", "2025-07-03", "2025-11-28", "2025-12-24",
     "2026-11-27", "2026-12-24"],
)  # fmt: skip
def test_half_days_of_new_york(xnys: MarketCalendar, day: str) -> None:
    """Around Independence Day, Thanksgiving and Christmas a session ends at 13:00."""
    close = xnys.close(date.fromisoformat(day)).astimezone(ZoneInfo("America/New_York"))
    assert close.time() == time(13)
    assert xnys.is_half_day(date.fromisoformat(day))
    assert not xnys.is_half_day(xnys.previous_session(date.fromisoformat(day)))


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
    assert longer.horizon == day
    assert longer.next_session(end) == day
    assert not longer.is_provisional(day)


def test_overlay_corrects_provisional_sessions() -> None:
    """Beyond the horizon days can be taken out, and what is stated is provisional no longer."""
    end = MarketCalendar("XSHG", Overlay()).horizon
    days = MarketCalendar("XSHG", Overlay()).sessions(end, end + timedelta(days=20))[1:]
    saturday = end + timedelta(days=(5 - end.weekday()) % 7)
    overlay = Overlay(
        added=frozenset({days[1], saturday}),
        removed=frozenset({days[0]}),
        closes={days[2]: time(11, 30)},
    )
    xshg = MarketCalendar("XSHG", overlay)
    assert xshg.horizon == end
    assert not xshg.is_session(days[0])
    assert xshg.is_session(saturday)
    assert [xshg.is_provisional(day) for day in days[1:4]] == [False, False, True]
    assert xshg.close(days[2]) == datetime.combine(days[2], time(3, 30), UTC)


def test_confirmed_year_is_known() -> None:
    """Once its holidays are announced, a year's other weekdays are the exchange's sessions."""
    end = MarketCalendar("XSHG", Overlay()).horizon
    days = MarketCalendar("XSHG", Overlay()).sessions(end, end + timedelta(days=60))[1:]
    overlay = Overlay(removed=frozenset({days[0]}), confirmed=days[30])
    xshg = MarketCalendar("XSHG", overlay)
    assert xshg.horizon == days[30]
    assert xshg.next_session(end) == days[1]
    assert [xshg.is_provisional(day) for day in days[29:32]] == [False, False, True]


def test_edited_overlay_is_read_again(tmp_path: Path) -> None:
    """A change of the file counts at the next question, without a restart."""
    file = tmp_path / "overlay.toml"
    file.write_text("")
    xnys = MarketCalendar("XNYS", file)
    assert xnys.is_session(date(2026, 12, 30))
    file.write_text("[XNYS]\nremoved = [2026-12-30]\n")
    assert not xnys.is_session(date(2026, 12, 30))
    assert xnys.trouble is None


def test_overlay_broken_by_an_edit_changes_nothing(tmp_path: Path) -> None:
    """The last good overlay stays in force and the trouble is told until it is mended."""
    file = tmp_path / "overlay.toml"
    good = "[XNYS]\nremoved = [2026-12-30]\n"
    file.write_text(good)
    xnys = MarketCalendar("XNYS", file)
    assert not xnys.is_session(date(2026, 12, 30))
    file.write_text("[XNYS]\nremove = []\n")
    assert not xnys.is_session(date(2026, 12, 30))
    assert xnys.trouble is not None
    assert "XNYS.remove is no key" in xnys.trouble.fact
    file.unlink()
    assert not xnys.is_session(date(2026, 12, 30))
    assert "cannot be read" in str(xnys.trouble)
    file.write_text(good + "# mended\n")
    assert not xnys.is_session(date(2026, 12, 30))
    assert xnys.trouble is None


def test_overlay_that_was_never_good_is_refused(tmp_path: Path) -> None:
    """Without an earlier one a broken overlay is an error, not an empty overlay."""
    file = tmp_path / "overlay.toml"
    file.write_text("[XNYS]\nremove = []\n")
    with pytest.raises(ConfigError, match="no key of an overlay"):
        MarketCalendar("XNYS", file).is_session(date(2024, 1, 2))


def test_overlay_file_is_read(tmp_path: Path) -> None:
    """One table for each exchange; exchanges that are absent are not corrected."""
    file = tmp_path / "overlay.toml"
    file.write_text(
        "[XSHG]\nhorizon = 2027-01-31\nconfirmed = 2027-12-31\n"
        "added = [2027-01-04]\nremoved = [2024-02-08]\n"
        "closes = { 2026-12-24 = 13:00:00 }\n"
    )
    overlay = load_overlay("XSHG", file)
    assert overlay.horizon == date(2027, 1, 31)
    assert overlay.confirmed == date(2027, 12, 31)
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
