"""Lists of an index's members: what is asked for and what the answers say.

Pure. Columns are found by name; a list with a name that is no asset, with duplicates or of another
size than the index's is refused whole, because half a universe would pass for a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from daemon.feeds.protocol import Query
from daemon.symbols import from_provider
from signals.errors import DataError, MembershipError

#: Module of the client that answers `query`.
CLIENT = "daemon.feeds.clients.constituents"

_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
_ISO = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_WRITTEN = re.compile(r"([A-Za-z]{3,9})\.?\s+(\d{1,2}),?\s+(\d{4})", re.ASCII)
_FOOTNOTE = re.compile(r"\[[^\]]*\]")
#: What stands in a cell that says nothing.
_NOTHING = frozenset({"", "-", "–", "—", "n/a", "none", "nan"})


@dataclass(frozen=True, slots=True)
class Index:
    """An index whose members can be fetched.

    Parameters
    ----------
    title : str
        For people.
    symbol : str
        What its list is asked for by: "sp500", or csindex's code.
    provider : str
        Whose spelling its list is in.
    fewest, most : int
        How many members a list may have.
    """

    title: str
    symbol: str
    provider: str
    fewest: int
    most: int


#: The indices, by the name settings give them. The S&P 500 has several share classes of a few
#: companies and so more than 500 names.
INDICES: Mapping[str, Index] = {
    "sp500": Index("S&P 500", "sp500", "wikipedia", 495, 505),
    "csi500": Index("CSI 500", "000905", "csindex", 500, 500),
}


class Change(NamedTuple):
    """One name joining an index, or leaving it, effective before the open of day `on`."""

    on: date
    asset: str
    joined: bool


@dataclass(frozen=True, slots=True)
class Constituents:
    """What a source tells of an index's members.

    Parameters
    ----------
    members : tuple of str
        Today's, ordered.
    since : mapping of str to date
        The day of addition that a member's own row states.
    changes : tuple of Change
        Joins and leaves of the past, as far as the source tells any, and announced ones.
    dated : date or None
        The list's own date.
    warnings : tuple of str
        What could not be read.
    """

    members: tuple[str, ...]
    since: Mapping[str, date] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()
    dated: date | None = None
    warnings: tuple[str, ...] = ()


def query(index: Index) -> Query:
    """Return the question for an index's list."""
    return Query("constituents", index.symbol)


def parse_constituents(index: Index, table: Any) -> Constituents:
    """Return what the client's answer to `query` says.

    Parameters
    ----------
    index : Index
        Whose list it is.
    table : pyarrow.Table
        As the client returned it: see `daemon.feeds.clients.constituents.call`.

    Raises
    ------
    MembershipError
        A column is missing, the list is another index's, a row is no asset, a name stands twice, or
        the number of names is not the index's. What is wrong with the table of changes alone is a
        warning.
    """
    rows = table.to_pylist()
    found = (_page if index.provider == "wikipedia" else _csindex)(index, rows)
    check_size(index, found.members)
    return found


def check_size(index: Index, members: Sequence[str]) -> None:
    """Raise a MembershipError for a list with duplicates, or of another size than the index's."""
    twice = sorted({asset for asset in members if members.count(asset) > 1})
    if not twice and index.fewest <= len(members) <= index.most:
        return
    size = f"{index.fewest}" if index.fewest == index.most else f"{index.fewest} to {index.most}"
    fault = f"names {', '.join(twice[:5])} twice" if twice else f"has {len(members)} names"
    raise _refusal(index, fault, f"a list of the {index.title} has {size} names, each once")


def _page(index: Index, rows: Sequence[Mapping[str, Any]]) -> Constituents:
    """Read the page with the constituents and their changes."""
    members: list[str] = []
    since: dict[str, date] = {}
    for row in _of_table(rows, "constituents"):
        asset = _member(index, _clean(_cell(index, row, "Symbol", "Ticker symbol", "Ticker")))
        members.append(asset)
        added = _date(_clean(_cell(index, row, "Date added", "Date first added")))
        if added is not None:
            since[asset] = added
    changes: list[Change] = []
    warnings: list[str] = []
    for row in _of_table(rows, "changes"):
        day = _clean(_cell(index, row, "Effective Date", "Date"))
        on = _date(day)
        for column, joined in (("Added Ticker", True), ("Removed Ticker", False)):
            symbol = _clean(_cell(index, row, column))
            if symbol.lower() in _NOTHING:
                continue
            try:
                asset = from_provider(symbol, index.provider)
            except DataError:
                warnings.append(f"the table of changes has {symbol!r} on {day}, which is no asset")
                continue
            if on is None:
                warnings.append(f"the change of {asset} has no date: {day!r}")
            else:
                changes.append(Change(on, asset, joined))
    if not changes:
        raise _refusal(index, "comes without a table of changes", "the page has both tables")
    return Constituents(
        tuple(sorted(members)), since, tuple(sorted(set(changes))), None, tuple(warnings)
    )


def _csindex(index: Index, rows: Sequence[Mapping[str, Any]]) -> Constituents:
    """Read csindex's list, of today alone."""
    members: list[str] = []
    days = set[date]()
    for row in rows:
        code = str(_cell(index, row, "指数代码"))
        if code != index.symbol:
            raise _refusal(index, f"is of index {code}", f"its index code is {index.symbol}")
        members.append(_member(index, str(_cell(index, row, "成分券代码"))))
        day = _cell(index, row, "日期")
        if isinstance(day, date):
            days.add(day)
    if len(days) > 1:
        raise _refusal(index, f"is of {len(days)} days", "it is of one day")
    return Constituents(tuple(sorted(members)), dated=max(days, default=None))


def _of_table(rows: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [row for row in rows if row.get("table") == name]


def _cell(index: Index, row: Mapping[str, Any], *names: str) -> Any:
    """Return a row's value under the first of the names that is a column."""
    for name in names:
        if name in row:
            return row[name]
    raise _refusal(index, f"has no column {names[0]}", f"it has a column {' or '.join(names)}")


def _member(index: Index, symbol: str) -> str:
    try:
        return from_provider(symbol, index.provider)
    except DataError as exc:
        raise _refusal(index, f"has a row that is no asset: {exc.fact}", exc.rule) from exc


def _refusal(index: Index, fault: str, rule: str) -> MembershipError:
    return MembershipError(
        f"the fetched list of the {index.title} {fault}",
        rule=rule,
        hint="the last good list stays in force; if this lasts, give a file by `membership`",
        retryable=True,
    )


def _clean(cell: Any) -> str:
    """Return a cell's text without footnotes and odd blanks."""
    return " ".join(_FOOTNOTE.sub("", "" if cell is None else str(cell)).split())


def _date(text: str) -> date | None:
    """Return the first date in a text, ISO or "September 22, 2025", whatever the locale."""
    if match := _ISO.search(text):
        year, month, day = map(int, match.groups())
    elif match := _WRITTEN.search(text):
        name = match[1].lower()
        months = [n for n, month in enumerate(_MONTHS, start=1) if month.startswith(name)]
        if len(months) != 1:
            return None
        year, month, day = int(match[3]), months[0], int(match[2])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
