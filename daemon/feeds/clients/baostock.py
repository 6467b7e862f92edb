"""baostock's daily bars and adjustment factors. Runs inside `daemon.feeds.worker` only.

The library keeps one connection for the whole process, without any timeout, and waits for ever on
one that the server has closed: the child's deadline ends that. It prints what goes wrong and
returns as if nothing had: every result is looked at here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from daemon.feeds.protocol import Query

#: The environment name of another server, as host:port.
SERVER_VARIABLE = "BAOSTOCK_SERVER"

#: Codes of a server that has had enough of us: too many log-ins, or the black list.
_LIMITED = ("10001005", "10001011")
#: Codes of a symbol that nobody has heard of.
_UNKNOWN = ("10004011", "10004015")
_TIMEOUTS = ("10002003", "10002006", "10002008")

#: Whether this process has logged in: once, and again only after an error.
_logged_in = {"is": False}


class BaostockError(Exception):
    """baostock did not answer, or refused.

    Parameters
    ----------
    code, text : str
        Its own; the code is "" where the library does not notice.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}".strip())
        self.code = code


def start(folder: Path, seconds: float) -> None:  # noqa: ARG001 - nothing is kept; no timeout
    """Import baostock and point it at its server."""
    import baostock  # noqa: F401
    from baostock.common import contants

    host, _, port = os.environ.get(SERVER_VARIABLE, "").rpartition(":")
    if host:
        contants.BAOSTOCK_SERVER_IP = host
        contants.BAOSTOCK_SERVER_PORT = int(port)


def call(query: Query) -> Any:
    """Return what baostock tells, a pandas.DataFrame of text with its own column names.

    Parameters
    ----------
    query : Query
        Of kind `history` (daily bars as traded; option `fields` names the columns) or `factors`
        (adjustment factors by ex-date), with both ends.

    Raises
    ------
    BaostockError
        A refusal, no answer, or a page of an answer that got lost.
    ValueError
        Another kind, or an open end.
    """
    import pandas as pd

    if query.kind not in ("history", "factors") or query.first is None or query.last is None:
        raise ValueError(f"baostock answers no {query.kind!r} without its dates")
    try:
        _log_in()
        result = _ask(query, query.first.isoformat(), query.last.isoformat())
        rows = _rows(result)
    except BaostockError:
        _log_out()
        raise
    return pd.DataFrame(rows, columns=result.fields if rows else None)


def classify(error: Exception) -> str:
    """Return what an error of `call` stands for: "limited", "empty", "timeout" or "failed"."""
    code = getattr(error, "code", "")
    for outcome, codes in (("limited", _LIMITED), ("empty", _UNKNOWN), ("timeout", _TIMEOUTS)):
        if code in codes:
            return outcome
    return "failed"


def _log_in() -> None:
    import baostock

    if not _logged_in["is"]:
        _checked(baostock.login())
        _logged_in["is"] = True


def _log_out() -> None:
    """Drop the connection: what comes on it next may belong to an earlier question."""
    from baostock.common import context

    _logged_in["is"] = False
    connection = getattr(context, "default_socket", None)
    if connection is not None:
        connection.close()


def _ask(query: Query, first: str, last: str) -> Any:
    """Return the library's result of a query, its first page."""
    import baostock

    if query.kind == "factors":
        return _checked(baostock.query_adjust_factor(query.symbol, first, last))
    return _checked(
        baostock.query_history_k_data_plus(
            query.symbol,
            dict(query.options)["fields"],
            start_date=first,
            end_date=last,
            frequency="d",
            adjustflag="3",
        )
    )


def _rows(result: Any) -> list[list[str]]:
    """Return the rows of every page; the library's own `get_data` needs a pandas before 2."""
    from baostock.common import contants

    rows = []
    while result.next():
        rows.append(result.get_row_data())
        _checked(result)
    _checked(result)
    if len(result.data) == contants.BAOSTOCK_PER_PAGE_COUNT:  # it would have gone on to the next
        raise BaostockError("", f"the page after row {len(rows)} got lost")
    return rows


def _checked(result: Any) -> Any:
    """Return a result that is a success."""
    from baostock.common import contants

    if result is None:
        raise BaostockError("", "no answer")
    if result.error_code != contants.BSERR_SUCCESS:
        raise BaostockError(str(result.error_code), str(result.error_msg))
    return result
