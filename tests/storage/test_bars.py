"""Vintages: kept for ever, read as of a time."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signals.errors import BarsError, IntegrityError
from storage.bars import BAR_SCHEMA, BarStore, last_vintage, vintages
from storage.database import Database
from storage.files import sha256
from tests.storage.build import at, bar, bars, day, keep, market_day


@pytest.fixture
def store(tmp_path: Path, database: Database) -> BarStore:
    """Return an empty store."""
    return BarStore(tmp_path / "state", database)


class TestVintages:
    """What holds on every database."""

    def test_panel_of_one_vintage(self, store: BarStore) -> None:
        """Bars come back aligned: rows by session, columns by name, NaN where there is no bar."""
        keep(
            store,
            bars([bar(day(1), "B", 2.0), bar(day(0), "A", 1.0), bar(day(1), "A", 3.0)]),
            at(1),
        )
        panel = store.panel("us", as_of=at(1), last_session=day(1))
        assert panel.assets == ("A", "B")
        assert panel.sessions.tolist() == [day(0), day(1)]
        expected = np.array([[1.0, np.nan], [3.0, 2.0]])
        assert np.array_equal(panel.fields["close"], expected, equal_nan=True)
        assert panel.universe.tolist() == [[True, False], [True, True]]
        assert np.isnan(panel.fields["amount"]).all()

    def test_later_vintage_wins(self, store: BarStore) -> None:
        """A restated bar replaces the earlier one, but only as of the time it became known."""
        keep(store, bars([bar(day(0), "A", 1.0), bar(day(0), "B", 1.0)]), at(0))
        keep(store, bars([bar(day(0), "A", 2.0)]), at(5))
        now = store.panel("us", as_of=at(5), last_session=day(0))
        then = store.panel("us", as_of=at(4), last_session=day(0))
        assert now.fields["close"].tolist() == [[2.0, 1.0]]
        assert then.fields["close"].tolist() == [[1.0, 1.0]]

    def test_known_at_decides_and_not_the_number(self, store: BarStore) -> None:
        """A vintage recorded later but known earlier does not win."""
        keep(store, bars([bar(day(0), "A", 2.0)]), at(5))
        keep(store, bars([bar(day(0), "A", 1.0)]), at(3))
        assert store.panel("us", as_of=at(9), last_session=day(0)).fields["close"].item() == 2.0

    def test_past_panel_has_no_later_asset(self, store: BarStore) -> None:
        """A panel of the past has no column for an asset that came later."""
        for number in range(4):
            keep(store, market_day(number, ["A", "B", "C"][: number + 1]), at(number))
        panel = store.panel("us", as_of=at(1), last_session=day(1))
        assert (panel.assets, panel.n_sessions) == (("A", "B"), 2)
        assert store.panel("us", as_of=at(3), last_session=day(0)).assets == ("A",)

    def test_reconstructed_rows_count_as_known_at_their_session(self, store: BarStore) -> None:
        """A backfill is seen by a replay of the past, up to the session that was final then."""
        rows = [bar(day(number), "A", 1.0 + number) for number in range(4)]
        keep(store, bars(rows), at(100), reconstructed=True)
        panel = store.panel("us", as_of=at(2), last_session=day(2))
        assert panel.fields["close"].ravel().tolist() == [1.0, 2.0, 3.0]

    def test_events_adjust_forward(self, store: BarStore) -> None:
        """A split scales prices and volumes from its session on and leaves the past alone."""
        rows = [
            bar(day(0), "A", 10.0),
            bar(day(1), "A", 5.5, adjustment=2.0, split=2.0, volume=300.0),
        ]
        keep(store, bars([*rows, bar(day(2), "A", 6.0, volume=200.0, amount=7.0)]), at(2))
        fields = store.panel("us", as_of=at(2), last_session=day(2)).fields
        assert fields["close"].ravel().tolist() == [10.0, 11.0, 12.0]
        assert fields["volume"].ravel().tolist() == [100.0, 150.0, 100.0]
        assert fields["amount"][2].item() == 7.0

    def test_suspended_asset_has_no_bar(self, store: BarStore) -> None:
        """A suspended asset is NaN in every field, and no member; its event still counts."""
        rows = [bar(day(0), "A", 10.0), bar(day(1), "A", 10.0, suspended=True, adjustment=2.0)]
        keep(store, bars([*rows, bar(day(2), "A", 6.0)]), at(2))
        panel = store.panel("us", as_of=at(2), last_session=day(2))
        assert all(np.isnan(values[1]).all() for values in panel.fields.values())
        assert panel.universe.ravel().tolist() == [True, False, True]
        assert panel.fields["close"][2].item() == 12.0

    def test_columns_never_move(self, store: BarStore) -> None:
        """An asset keeps its column; new ones come after it, by name."""
        keep(store, market_day(0, ["M", "Z"]), at(0))
        keep(store, market_day(1, ["C", "A", "M"]), at(1))
        assert store.panel("us", as_of=at(1), last_session=day(1)).assets == ("M", "Z", "A", "C")

    def test_markets_are_apart(self, store: BarStore) -> None:
        """Each market has its own numbers and its own panel."""
        keep(store, market_day(0, ["A"]), at(0), market="us")
        assert keep(store, market_day(3, ["B"]), at(3), market="cn").number == 1
        assert store.panel("us", as_of=at(9), last_session=day(9)).assets == ("A",)

    def test_unknown_market(self, store: BarStore) -> None:
        """A market without a bar, or without one known then, is an error with a way out."""
        with pytest.raises(BarsError, match="no bar"):
            store.panel("us", as_of=at(1), last_session=day(1))
        keep(store, market_day(5, ["A"]), at(5))
        with pytest.raises(BarsError, match="no bar"):
            store.panel("us", as_of=at(9), last_session=day(4))
        with pytest.raises(BarsError, match="no bar"):
            store.panel("us", as_of=at(4), last_session=day(9))

    def test_vintages_are_numbered_and_chained(self, store: BarStore) -> None:
        """Vintages count from 1, and each one's chain depends on all before it."""
        kept = [keep(store, market_day(number, ["A"]), at(number)) for number in range(3)]
        with store.database.read() as c:
            assert vintages(c, "us") == kept
            assert last_vintage(c, "us") == kept[-1]
            assert [v.number for v in vintages(c, "us", touching=day(1))] == [2, 3]
        assert len({vintage.chain for vintage in kept}) == 3

    def test_sweep_removes_what_no_row_names(self, store: BarStore) -> None:
        """A file written by a run that died before its transaction is swept, others stay."""
        kept = keep(store, market_day(0, ["A"]), at(0))
        lost = store.append(
            "us",
            market_day(1, ["A"]),
            source="t",
            known_at=at(1),
            reconstructed=False,
            cause="first",
        )
        assert store.sweep("us") == [store.root / lost.path]
        assert store.sweep("us") == []
        assert (store.root / kept.path).is_file()


def test_changed_vintage_is_found(tmp_path: Path, sqlite: Database) -> None:
    """A vintage whose file has changed, or is gone, is never read as bars."""
    vintage = keep(BarStore(tmp_path, sqlite), market_day(0, ["A"]), at(0))
    path = tmp_path / vintage.path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="has changed"):
        BarStore(tmp_path, sqlite).panel("us", as_of=at(1), last_session=day(1))
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot be read"):
        BarStore(tmp_path, sqlite).panel("us", as_of=at(1), last_session=day(1))


def test_same_bars_make_the_same_file(tmp_path: Path, sqlite: Database) -> None:
    """Equal bars in another order give the same file, so that a replay repeats its bytes."""
    store = BarStore(tmp_path, sqlite)
    rows = [bar(day(n), asset, 1.0 + n) for n in range(3) for asset in "ABC"]
    assert keep(store, bars(rows), at(0)).sha256 == keep(store, bars(rows[::-1]), at(1)).sha256


def test_vintage_of_an_earlier_schema_is_filled_in(tmp_path: Path, sqlite: Database) -> None:
    """A file written before a column existed reads back with what its absence stands for."""
    store = BarStore(tmp_path, sqlite)
    wanted = bars([bar(day(0), "A", 3.0, suspended=True), bar(day(0), "B", 4.0, split=2.0)])
    kept = store.append(
        "us", wanted, source="t", known_at=at(0), reconstructed=False, cause="first"
    )
    earlier = BytesIO()
    pq.write_table(wanted.drop_columns(["dividend", "st", "limit_up", "limit_down"]), earlier)
    (tmp_path / kept.path).write_bytes(earlier.getvalue())
    old = kept.model_copy(update={"sha256": sha256(earlier.getvalue())})
    assert BarStore(tmp_path, sqlite).read(old).equals(wanted)


@pytest.mark.parametrize(
    ("table", "fact"),
    [
        (BAR_SCHEMA.empty_table(), "no row"),
        (bars([bar(day(0), "A"), bar(day(0), "B"), bar(day(0), "A")]), "A has two bars of us"),
        (bars([bar(day(0), "A", adjustment=0.0)]), "adjustment that is not positive"),
        (bars([bar(day(0), "A", split=float("nan"))]), "split that is not positive"),
        (bars([bar(day(0), "A", suspended=None)]), "have no suspended"),
        (bars([bar(day(0), "A")]).drop_columns("amount"), "another schema"),
        (pa.table({"x": [1]}), "another schema"),
    ],
)
def test_unusable_bars(tmp_path: Path, sqlite: Database, table: Any, fact: str) -> None:
    """Bars that cannot be kept name what is wrong, and leave no file."""
    store = BarStore(tmp_path, sqlite)
    with pytest.raises(BarsError, match=fact):
        keep(store, table, at(0))
    assert not list(tmp_path.rglob("*.parquet"))
