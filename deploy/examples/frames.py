"""The published scores and the bars behind them, as the pandas objects the examples start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd


def read_scores(published: Path) -> Any:
    """Return every session's scores, indexed by session and instrument.

    Parameters
    ----------
    published : Path
        A market's tree, such as `out/published/us/v1`. Where a session was published more than
        once, the last complete publication counts.
    """
    last = {mark.parts[-3]: mark for mark in sorted(published.glob("sessions/*/*/_SUCCESS"))}
    tables = [pd.read_parquet(mark.with_name("signals.parquet")) for mark in last.values()]
    return pd.concat(tables).set_index(["session", "instrument"])["score"]


def read_closes(folder: Path) -> Any:
    """Return closes adjusted forward, a row per session and a column per instrument.

    Parameters
    ----------
    folder : Path
        A market's bars, such as `state/bars/us`. Where a bar was restated, the newer file counts.
    """
    files = sorted(folder.glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
    bars = pd.concat([pd.read_parquet(path) for path in files])
    bars["session"] = pd.to_datetime(bars["session"])
    bars["close"] = bars["close"].mask(bars["suspended"])
    bars = bars.drop_duplicates(["session", "asset"], keep="last")
    bars = bars.pivot(index="session", columns="asset", values=["close", "adjustment"])
    return bars["close"] * bars["adjustment"].fillna(1.0).cumprod()
