from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from daemon.constituents import INDICES, Change, Constituents, parse_constituents, query
from daemon.feeds.clients import constituents as client
from daemon.feeds.protocol import Query
from daemon.universe import MAX_CHANGES, MembershipChange, Refreshed, diff, refresh
from daemon.universe_overrides import Override, apply_overrides, load_overrides
from daemon.universe_walk import spells_from_changes
from signals.errors import ConfigError, MembershipError
from storage.membership import Membership, Spell, check_spells

SP500, CSI500 = INDICES["sp500"], INDICES["csi500"]
FIRST, BEFORE, TODAY = date(2020, 1, 2), date(2026, 11, 20), date(2026, 11, 23)
CODES = tuple(f"{600000 + n}" for n in range(520))


def name(number: int) -> str:
    return "".join(chr(65 + number // 26**place % 26) for place in (2, 1, 0))


def names(n: int) -> tuple[str, ...]:
    return tuple(name(number) for number in range(n))


def page(
    members: Sequence[str],
    changes: Sequence[tuple[str, str, str]] = (("May 1, 2019", "AAA", ""),),
    *,
    added: str = "1957-03-04",
    date_heading: str = "Effective Date",
) -> str:
    """Return a page with the two tables as the public one has them, and one it does not need."""
    rows = "".join(
        f'<tr><td><a href="https://example.org/{symbol}">{symbol}</a>\n</td><td>{symbol} Inc.</td>'
        f"<td>Energy</td><td>{added}</td><td>0000{n:06d}</td></tr>"
        for n, symbol in enumerate(members)
    )
    moves = "".join(
        f"<tr><td>{day}</td><td>{new}</td><td>{new and 'New Co'}</td><td>{old}</td>"
        f"<td>{old and 'Old Co'}</td><td>Reason.<sup>[<span>7</span>]</sup></td></tr>"
        for day, new, old in changes
    )
    return (
        "<html><body><table><tr><td>navigation</td></tr></table>"
        '<table class="wikitable sortable" id="constituents"><tbody><tr><th>Symbol</th>'
        "<th>Security</th><th>GICS Sector</th><th>Date added</th><th>CIK</th></tr>"
        f"{rows}</tbody></table>"
        '<table class="wikitable sortable" id="changes"><tbody>'
        f'<tr><th rowspan="2">{date_heading}</th><th colspan="2">Added</th>'
        '<th colspan="2">Removed</th><th rowspan="2">Reason</th></tr>'
        "<tr><th>Ticker</th><th>Security</th><th>Ticker</th><th>Security</th></tr>"
        f"{moves}</tbody></table></body></html>"
    )


def answered(html: str) -> Any:
    """Return what the client makes of a page, as the parent receives it."""
    return pa.Table.from_pandas(client.read_page(html), preserve_index=False)


def csindex(codes: Sequence[str], index: str = "000905", day: date = TODAY) -> Any:
    return pa.table(
        {
            "日期": pa.array([day] * len(codes), pa.date32()),
            "指数代码": [index] * len(codes),
            "成分券代码": list(codes),
            "交易所": ["上海证券交易所"] * len(codes),
        }
    )


class TestParse:
    """From the client's table to members and changes."""

    def test_page(self) -> None:
        """Members, their rows' dates and both sides of each change are found by column names."""
        moves = [
            ("September 22, 2025", "APP", "MKTX"),
            ("2025-07-23", "XYZ", ""),
            ("July 18, 2025", "", "BF.B"),
        ]
        symbols = [*names(502), "BRK.B"]
        found = parse_constituents(SP500, answered(page(symbols, moves)))
        assert found.members == tuple(sorted(symbols))
        assert found.since["BRK.B"] == date(1957, 3, 4)
        assert set(found.changes) == {
            Change(date(2025, 9, 22), "APP", joined=True),
            Change(date(2025, 9, 22), "MKTX", joined=False),
            Change(date(2025, 7, 23), "XYZ", joined=True),
            Change(date(2025, 7, 18), "BF.B", joined=False),
        }
        assert found.warnings == ()

    def test_older_heading_and_row_without_date(self) -> None:
        """The table of changes was once headed `Date`; a row may state no date."""
        html = page(names(500), [("May 1, 2019", "AAA", "")], added="", date_heading="Date")
        found = parse_constituents(SP500, answered(html))
        assert found.changes == (Change(date(2019, 5, 1), "AAA", joined=True),)
        assert found.since == {}

    def test_unreadable_change_is_named(self) -> None:
        """A change without a date or with no ticker is a warning; the others are read."""
        moves = [
            ("Spring 2019", "ABC", ""),
            ("May 1, 2019", "Foo Inc", "—"),
            ("May 2, 2019", "DEF", ""),
        ]
        found = parse_constituents(SP500, answered(page(names(500), moves)))
        assert found.changes == (Change(date(2019, 5, 2), "DEF", joined=True),)
        assert [text.split(":")[0] for text in found.warnings] == [
            "the change of ABC has no date",
            "the table of changes has 'Foo Inc' on May 1, 2019, which is no asset",
        ]

    def test_csindex(self) -> None:
        """Codes stay text and the list's own date is kept."""
        found = parse_constituents(CSI500, csindex([*CODES[:499], "000005"]))
        assert found.members[0] == "000005"
        assert (len(found.members), found.dated, found.warnings) == (500, TODAY, ())

    @pytest.mark.parametrize(
        ("members", "fact"),
        [
            ((*names(502), "AAA"), "names AAA twice"),
            (names(494), "has 494 names"),
            (names(506), "has 506 names"),
            ((*names(502), "no ticker"), "no asset"),
        ],
    )
    def test_bad_page_is_refused_whole(self, members: Sequence[str], fact: str) -> None:
        """Duplicates, another size or a strange row: half a list is no list."""
        with pytest.raises(MembershipError, match=fact) as caught:
            parse_constituents(SP500, answered(page(members)))
        assert caught.value.retryable

    @pytest.mark.parametrize(
        ("table", "fact"),
        [
            (csindex(CODES[:280]), "has 280 names"),
            (csindex(CODES[:499]), "has 499 names"),
            (csindex((*CODES[:480], *CODES[:20])), "twice"),
            (csindex(CODES[:500], "000300"), "is of index 000300"),
            (csindex(["5", *CODES[:499]]), "no asset"),
            (csindex(CODES[:500]).drop_columns(["成分券代码"]), "has no column 成分券代码"),
            (csindex(()), "has 0 names"),
            (
                pa.concat_tables([csindex(CODES[:499]), csindex(CODES[499:500], day=BEFORE)]),
                "2 days",
            ),
        ],
    )
    def test_bad_csindex_list_is_refused_whole(self, table: Any, fact: str) -> None:
        """Short, doubled, another index's, without its column, or codes read as numbers."""
        with pytest.raises(MembershipError, match=fact):
            parse_constituents(CSI500, table)

    def test_page_without_a_date_column_is_refused(self) -> None:
        """A renamed column is said, not guessed."""
        with pytest.raises(MembershipError, match="has no column Effective Date"):
            parse_constituents(SP500, answered(page(names(500), date_heading="When")))


class TestWalk:
    """The table of changes, walked backwards."""

    def test_joins_and_leaves(self) -> None:
        """A member starts when it joined; one that left ends the day before; rejoining is two."""
        changes = [
            Change(date(2025, 9, 22), "NEW", joined=True),
            Change(date(2025, 9, 22), "OLD", joined=False),
            Change(date(2023, 3, 20), "OLD", joined=True),
            Change(date(2021, 6, 4), "OLD", joined=False),
        ]
        walk = spells_from_changes(["NEW", "STAY"], changes, FIRST, today=TODAY)
        assert walk.warnings == ()
        assert walk.spells == (
            Spell("NEW", date(2025, 9, 22), None),
            Spell("OLD", FIRST, date(2021, 6, 3)),
            Spell("OLD", date(2023, 3, 20), date(2025, 9, 21)),
            Spell("STAY", FIRST, None),
        )

    def test_changes_before_the_first_day_are_not_needed(self) -> None:
        """Whoever belonged on the first day starts there, whatever came before."""
        changes = [Change(date(2010, 1, 4), asset, joined=True) for asset in ("A", "B")]
        walk = spells_from_changes(
            ["A"], changes, FIRST, today=TODAY, since={"A": date(2010, 1, 4)}
        )
        assert walk == ((Spell("A", FIRST, None),), ())

    def test_renamed_member_starts_by_its_own_row(self) -> None:
        """An addition under an old ticker is left out and said; the member's row has its day."""
        day = date(2022, 6, 9)
        walk = spells_from_changes(
            ["META"], [Change(day, "FB", joined=True)], FIRST, today=TODAY, since={"META": day}
        )
        assert walk.spells == (Spell("META", day, None),)
        assert [text.split()[0] for text in walk.warnings] == ["FB", "META"]
        assert "renamed?" in walk.warnings[0]

    def test_return_that_is_not_in_the_table_is_taken_from_the_row(self) -> None:
        """A member that left once returned on the day its row states, with a warning."""
        walk = spells_from_changes(
            ["A"],
            [Change(date(2021, 5, 3), "A", joined=False)],
            FIRST,
            today=TODAY,
            since={"A": date(2024, 2, 5)},
        )
        assert walk.spells == (
            Spell("A", FIRST, date(2021, 5, 2)),
            Spell("A", date(2024, 2, 5), None),
        )
        assert "its own row" in walk.warnings[0]

    @pytest.mark.parametrize(
        ("change", "fact"),
        [
            (Change(date(2021, 5, 3), "B", joined=True), "B joined on 2021-05-03 and is no member"),
            (Change(date(2021, 5, 3), "A", joined=False), "A left on 2021-05-03 and is a member"),
        ],
    )
    def test_change_that_cannot_be_is_left_out_and_named(self, change: Change, fact: str) -> None:
        """What contradicts today's list changes no spell and is never silent."""
        walk = spells_from_changes(["A"], [change], FIRST, today=TODAY)
        assert walk.spells == (Spell("A", FIRST, None),)
        assert len(walk.warnings) == 1
        assert walk.warnings[0].startswith(fact)

    def test_both_on_one_day_is_neither(self) -> None:
        """A name that joined and left on one day is left as it is, with a warning."""
        day = date(2025, 5, 14)
        both = [Change(day, "A", joined=True), Change(day, "A", joined=False)]
        walk = spells_from_changes(["A"], both, FIRST, today=TODAY)
        assert walk == (
            (Spell("A", FIRST, None),),
            ("A both joined and left on 2025-05-14: neither is taken",),
        )

    def test_two_dates_of_one_addition_are_said(self) -> None:
        """The table of changes wins over the row, and a week's difference is no news."""
        changes = [Change(date(2025, 9, 22), asset, joined=True) for asset in ("A", "B")]
        stated = {"A": date(2025, 9, 19), "B": date(2024, 9, 22)}
        walk = spells_from_changes(["A", "B"], changes, FIRST, today=TODAY, since=stated)
        assert {spell.start for spell in walk.spells} == {date(2025, 9, 22)}
        assert [text.split()[0] for text in walk.warnings] == ["B"]

    def test_announced_change(self) -> None:
        """A change ahead counts where the list shows it already, and waits where it does not."""
        ahead = TODAY + timedelta(days=7)
        changes = [Change(ahead, "IN", joined=True), Change(ahead, "OUT", joined=False)]
        shown = spells_from_changes(["IN"], changes, FIRST, today=TODAY)
        assert shown.spells == (
            Spell("IN", ahead, None),
            Spell("OUT", FIRST, ahead - timedelta(days=1)),
        )
        waiting = spells_from_changes(["OUT"], changes, FIRST, today=TODAY)
        assert waiting.spells == (Spell("OUT", FIRST, None),)
        assert shown.warnings == waiting.warnings == ()

    @given(st.data())
    def test_what_the_changes_were_made_of_comes_back(self, data: st.DataObject) -> None:
        """Any history written down as changes is walked back to itself, without a warning."""
        spells: list[Spell] = []
        for asset in ("A", "B", "C", "D"):
            cuts = data.draw(st.lists(st.integers(1, 2000), max_size=6, unique=True))
            days = [FIRST + timedelta(days=cut) for cut in sorted(cuts)]
            if data.draw(st.booleans()):
                days.insert(0, FIRST)
            for start, stop in zip(days[::2], [*days[1::2], None], strict=False):
                spells.append(Spell(asset, start, stop and stop - timedelta(days=1)))
        spells.append(Spell("Z", FIRST, None))
        changes = [Change(each.start, each.asset, joined=True) for each in spells] + [
            Change(each.end + timedelta(days=1), each.asset, joined=False)
            for each in spells
            if each.end is not None
        ]
        today = [each.asset for each in spells if each.end is None]
        walk = spells_from_changes(today, changes, FIRST, today=TODAY)
        assert walk == (check_spells(spells, "test"), ())


def known_codes(n: int = 500) -> tuple[Spell, ...]:
    return tuple(Spell(code, FIRST, None) for code in CODES[:n])


def refreshed(
    known: Sequence[Spell], members: Sequence[str], on: date = TODAY, **more: Any
) -> Refreshed:
    previous = more.pop("previous", BEFORE)
    return refresh(
        CSI500, known, Constituents(tuple(members), dated=on), on=on, previous=previous,
        first=FIRST, **more,
    )  # fmt: skip


class TestRefresh:
    """A fetched list against what is known."""

    def test_first_fetch_of_a_list_without_history(self) -> None:
        """Today's members stand for every earlier session, and the note says so."""
        found = refreshed((), CODES[:500])
        assert found.outcome == "first"
        assert found.universe.spells == known_codes()
        assert "the history of the CSI 500 is unknown" in found.universe.note
        assert "survivorship bias" in found.universe.note
        assert "Before 2026-11-23" in found.universe.note

    def test_first_fetch_with_a_table_of_changes(self) -> None:
        """The past is walked back, its warnings and odd sizes are told, and so is its limit."""
        changes = [("September 22, 2025", name(0), "OLD"), ("May 3, 2021", "LOST", "")]
        listed = parse_constituents(SP500, answered(page(names(500), changes)))
        found = refresh(SP500, (), listed, on=TODAY, previous=BEFORE, first=FIRST)
        membership = Membership(found.universe.spells)
        assert name(0) not in membership.members(date(2025, 9, 21))
        assert "OLD" in membership.members(date(2025, 9, 21))
        assert membership.count(TODAY) == 500
        assert any(text.startswith("LOST") for text in found.warnings)
        assert "walked back through a public table of changes to 2021-05-03" in found.universe.note

    def test_walk_to_another_size_is_said(self) -> None:
        """A table of changes that lost departures ends with too few members, and says when."""
        moves = [("June 1, 2023", name(number), "") for number in range(30)]
        listed = parse_constituents(SP500, answered(page(names(500), moves)))
        found = refresh(SP500, (), listed, on=TODAY, previous=BEFORE, first=FIRST)
        assert any("470 to 470" in text for text in found.warnings)

    def test_same_list_changes_nothing(self) -> None:
        """Fetching what is known gives equal spells."""
        found = refreshed(known_codes(), CODES[:500])
        assert (found.outcome, found.universe.spells) == ("unchanged", known_codes())
        assert found.change == MembershipChange((), ())

    def test_new_name_starts_and_lost_name_ends(self) -> None:
        """A name belongs from the session it is first seen; one that is gone, to the one before."""
        found = refreshed(known_codes(), CODES[1:501])
        assert found.outcome == "changed"
        assert found.change == MembershipChange((CODES[500],), (CODES[0],))
        assert Spell(CODES[500], TODAY, None) in found.universe.spells
        assert Spell(CODES[0], FIRST, BEFORE) in found.universe.spells
        assert f"+{CODES[500]} -{CODES[0]}" in found.message

    def test_name_that_returns_gets_a_second_spell(self) -> None:
        """Leaving and coming back leaves a gap, and a stay within one session leaves nothing."""
        after, later = TODAY + timedelta(days=1), TODAY + timedelta(days=2)
        once = refreshed(known_codes(), CODES[1:501]).universe.spells
        back = refreshed(once, CODES[:500], after, previous=TODAY).universe.spells
        assert [each for each in back if each.asset == CODES[0]] == [
            Spell(CODES[0], FIRST, BEFORE),
            Spell(CODES[0], after, None),
        ]
        again = refreshed(back, CODES[1:501], after, previous=TODAY).universe.spells
        assert [each for each in again if each.asset == CODES[0]] == [
            Spell(CODES[0], FIRST, BEFORE)
        ]
        assert refreshed(again, CODES[1:501], later, previous=after).outcome == "unchanged"

    def test_many_changes_are_held(self) -> None:
        """More than 20 names at once change nothing until exactly that change is confirmed."""
        members = (*CODES[11:500], *CODES[500:511])
        held = refreshed(known_codes(), members)
        assert held.outcome == "held"
        assert held.universe.spells == known_codes()
        assert "22 names at once (11 join, 11 leave), more than 20: held" in held.message
        assert held.change.digest in held.message
        assert refreshed(known_codes(), members, confirmed="0" * 12).outcome == "held"
        done = refreshed(known_codes(), members, confirmed=held.change.digest)
        assert done.outcome == "changed"
        assert Membership(done.universe.spells).members(TODAY) == tuple(sorted(members))

    def test_confirmation_of_one_change_is_none_of_another(self) -> None:
        """When the list moves on before it is confirmed, the new change is held again."""
        digest = refreshed(known_codes(), (*CODES[11:500], *CODES[500:511])).change.digest
        other = refreshed(known_codes(), (*CODES[12:500], *CODES[500:512]), confirmed=digest)
        assert other.outcome == "held"

    def test_twenty_changes_are_not_held(self) -> None:
        """The limit itself is allowed."""
        assert MAX_CHANGES == 20
        assert refreshed(known_codes(), (*CODES[10:500], *CODES[500:510])).outcome == "changed"

    @pytest.mark.parametrize("members", [CODES[:499], CODES[:501], (*CODES[:499], CODES[0]), ()])
    def test_list_of_another_size_is_refused(self, members: Sequence[str]) -> None:
        """A short, long or doubled list never reaches what is known."""
        with pytest.raises(MembershipError, match="fetched list of the CSI 500"):
            refreshed(known_codes(), members)

    def test_announced_change_takes_effect_on_its_day(self) -> None:
        """A list that shows a change early is followed from the day its table states."""
        ahead = TODAY + timedelta(days=7)
        changes = (
            Change(ahead, CODES[0], joined=False), Change(ahead, CODES[500], joined=True),
        )  # fmt: skip
        fetched = Constituents(CODES[1:501], changes=changes, dated=TODAY)
        found = refresh(CSI500, known_codes(), fetched, on=TODAY, previous=BEFORE, first=FIRST)
        assert Spell(CODES[500], ahead, None) in found.universe.spells
        assert Spell(CODES[0], FIRST, ahead - timedelta(days=1)) in found.universe.spells
        again = refresh(
            CSI500, found.universe.spells, fetched, on=TODAY + timedelta(days=1), previous=TODAY,
            first=FIRST,
        )  # fmt: skip
        assert again.outcome == "unchanged"

    def test_change_that_was_seen_late_is_said(self) -> None:
        """The past stays as it was known: a name counts from when it was seen, with a warning."""
        early = Change(TODAY - timedelta(days=4), CODES[500], joined=True)
        fetched = Constituents(CODES[1:501], changes=(early,), dated=TODAY)
        found = refresh(CSI500, known_codes(), fetched, on=TODAY, previous=BEFORE, first=FIRST)
        assert Spell(CODES[500], TODAY, None) in found.universe.spells
        assert "counts from 2026-11-23, when it was first seen" in found.warnings[0]

    def test_old_list_is_said(self) -> None:
        """A list that is dated weeks back is used with a warning."""
        stale = Constituents(CODES[:500], dated=TODAY - timedelta(days=30))
        found = refresh(CSI500, known_codes(), stale, on=TODAY, previous=BEFORE, first=FIRST)
        assert "is dated 2026-10-24: it is old" in found.warnings[0]

    def test_diff_is_of_names(self) -> None:
        """Joined and left are ordered; spells that ended long ago are no members."""
        known = (Spell("A", FIRST, None), Spell("B", FIRST, date(2021, 1, 1)))
        assert diff(known, ["C", "B"], TODAY) == MembershipChange(("B", "C"), ("A",))


class TestOverrides:
    """An operator's file, applied last."""

    def test_file_is_read(self, tmp_path: Path) -> None:
        """Names to add and to remove, with dates; without an end they stay."""
        file = tmp_path / "overrides.toml"
        file.write_text(
            '[[add]]\nasset = "BRK.B"\nstart_date = 2024-01-02\nend_date = 2024-06-28\n'
            '[[remove]]\nasset = "XYZ"\nstart_date = 2025-01-02\n'
        )
        assert load_overrides(file, SP500.provider) == (
            Override("BRK.B", date(2024, 1, 2), date(2024, 6, 28), member=True),
            Override("XYZ", date(2025, 1, 2), None, member=False),
        )

    @pytest.mark.parametrize(
        ("text", "fact"),
        [
            ('[[added]]\nasset = "A"', "added is no table"),
            ('[add]\nasset = "A"', "no list of tables"),
            ('[[add]]\nasset = "A"', "start_date is missing"),
            ('[[add]]\nasset = "A"\nstart_date = 2024-01-02\nfrom = 1', "from is unknown"),
            ('[[add]]\nasset = "A"\nstart_date = "2024-01-02"', "value of another kind"),
            ("[[add]]\nasset = 600000\nstart_date = 2024-01-02", "value of another kind"),
            ('[[add]]\nasset = "brk-b"\nstart_date = 2024-01-02', "no asset's name"),
            (
                '[[add]]\nasset = "A"\nstart_date = 2024-01-02\nend_date = 2023-01-02',
                "before it starts",
            ),
            (
                '[[add]]\nasset="A"\nstart_date=2024-01-02\n[[remove]]\nasset="A"\nstart_date=2024-05-02',
                "two overrides of A meet on 2024-05-02",
            ),
        ],
    )
    def test_file_that_cannot_be_meant_is_refused(
        self, tmp_path: Path, text: str, fact: str
    ) -> None:
        """A misspelt key, a date in quotes, a contradiction: all is said at start."""
        file = tmp_path / "overrides.toml"
        file.write_text(text)
        with pytest.raises(ConfigError, match=fact):
            load_overrides(file, SP500.provider)

    def test_spans_are_cut_and_joined(self) -> None:
        """Removing splits a spell, adding closes a gap, and a second time changes nothing."""
        spells = (Spell("A", FIRST, None), Spell("B", FIRST, date(2020, 6, 30)))
        overrides = (
            Override("A", date(2021, 1, 1), date(2021, 12, 31), member=False),
            Override("B", date(2020, 7, 1), date(2020, 9, 30), member=True),
            Override("C", date(2022, 1, 1), None, member=True),
        )
        after = apply_overrides(spells, overrides)
        assert after == (
            Spell("A", FIRST, date(2020, 12, 31)),
            Spell("A", date(2022, 1, 1), None),
            Spell("B", FIRST, date(2020, 9, 30)),
            Spell("C", date(2022, 1, 1), None),
        )
        assert apply_overrides(after, overrides) == after

    def test_override_wins_over_the_list_and_is_not_undone_by_it(self) -> None:
        """A forced name stays and a barred one stays out, fetch after fetch."""
        overrides = (
            Override(CODES[0], date(2026, 1, 2), None, member=False),
            Override(CODES[510], date(2026, 1, 2), None, member=True),
        )
        found = refreshed((), CODES[:500], overrides=overrides)
        members = Membership(found.universe.spells).members(TODAY)
        assert CODES[0] not in members
        assert CODES[510] in members
        later = TODAY + timedelta(days=1)
        again = refreshed(
            found.universe.spells, CODES[:500], later, previous=TODAY, overrides=overrides
        )
        assert again.outcome == "unchanged"
        assert again.universe.spells == found.universe.spells

    def test_own_changes_are_not_held(self) -> None:
        """Names an operator overrides do not count towards what is held."""
        overrides = [Override(code, TODAY, None, member=False) for code in CODES[:30]]
        found = refreshed(known_codes(), CODES[:500], overrides=overrides)
        assert found.outcome == "changed"
        assert Membership(found.universe.spells).count(TODAY) == 470

    @given(
        cuts=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20), st.booleans()), max_size=4),
        spans=st.sets(st.integers(0, 9), max_size=5),
    )
    def test_days_are_what_they_are_told_to_be(
        self, cuts: list[tuple[int, int, bool]], spans: set[int]
    ) -> None:
        """On each day the last word has the override, where there is one, else the spell."""
        spells = [
            Spell("A", FIRST + timedelta(days=7 * n), FIRST + timedelta(days=7 * n + 3))
            for n in sorted(spans)
        ]
        overrides = [
            Override("A", FIRST + timedelta(days=a), FIRST + timedelta(days=a + n), member)
            for a, n, member in cuts
        ]
        after = apply_overrides(spells, overrides)
        if after:
            check_spells(after, "test")
        for offset in range(90):
            day = FIRST + timedelta(days=offset)
            wanted = any(each.start <= day <= (each.end or day) for each in spells)
            for each in overrides:
                if each.start <= day <= (each.end or day):
                    wanted = each.member
            assert any(each.start <= day <= (each.end or day) for each in after) == wanted


@contextmanager
def serving(
    body: bytes, status: int = 200, headers: Sequence[tuple[str, str]] = ()
) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server with one answer, and the user agents that asked it."""
    agents: list[str] = []
    released = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            agents.append(self.headers["User-Agent"])
            if status == 0:  # accepts and never answers
                released.wait(30)
                return
            self.send_response(status)
            for key, value in headers:
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", agents
        finally:
            released.set()
            server.shutdown()
            thread.join()


class TestClient:
    """What runs in the child, against a server on loopback."""

    def test_page_is_fetched(self) -> None:
        """The page arrives whole, and the server is told who asks."""
        html = page(names(503))
        zipped = gzip.compress(html.encode())
        with serving(zipped, headers=[("Content-Encoding", "gzip")]) as (address, agents):
            assert client.fetch_page(address, 10.0) == html
        assert agents == [client.AGENT]

    @pytest.mark.parametrize(
        ("status", "outcome"), [(403, "limited"), (429, "limited"), (500, "failed")]
    )
    def test_refusal_is_classified(self, status: int, outcome: str) -> None:
        """Forbidden and too many requests mean to stop asking; another status is a failure."""
        with (
            serving(b"no", status) as (address, _),
            pytest.raises(requests.HTTPError) as caught,
        ):
            client.fetch_page(address, 10.0)
        assert client.classify(caught.value) == outcome

    def test_silent_server_is_given_up(self) -> None:
        """Without an answer the wait ends."""
        with (
            serving(b"", 0) as (address, _),
            pytest.raises(requests.RequestException) as caught,
        ):
            client.fetch_page(address, 0.2)
        assert client.classify(caught.value) == "failed"

    @pytest.mark.parametrize("zipped", [False, True])
    def test_page_without_end_is_refused(self, zipped: bool) -> None:
        """Beyond the limit nothing more is read, compressed or not."""
        body = b"x" * (client.MAX_BYTES + 1)
        headers = [("Content-Encoding", "gzip")] if zipped else []
        body = gzip.compress(body) if zipped else body
        with (
            serving(body, headers=headers) as (address, _),
            pytest.raises(ValueError, match="more"),
        ):
            client.fetch_page(address, 10.0)

    @pytest.mark.parametrize(
        "html",
        ["<html><table><tr><td>x</td></tr></table></html>", "<html></html>", "", "{}"],
    )
    def test_page_without_the_tables_is_an_error(self, html: str) -> None:
        """A page of another kind is never an empty list."""
        with pytest.raises(ValueError, match=r"[Nn]o table|empty"):
            client.read_page(html)

    def test_table_that_spells_nothing_is_not_a_number(self) -> None:
        """Tickers such as NA and TRUE stay text."""
        frame = client.read_page(page(["NA", "TRUE", "AAPL"]))
        assert list(frame["Symbol"])[:3] == ["NA", "TRUE", "AAPL"]

    def test_questions(self) -> None:
        """Each index is asked for by its own symbol; another kind is refused."""
        assert query(SP500) == Query("constituents", "sp500")
        assert query(CSI500) == Query("constituents", "000905")
        with pytest.raises(ValueError, match="'history' is not 'constituents'"):
            client.call(Query("history", "sp500"))
