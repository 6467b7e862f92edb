"""The derived panel cache: always exactly what the vintages say."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signals.panel import Panel
from storage.bars import BarStore
from storage.database import Database
from tests.storage.build import at, bar, bars, day, keep, market_day

ASSETS = [f"A{number:02d}" for number in range(12)]


def equal(one: Panel, other: Panel) -> bool:
    """Whether two panels are the same to the last bit."""
    return (
        one.assets == other.assets
        and np.array_equal(one.sessions, other.sessions)
        and np.array_equal(one.universe, other.universe)
        and one.flags is not None
        and other.flags is not None
        and np.array_equal(one.flags, other.flags)
        and all(
            np.array_equal(one.fields[name], other.fields[name], equal_nan=True)
            for name in one.fields
        )
    )


def copied(panel: Panel) -> Panel:
    fields = {name: values.copy() for name, values in panel.fields.items()}
    flags = None if panel.flags is None else panel.flags.copy()
    return replace(panel, fields=fields, universe=panel.universe.copy(), flags=flags)


def read(store: BarStore, last: int = 999) -> Panel:
    return store.panel("us", as_of=at(9999), last_session=day(last))


def by_hand(vintages: list[tuple[int, list[dict[str, Any]]]]) -> dict[tuple[Any, str], list[float]]:
    """Return adjusted bars by session and asset, bar by bar, from (known_at, rows) by number."""
    order = sorted(range(len(vintages)), key=lambda number: (vintages[number][0], number))
    stored = {(row["session"], row["asset"]): row for n in order for row in vintages[n][1]}
    result: dict[tuple[Any, str], list[float]] = {}
    factors: dict[str, tuple[float, float]] = {}
    for (session, asset), row in sorted(stored.items()):
        price, shares = factors.get(asset, (1.0, 1.0))
        factors[asset] = price, shares = price * row["adjustment"], shares * row["split"]
        if not row["suspended"]:
            result[session, asset] = [row["close"] * price, row["volume"] / shares]
    return result


@st.composite
def batches(draw: st.DrawFn) -> list[tuple[int, list[dict[str, Any]]]]:
    """Vintages that append sessions, restate old ones, and bring new assets, in any order."""
    made = []
    for number in range(draw(st.integers(1, 6))):
        first = draw(st.integers(0, 12))
        length = draw(st.integers(1, 4))
        names = draw(st.lists(st.sampled_from(ASSETS), min_size=1, max_size=5, unique=True))
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        rows = [
            bar(
                day(session),
                name,
                float(rng.lognormal(3, 0.2)),
                adjustment=float(rng.choice([1.0, 1.0, 1.1, 0.5])),
                split=float(rng.choice([1.0, 1.0, 2.0, 3.0])),
                suspended=bool(rng.random() < 0.2),
                st=bool(rng.random() < 0.2),
                limit_up=bool(rng.random() < 0.2),
            )
            for session in range(first, first + length)
            for name in names
            if rng.random() < 0.9
        ]
        known_at = draw(st.integers(0, 20))
        made.append((known_at, rows or [bar(day(first), names[0], 1.0 + number)]))
    return made


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(given_vintages=batches())
def test_grown_cache_is_a_rebuilt_one(
    given_vintages: list[tuple[int, list[dict[str, Any]]]], migrated_file: Path
) -> None:
    """After any vintages in any order, the grown cache, a rebuild and a hand count are equal."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shutil.copy(migrated_file, root / "alphad.sqlite")
        database = Database.file(root / "alphad.sqlite")
        store = BarStore(root, database)
        for known_at, rows in given_vintages:
            keep(store, bars(rows), at(known_at))
            grown = read(store)
        shutil.rmtree(root / "cache")
        rebuilt = read(BarStore(root, database))
        database.close()
    assert equal(grown, rebuilt)
    expected = by_hand(given_vintages)
    for row, session in enumerate(grown.sessions.tolist()):
        for column, asset in enumerate(grown.assets):
            got = [grown.fields[name][row, column] for name in ("close", "volume")]
            want = expected.get((session, asset), [np.nan, np.nan])
            assert np.array_equal(got, want, equal_nan=True)
            assert grown.universe[row, column] == ((session, asset) in expected)


def ten_days(root: Path, database: Database) -> BarStore:
    store = BarStore(root, database)
    for number in range(10):
        keep(store, market_day(number, ASSETS[: 6 + number % 3]), at(number))
        read(store)
    return store


def rows_file(root: Path) -> Path:
    (path,) = (root / "cache" / "us").glob("rows-*.bin")
    return path


def cut_rows(root: Path) -> None:
    path = rows_file(root)
    path.write_bytes(path.read_bytes()[:-1000])


def flip_row_byte(root: Path) -> None:
    path = rows_file(root)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


def cut_meta(root: Path) -> None:
    path = root / "cache" / "us" / "meta.json"
    path.write_bytes(path.read_bytes()[:50])


def flip_meta_byte(root: Path) -> None:
    path = root / "cache" / "us" / "meta.json"
    path.write_bytes(path.read_bytes().replace(b"A01", b"A91"))


def lose_rows(root: Path) -> None:
    rows_file(root).unlink()


def lose_all(root: Path) -> None:
    shutil.rmtree(root / "cache")


@pytest.mark.parametrize(
    "harm", [cut_rows, flip_row_byte, cut_meta, flip_meta_byte, lose_rows, lose_all]
)
def test_damaged_cache_is_rebuilt(
    tmp_path: Path, sqlite: Database, harm: Callable[[Path], None]
) -> None:
    """A cache that is cut, changed in one bit or lost is rebuilt by the next process."""
    expected = copied(read(ten_days(tmp_path, sqlite)))
    harm(tmp_path)
    assert equal(read(BarStore(tmp_path, sqlite)), expected)
    assert equal(read(BarStore(tmp_path, sqlite)), expected)


def test_rows_written_before_a_kill_do_not_count(tmp_path: Path, sqlite: Database) -> None:
    """Rows that were written when their meta was not are overwritten by the next append."""
    store = ten_days(tmp_path, sqlite)
    old = (tmp_path / "cache" / "us" / "meta.json").read_bytes()
    keep(store, market_day(10, ASSETS), at(10))
    expected = read(store)
    (tmp_path / "cache" / "us" / "meta.json").write_bytes(old)
    assert equal(read(BarStore(tmp_path, sqlite)), expected)


def test_append_writes_only_the_new_row(tmp_path: Path, sqlite: Database) -> None:
    """A vintage that only adds a session extends the same file by one row."""
    store = ten_days(tmp_path, sqlite)
    before, size = rows_file(tmp_path), rows_file(tmp_path).stat().st_size
    keep(store, market_day(10, ASSETS), at(10))
    read(store)
    assert rows_file(tmp_path) == before
    assert rows_file(tmp_path).stat().st_size == size + size // 10


def test_panel_in_hand_never_changes(tmp_path: Path, sqlite: Database) -> None:
    """A panel read before a restatement keeps its values while the store moves on."""
    store = ten_days(tmp_path, sqlite)
    held = read(store)
    copy = {name: values.copy() for name, values in held.fields.items()}
    keep(store, bars([bar(day(2), ASSETS[0], 99.0)]), at(11))
    keep(store, market_day(12, [f"B{n}" for n in range(100)]), at(12))
    assert read(store).fields["close"][2, 0] == 99.0
    for name, values in copy.items():
        assert np.array_equal(held.fields[name], values, equal_nan=True)


def test_change_to_a_panel_stays_with_its_reader(tmp_path: Path, sqlite: Database) -> None:
    """What a caller writes into a panel does not reach the file."""
    store = ten_days(tmp_path, sqlite)
    read(store).fields["close"][:] = -1.0
    assert read(BarStore(tmp_path, sqlite)).fields["close"][0, 0] > 0


def test_two_processes_share_a_cache(tmp_path: Path, sqlite: Database) -> None:
    """A store that fell behind another one on the same directory catches up from its cache."""
    one, other = ten_days(tmp_path, sqlite), BarStore(tmp_path, sqlite)
    read(other)
    for number in range(10, 14):
        keep(one, market_day(number, ASSETS), at(number))
        expected = read(one)
    assert equal(read(other), expected)
    keep(other, market_day(14, ASSETS), at(14))
    assert equal(read(other), read(one))


def test_other_database_rebuilds(tmp_path: Path, migrated_file: Path, sqlite: Database) -> None:
    """A cache left by another history of vintages is not believed."""
    ten_days(tmp_path, sqlite)
    shutil.copy(migrated_file, tmp_path / "other.sqlite")
    other = Database.file(tmp_path / "other.sqlite")
    store = BarStore(tmp_path, other)
    for number in range(10):
        keep(store, market_day(number, ASSETS[:3], seed=1), at(number))
    assert read(store).assets == tuple(ASSETS[:3])
    other.close()


def test_past_panel_equals_what_was_read_then(tmp_path: Path, sqlite: Database) -> None:
    """Any past day reads again exactly as it was read on that day, restatements and all."""
    store = BarStore(tmp_path, sqlite)
    seen = []
    for number in range(12):
        keep(store, market_day(number, ASSETS[: 3 + number % 5]), at(number))
        if number % 4 == 3:
            keep(store, bars([bar(day(number - 2), "A00", 50.0 + number)]), at(number))
        seen.append(store.panel("us", as_of=at(number), last_session=day(number)))
    for number, panel in enumerate(seen):
        again = store.panel("us", as_of=at(number), last_session=day(number))
        assert equal(again, panel), number


def test_flags_come_along_with_the_bars(tmp_path: Path, sqlite: Database) -> None:
    """The panel says what the last vintage says of each row, suspended ones too."""
    store = BarStore(tmp_path, sqlite)
    rows = [bar(day(0), "A", st=True), bar(day(0), "B", suspended=True), bar(day(1), "A")]
    keep(store, bars(rows), at(1))
    keep(store, bars([bar(day(0), "A", limit_down=True)]), at(2))
    panel = read(store)
    column = panel.assets.index("A"), panel.assets.index("B")
    assert panel.flagged("limit_down")[:, column[0]].tolist() == [True, False]
    assert not panel.flagged("st").any()
    assert panel.flagged("suspended")[:, column[1]].tolist() == [True, False]
