"""csindex's files of the CSI 500: its members, and their weights, on the last session.

The address ends in .xls, and so does the provider's; what is sent is a workbook in the newer
format, which readers tell by its content. Codes are text with leading zeros, the date a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

from tests.standins.book import MarketBook
from tests.standins.faults import Fault
from tests.standins.members import distort_members
from tests.standins.proxy import Call, Reply

HOSTS = ("oss-ch.csindex.com.cn", "www.csindex.com.cn")
_FOLDER = "/static/html/csindex/public/uploads/file/autofile/"
_TYPE = "application/vnd.ms-excel"
_HEADERS = (
    "日期Date",
    "指数代码 Index Code",
    "指数名称 Index Name",
    "指数英文名称Index Name(Eng)",
    "成份券代码Constituent Code",
    "成份券名称Constituent Name",
    "成份券英文名称Constituent Name(Eng)",
    "交易所Exchange",
    "交易所英文名称Exchange(Eng)",
)


def asset_of(call: Call) -> str:
    """Return the index that is asked for: ".../cons/000905cons.xls" is 000905."""
    return call.path.rpartition("/")[2][:6] if call.path.startswith(_FOLDER) else ""


def failure(name: str) -> Reply:
    """Return how csindex says that a call failed."""
    status = {"429": 429, "500": 500, "404": 404}.get(name, 200)
    page = f"<html><body>{status} 系统繁忙</body></html>".encode()
    return Reply(status, page, "text/html; charset=utf-8")


def answer(book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]) -> Reply:
    """Answer a call as csindex would at `now`."""
    row = book.finished(now) - 1
    if book.market != "cn" or asset_of(call) != book.index.asset or row < 0:
        return failure("404")
    day = book.days[row]
    members = distort_members(book.members(day), book.market, faults)
    weighted = "closeweight" in call.path
    headers = (*_HEADERS, "权重(%)weight") if weighted else _HEADERS
    rows: list[tuple[Any, ...]] = []
    for code in members:
        shanghai = code.startswith("6")
        venue = ("上海证券交易所", "Shanghai Stock Exchange")
        venue = venue if shanghai else ("深圳证券交易所", "Shenzhen Stock Exchange")
        name = book.name(code, now) if code in book.columns else f"证券{code[-4:]}"
        text = (int(f"{day:%Y%m%d}"), "000905", "中证500", "CSI 500", code, name, f"Company {code}")
        weight = (round(100.0 / len(members), 3),) if weighted else ()
        rows.append((*text, *venue, *weight))
    if "extra_field" in faults:
        headers, rows = (*headers, "备注Note"), [(*row, "") for row in rows]
    return Reply(200, _workbook(headers, rows), _TYPE)


def _workbook(headers: tuple[str, ...], rows: list[tuple[Any, ...]]) -> bytes:
    import openpyxl  # type: ignore[import-untyped]

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("cons")
    sheet.append(headers)
    for row in rows:
        sheet.append(row)
    buffer = BytesIO()
    book.save(buffer)
    return buffer.getvalue()
