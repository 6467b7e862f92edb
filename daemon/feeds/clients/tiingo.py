"""Tiingo's daily prices through `tiingo.TiingoClient`. Runs inside `daemon.feeds.worker` only.

The key comes from the environment the parent gives and goes nowhere but into the request's header:
the library's logging is off, and errors are told without it. A request has no timeout of its own;
the child's deadline ends it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from daemon.feeds.protocol import Query

#: The environment name of the key.
KEY_VARIABLE = "TIINGO_API_KEY"
#: What stands where a key stood.
MASK = "***"

#: The one `TiingoClient`, with its session; `start` puts it here.
_kept: dict[str, Any] = {}


class TiingoError(Exception):
    """Tiingo did not answer, or answered that it does not; the text has no key in it.

    Parameters
    ----------
    text : str
    status : int
        Of the answer; 0 without one.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def start(folder: Path, seconds: float) -> None:  # noqa: ARG001 - nothing is kept, see above
    """Make the client; without a key it raises."""
    logging.disable(logging.CRITICAL)  # the library logs what an error's answer says
    from tiingo import TiingoClient

    key = os.environ.pop(KEY_VARIABLE, "")
    _kept["key"] = key
    _kept["client"] = TiingoClient({"session": True, "api_key": key})


def call(query: Query) -> Any:
    """Return the daily rows of a symbol, a pandas.DataFrame with Tiingo's own column names.

    Parameters
    ----------
    query : Query
        Of kind "history", with both ends: without dates Tiingo tells the last row only.

    Raises
    ------
    TiingoError
        No answer, or a refusal, also one told with the status of a success.
    """
    import pandas as pd
    import requests
    from tiingo.restclient import RestClientError

    if query.kind != "history" or query.first is None or query.last is None:
        raise ValueError(f"tiingo answers no {query.kind!r} without its dates")
    try:
        rows = _kept["client"].get_ticker_price(
            query.symbol,
            startDate=query.first.isoformat(),
            endDate=query.last.isoformat(),
            fmt="json",
            frequency="daily",
        )
    except (RestClientError, requests.RequestException) as error:
        raise TiingoError(_masked(f"{type(error).__name__}: {error}"), _status(error)) from None
    if not isinstance(rows, list):
        raise TiingoError(_masked(f"no rows but {rows!r}"[:200]), 200)
    frame = pd.DataFrame(rows)
    if not frame.empty:
        frame["date"] = pd.to_datetime(frame["date"], utc=True).dt.date
    return frame


def classify(error: Exception) -> str:
    """Return what an error of `call` stands for: "limited", "empty" or "failed"."""
    if not isinstance(error, TiingoError):
        return "failed"
    if error.status == 429 or "run over your" in str(error):
        return "limited"
    return "empty" if error.status == 404 else "failed"


def _masked(text: str) -> str:
    """Return a text without the key, however it is quoted."""
    key = _kept.get("key", "")
    for form in {key, key.strip(), repr(key)[1:-1]} - {""}:
        text = text.replace(form, MASK)
    return text


def _status(error: BaseException) -> int:
    """Return the status of the answer behind an error; the library hides it in its arguments."""
    for cause in (error, *error.args):
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if status is not None:
            return int(status)
    return 0
