"""A client without a network: what a query does is written in its symbol."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import date
from typing import Any

from daemon.feeds.protocol import Query


class RateLimitError(Exception):
    """What this client raises when it is limited."""


def call(query: Query) -> Any:
    """Return a frame of one row, or misbehave as the symbol says."""
    import pandas as pd

    match query.symbol.rstrip("0123456789"):
        case "HANG":
            time.sleep(600.0)
        case "CHILD":  # and what it starts hangs too, holding its pipes
            subprocess.run([sys.executable, "-c", "import time; time.sleep(600)"], check=False)
        case "CRASH":
            sys.stderr.write("something is very wrong\n")
            os.abort()
        case "BOMB":
            bytearray(8 * 2**30)
        case "BIG":
            return pd.DataFrame({"text": ["x" * 2**20]})
        case "LIMIT":
            raise RateLimitError("Too Many\nRequests")
        case "BROKEN":
            raise KeyError("chart")
        case "EMPTY":
            return pd.DataFrame()
        case "PRINT":
            sys.stdout.write("hello from a library\n" * 100_000)
            sys.stdout.flush()
    return pd.DataFrame(
        {
            "Date": [date(2024, 11, 26)],
            "symbol": [query.symbol],
            "pid": [os.getpid()],
            "asked": [f"{query.first} {query.last} {dict(query.options)}"],
            "ours": [",".join(sorted(name for name in os.environ if name.startswith("ALPHAD_")))],
        }
    )


def classify(error: Exception) -> str:
    return "limited" if isinstance(error, RateLimitError) else "failed"
