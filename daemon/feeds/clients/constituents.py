"""Lists of an index's members, fetched inside the child process only.

The S&P 500 from the public list of its companies and of its changes (Wikipedia, text under CC
BY-SA), any other index from csindex.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from typing import Any

from daemon.feeds.clients import akshare
from daemon.feeds.protocol import Query

#: The page with the tables of constituents and of changes.
PAGE = "https://en.wikipedia.org/wiki/List_of_S%26P_500_companies"
#: Who we are: Wikimedia refuses requests that do not say.
AGENT = "alphad (market data daemon, one request a day) python-requests"
#: Longest page that is read, in bytes: some ten times what it has.
MAX_BYTES = 16 * 2**20

#: The columns that tell the two tables of the page from its others.
_TABLES = {"constituents": {"Symbol", "Security"}, "changes": {"Added Ticker", "Removed Ticker"}}
#: Seconds without an answer of the server; `start` sets it.
_timeout = {"seconds": 20.0}


def start(folder: object, seconds: float) -> None:  # noqa: ARG001 - nothing is kept
    """Set how long one network request may wait."""
    _timeout["seconds"] = seconds


def call(query: Query) -> Any:
    """Return an index's members, a pandas.DataFrame.

    Parameters
    ----------
    query : Query
        Of kind "constituents". The symbol "sp500" gives the page's two tables as text, one under
        the other, told apart by the column `table` ("constituents" or "changes"); six digits give
        csindex's list as akshare returns it.

    Raises
    ------
    ValueError
        Another kind, a page without the two tables, or one of more than `MAX_BYTES`.
    """
    if query.kind != "constituents":
        raise ValueError(f"{query.kind!r} is not 'constituents'")
    if query.symbol != "sp500":
        return akshare.call(query)
    return read_page(fetch_page(PAGE, _timeout["seconds"]))


def classify(exc: BaseException) -> str:
    """Return "limited" if the error is how a server turns a heavy user away, else "failed"."""
    return akshare.classify(exc)


def fetch_page(address: str, seconds: float) -> str:
    """Return the text at an address.

    Raises
    ------
    requests.RequestException
        No answer, or one that is no success.
    ValueError
        More than `MAX_BYTES` after decompression.
    """
    import requests

    with requests.get(
        address, headers={"User-Agent": AGENT}, timeout=seconds, stream=True
    ) as response:
        response.raise_for_status()
        return b"".join(_bounded(response.iter_content(2**16))).decode("utf-8", "replace")


def read_page(text: str) -> Any:
    """Return the tables of constituents and of changes in a page, one under the other, as text.

    Parameters
    ----------
    text : str
        HTML.

    Returns
    -------
    pandas.DataFrame
        Columns are the page's, with the heading above joined on ("Added Ticker"), and `table`.
        Every value is text; None where the other table alone has the column.

    Raises
    ------
    ValueError
        The page is empty or lacks one of the tables.
    """
    import pandas as pd

    if not text.strip():
        raise ValueError("the page is empty")
    found: dict[str, Any] = {}
    for table in pd.read_html(StringIO(text), keep_default_na=False):
        table.columns = [_heading(column) for column in table.columns]
        for name, columns in _TABLES.items():
            if name not in found and columns <= set(table.columns):
                found[name] = table.astype(str).assign(table=name)
    for name in _TABLES:
        if name not in found:
            raise ValueError(f"the page has no table of {name}")
    both = pd.concat([found[name] for name in _TABLES], ignore_index=True).astype(object)
    return both.where(both.notna(), None)


def _heading(column: object) -> str:
    """Return a heading of one or two rows as one text: what stands in both stands once."""
    parts = column if isinstance(column, tuple) else (column,)
    return " ".join(dict.fromkeys(str(part).strip() for part in parts))


def _bounded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > MAX_BYTES:
            raise ValueError(f"the page has more than {MAX_BYTES} bytes")
        yield chunk
