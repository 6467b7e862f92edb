"""What a fallback is told of the past, from the store."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from rich.console import Console

from daemon.clock import ReplayClock
from daemon.data_commands import show_facts
from daemon.data_inspection import DataFacts
from daemon.feeds.switch import Switch, provider_on, told_switches
from daemon.provider_past import stored_reader, switch_reader
from daemon.switching import away_assets, refused_switches
from storage import data
from storage.bars import BarStore
from storage.database import Database
from storage.tables import ProviderSwitch
from tests.storage.build import bar, bars, keep

NOW = datetime(2024, 6, 3, 22, tzinfo=UTC)
TODAY = NOW.date()


def opened(path: Path) -> BarStore:
    database = Database.file(path / "alphad.db")
    database.migrate()
    return BarStore(path, database)


def row(asset: str, session: date, before: str, after: str) -> ProviderSwitch:
    return ProviderSwitch(
        market="us", asset=asset, session=session, before=before, after=after, at=NOW
    )


def test_old_bars_are_read_of_those_alone_that_have_no_new_ones(tmp_path: Path) -> None:
    """The last bar of a series is found however long ago it was."""
    store = opened(tmp_path)
    old, new = TODAY - timedelta(days=2000), TODAY - timedelta(days=3)
    table = bars([bar(old, "A"), bar(old, "GONE"), bar(new, "A")])
    keep(store, table, NOW - timedelta(days=1), reconstructed=True)
    found = stored_reader(store, "us", ReplayClock(NOW))(["A", "GONE", "NEVER"])
    assert list(zip(found["asset"].to_pylist(), found["session"].to_pylist(), strict=True)) == [
        ("GONE", old),
        ("A", new),
    ]


def test_switches_come_back_as_they_were_stored(tmp_path: Path) -> None:
    """By asset and in time; the proof is kept in the row alone."""
    store = opened(tmp_path)
    days = [TODAY - timedelta(days=number) for number in (9, 2)]
    with store.database.transaction() as conn:
        data.append_switches(conn, [row("A", days[0], "yahoo", "tiingo")])
        data.append_switches(
            conn, [row("A", days[1], "tiingo", "yahoo"), row("B", days[1], "", "tiingo")]
        )
        assert away_assets(data.switches(conn, "us"), "yahoo") == {"B": "tiingo"}
    found = switch_reader(store.database, "us")()
    assert found == {
        "A": (
            Switch("A", "yahoo", "tiingo", days[0], None),
            Switch("A", "tiingo", "yahoo", days[1], None),
        ),
        "B": (Switch("B", "", "tiingo", days[1], None),),
    }
    told = [provider_on(found["A"], day, "yahoo") for day in (date.min, *days)]
    assert told == ["yahoo", "tiingo", "yahoo"]
    assert provider_on(found["B"], date.min, "yahoo") == "tiingo"


def test_many_switches_are_counted_and_few_are_named() -> None:
    """Five are told one by one, the rest as a number."""
    many = [Switch(f"A{number}", "yahoo", "tiingo", TODAY, None) for number in range(8)]
    assert len(told_switches(many)) == 6
    assert told_switches(many)[-1] == "3 more assets come from tiingo now"
    assert told_switches(many[:1]) == (f"A0 comes from tiingo instead of yahoo since {TODAY}",)


def test_what_may_not_take_over_is_quarantined() -> None:
    """Other reasons to have no bar are no verdict."""
    missing = {"A": "failed: 429; tiingo: not taken over: A returns 1 %", "B": "timeout: none"}
    assert [(said.outcome, said.asset) for said in refused_switches(missing, TODAY)] == [
        ("quarantine", "A")
    ]


def test_switches_are_shown() -> None:
    """`alphad data` prints a row for each session and way, with the largest difference."""
    row = {"session": "2024-05-31", "before": "yahoo", "after": "tiingo", "gap": 1.2e-5}
    assets = [f"A{number}" for number in range(7)]
    facts = DataFacts(
        market="us",
        sources={},
        span=None,
        assets=0,
        years=[],
        recent=[],
        months=[],
        gaps=0,
        named_gaps=[],
        vintages=[],
        restated={},
        rules=[],
        membership={},
        calendar={},
        feed={"fallback": "tiingo"},
        switches=[{**row, "assets": assets, "n_sessions": 90}],
    )
    console = Console(width=120, record=True, file=io.StringIO())
    show_facts(console, facts)
    text = console.export_text()
    assert "yahoo → tiingo" in text
    assert "7: A0, A1, A2, A3, A4, …" in text
    assert "0.12 basis points" in text
