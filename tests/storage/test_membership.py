"""Constituents by date."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from signals.errors import MembershipError
from storage import membership
from storage.database import Database
from storage.membership import Spell, read_membership
from tests.storage.build import at, day


def written(folder: Path, text: str) -> Path:
    path = folder / "members.csv"
    path.write_text(text, encoding="utf-8")
    return path


SESSIONS = np.array([day(n) for n in range(5)], dtype="datetime64[D]")


class TestMembership:
    """What holds on every database."""

    def test_spells_include_both_ends(self, database: Database) -> None:
        """A member belongs on the first and the last day of each spell."""
        spells = [Spell("A", day(1), day(2)), Spell("A", day(4), None), Spell("B", day(0), None)]
        with database.transaction() as c:
            assert membership.save(c, "us", spells, "file", at(0))
            got = membership.universe(c, "us", SESSIONS, ["B", "X", "A"])
            assert membership.member_count(c, "us", day(2)) == 2
        assert got[:, 0].all()
        assert not got[:, 1].any()
        assert got[:, 2].tolist() == [False, True, True, False, True]

    def test_without_membership_everybody_belongs(self, database: Database) -> None:
        """A market without a membership takes every asset."""
        with database.read() as c:
            assert membership.universe(c, "us", SESSIONS, ["A", "B"]).all()
            assert membership.member_count(c, "us", day(1)) is None

    def test_same_membership_is_stored_once(self, database: Database) -> None:
        """Saving what is stored already changes nothing; a changed one is the one in force."""
        with database.transaction() as c:
            assert membership.save(c, "us", [Spell("A", day(0), None)], "file", at(0))
            assert not membership.save(c, "us", [Spell("A", day(0), None)], "file", at(1))
            assert membership.save(c, "us", [Spell("B", day(0), None)], "file", at(2))
            assert membership.load(c, "us").members(day(1)) == ("B",)
            assert membership.load(c, "us", as_of=at(1)).members(day(1)) == ("A",)


def test_codes_are_text(tmp_path: Path) -> None:
    """Leading zeros stay, an empty end is open, and a basis is ignored."""
    path = written(tmp_path, "code,start_date,end_date,start_basis\n000005,2020-01-02,,x\n")
    assert read_membership(path) == (Spell("000005", date(2020, 1, 2), None),)


def test_parquet_membership(tmp_path: Path) -> None:
    """A Parquet file with dates is read as well."""
    path = tmp_path / "members.parquet"
    columns = {"asset": ["A"], "start_date": [day(0)], "end_date": [day(3)]}
    pq.write_table(pa.table(columns), path)
    assert read_membership(path) == (Spell("A", day(0), day(3)),)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "cannot be read"),
        ("symbol,start_date,end_date\n", "has no spell"),
        ("symbol,start_date\nA,2020-01-01\n", "has the columns"),
        ("symbol,start_date,end_date,weight\nA,2020-01-01,,3\n", "has the columns"),
        ("symbol,code,start_date,end_date\nA,B,2020-01-01,\n", "has the columns"),
        ("symbol,start_date,end_date\nA,2020-01-05,2020-01-04\n", "A 2020-01-05…2020-01-04 ends"),
        (
            "symbol,start_date,end_date\nA,2020-01-01,2020-01-05\nA,2020-01-05,\n",
            "A 2020-01-01…2020-01-05 overlaps A 2020-01-05…open",
        ),
        ("symbol,start_date,end_date\nA,2020-01-01,\nA,2021-01-01,\n", "…open overlaps A 2021"),
        ("symbol,start_date,end_date\nA,soon,\n", "line 2: 'soon' is no date"),
        ("symbol,start_date,end_date\n,2020-01-01,\n", "line 2: no asset"),
    ],
)
def test_unusable_membership(tmp_path: Path, text: str, fact: str) -> None:
    """A membership file that breaks a rule names the asset and the spells at fault."""
    with pytest.raises(MembershipError, match=fact):
        read_membership(written(tmp_path, text))


def test_numeric_codes_are_refused(tmp_path: Path) -> None:
    """A column of numbers has lost its leading zeros and is refused."""
    path = tmp_path / "members.parquet"
    columns = {"code": [5], "start_date": [day(0)], "end_date": [day(3)]}
    pq.write_table(pa.table(columns), path)
    with pytest.raises(MembershipError, match="column code holds int64"):
        read_membership(path)


@pytest.mark.parametrize(
    ("name", "on", "count"),
    [
        ("csi500_intervals.csv", date(2018, 6, 1), 500),
        ("sp500_intervals.csv", date(2018, 6, 1), 505),
    ],
)
def test_real_memberships(shared_data: Path, name: str, on: date, count: int) -> None:
    """The real index files have about the number of members the indices are named for."""
    members = membership.Membership(read_membership(shared_data / name)).members(on)
    assert abs(len(members) - count) <= 2
