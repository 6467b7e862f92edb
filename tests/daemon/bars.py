"""Small tables of bars for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow as pa

from storage.bars import ABSENT, BAR_SCHEMA

#: Three sessions of XNYS around Thanksgiving 2024.
SESSIONS = (date(2024, 11, 26), date(2024, 11, 27), date(2024, 11, 29))
ASSETS = ("000001", "600000", "AAPL", "BRK.B")


def make_bars(
    sessions: Sequence[date] = SESSIONS,
    assets: Sequence[str] = ASSETS,
    changes: Mapping[tuple[int, str], Any] | None = None,
) -> Any:
    """Return good bars of every asset and session, with single values changed by (row, column)."""
    rows: list[dict[str, Any]] = [
        {
            "session": session,
            "asset": asset,
            "open": 10.0 + number,
            "high": 12.0 + number,
            "low": 9.0 + number,
            "close": 11.0 + number,
            "volume": 1000.0 * (number + 1),
            **ABSENT,
        }
        for session in sessions
        for number, asset in enumerate(assets)
    ]
    for (row, column), value in (changes or {}).items():
        rows[row][column] = value
    return pa.Table.from_pylist(rows, schema=BAR_SCHEMA)
