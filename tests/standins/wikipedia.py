"""The public page "List of S&P 500 companies": the table of members and the table of changes.

Members have dots in their tickers and the date they were added; changes go back to the book's first
session, latest first, the date spanning the rows of one day. Changes are told from their effective
date on. Both carry the links and footnotes that such pages have.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from html import escape
from itertools import groupby

from tests.standins.book import MarketBook
from tests.standins.exchange import EXCHANGES
from tests.standins.faults import Fault
from tests.standins.members import Change, changes, distort_members
from tests.standins.proxy import Call, Reply

HOSTS = ("en.wikipedia.org",)
_TITLES = ("List_of_S&P_500_companies", "List of S&P 500 companies")
_TYPE = "text/html; charset=UTF-8"
_HEADS = (
    '<a href="/wiki/Ticker_symbol" title="Ticker symbol">Symbol</a>',
    "Security",
    '<a href="/wiki/GICS" title="GICS">GICS</a> Sector',
    "GICS Sub-Industry",
    "Headquarters Location",
    "Date added",
    '<a href="/wiki/Central_Index_Key" title="Central Index Key">CIK</a>',
    "Founded",
)
_CHANGE_HEADS = """\
<tr><th rowspan="2">Effective Date</th><th colspan="2">Added</th><th colspan="2">Removed</th>
<th rowspan="2">Reason</th><th rowspan="2">Refs</th></tr>
<tr><th>Ticker</th><th>Security</th><th>Ticker</th><th>Security</th></tr>
"""


def asset_of(call: Call) -> str:  # noqa: ARG001 - every provider module has this
    """Return "": the page is about no asset."""
    return ""


def failure(name: str) -> Reply:
    """Return how Wikipedia says that a call failed."""
    status = {"429": 429, "500": 500, "404": 404}.get(name, 200)
    page = f"<!DOCTYPE html>\n<html><head><title>Wikimedia Error</title></head>{status}</html>"
    return Reply(status, page.encode(), _TYPE)


def answer(book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]) -> Reply:
    """Answer a call as Wikipedia would at `now`."""
    title = call.query.get("title", call.path.removeprefix("/wiki/"))
    if title not in _TITLES or book.market != "us":
        return failure("404")
    today = now.astimezone(EXCHANGES[book.market].zone).date()
    members = distort_members(book.members(today), book.market, faults)
    added = {spell.asset: spell.start for spell in book.spells if spell.start <= today}
    rows = "".join(
        _member(name, added.get(name, today), book.days[0], odd="extra_field" in faults)
        for name in members
    )
    heads = "".join(f"<th>{head}</th>" for head in _HEADS)
    if "extra_field" in faults:
        heads = f"<th>No.</th>{heads}"
    told = [] if "empty" in faults else changes(book, today)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="UTF-8"/>'
        "<title>List of S&amp;P 500 companies - Wikipedia</title></head><body>\n"
        '<table class="box-More_citations_needed"><tbody><tr><td>A notice</td></tr></tbody></table>'
        '\n<table class="wikitable sortable sticky-header" id="constituents">\n<tbody>'
        f"<tr>{heads}</tr>\n{rows}</tbody></table>\n"
        '<table class="wikitable sortable" id="changes">\n<tbody>'
        f"{_CHANGE_HEADS}{_changes(told)}</tbody></table>\n</body></html>\n"
    )
    return Reply(200, page.encode(), _TYPE)


def _member(name: str, start: date, first: date, *, odd: bool) -> str:
    added = "1957-03-04" if start <= first else start.isoformat()
    link = f'<a rel="nofollow" class="external text" href="https://www.nyse.com/quote/XNYS:{name}">'
    cells = (
        f"{link}{name}</a>",
        f'<a href="/wiki/{name}">{escape(_security(name))}</a>',
        "Industrials",
        "Industrial Conglomerates",
        '<a href="/wiki/Saint_Paul,_Minnesota">Saint Paul, Minnesota</a>',
        added,
        "0000066740",
        "1902 (1888)",
    )
    told = "".join(f"<td>{cell}\n</td>" for cell in (("1", *cells) if odd else cells))
    return f"<tr>{told}</tr>\n"


def _changes(told: list[Change]) -> str:
    lines = []
    for day, group in groupby(told, key=lambda change: change.day):
        rows = list(group)
        span = f' rowspan="{len(rows)}"' if len(rows) > 1 else ""
        for number, change in enumerate(rows):
            when = f"<td{span}>{day:%B} {day.day}, {day.year}\n</td>" if number == 0 else ""
            cells = "".join(
                f"<td>{name}\n</td><td>{escape(_security(name)) if name else ''}\n</td>"
                for name in (change.added, change.removed)
            )
            note = '<sup class="reference"><a href="#cite_note-7">[7]</a></sup>'
            reason = f"<td>Market capitalization change.\n</td><td>{note}\n</td>"
            lines.append(f"<tr>{when}{cells}{reason}</tr>\n")
    return "".join(lines)


def _security(name: str) -> str:
    return f"{name.replace('.', ' Class ')} & Company"
