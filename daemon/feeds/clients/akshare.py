"""akshare's functions of Eastmoney and csindex. Runs inside `daemon.feeds.worker` only.

Sina's functions evaluate fetched text, Tencent's mix lots and shares, and prices adjusted forward
("qfq") restate the past and may be negative: none of them is called.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from daemon.feeds.protocol import Query

#: Seconds a network request may take; `start` sets it. Only `stock_zh_a_hist` takes a timeout: each
#: request of the snapshot has 15 seconds of its own and two retries, the other calls have none, and
#: nothing but the child's deadline ends those.
_timeout = {"seconds": 15.0}
#: How Eastmoney turns heavy users away: it closes the connection without an answer.
_CLOSED = ("RemoteDisconnected", "ConnectionResetError", "ConnectionAbortedError")


def start(folder: Path, seconds: float) -> None:  # noqa: ARG001 - akshare keeps nothing
    """Import akshare, which takes a second, without its progress bars."""
    os.environ["TQDM_DISABLE"] = "1"  # read at import
    import akshare  # type: ignore[import-untyped]  # noqa: F401

    _timeout["seconds"] = seconds


def call(query: Query) -> Any:
    """Return what akshare returns, a pandas.DataFrame with akshare's own column names.

    Parameters
    ----------
    query : Query
        Of kind `history` (a share's daily bars; option `adjust` is "" or "hfq"), `spot` (a snapshot
        of every share; about 60 requests with pauses of a second between them, akshare's own),
        `constituents` (an index's members today) or `index` (an index's daily bars).

    Raises
    ------
    ValueError
        Another kind, or another adjustment.
    """
    if query.kind not in _CALLS:
        raise ValueError(f"{query.kind!r} is none of {', '.join(_CALLS)}")
    return _CALLS[query.kind](query)


def classify(exc: BaseException) -> str:
    """Return "limited" if the error is how the server turns a heavy user away, else "failed"."""
    for cause in _causes(exc):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status in (403, 429) or type(cause).__name__ in _CLOSED:
            return "limited"
    return "failed"


def _history(query: Query) -> Any:
    adjust = dict(query.options).get("adjust", "")
    if adjust not in ("", "hfq"):
        raise ValueError(f"adjust {adjust!r} is neither '' nor 'hfq'")
    import akshare

    return akshare.stock_zh_a_hist(
        query.symbol, **_span(query), adjust=adjust, timeout=_timeout["seconds"]
    )


def _index(query: Query) -> Any:
    import akshare

    return akshare.stock_zh_index_daily_em(symbol=query.symbol, **_span(query))


def _constituents(query: Query) -> Any:
    import akshare

    return akshare.index_stock_cons_csindex(symbol=query.symbol)


def _spot(_query: Query) -> Any:
    import akshare

    return akshare.stock_zh_a_spot_em()


_CALLS: dict[str, Callable[[Query], Any]] = {
    "history": _history,
    "spot": _spot,
    "constituents": _constituents,
    "index": _index,
}


def _span(query: Query) -> dict[str, str]:
    span = {"start_date": query.first, "end_date": query.last}
    return {name: f"{day:%Y%m%d}" for name, day in span.items() if day is not None}


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an error and those behind it; urllib3 and requests hide theirs in args and reason."""
    waiting, seen = [exc], set[int]()
    while waiting:
        error = waiting.pop()
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        behind = (error.__cause__, error.__context__, getattr(error, "reason", None), *error.args)
        waiting += [each for each in behind if isinstance(each, BaseException)]
