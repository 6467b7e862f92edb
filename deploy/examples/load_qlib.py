# /// script
# requires-python = ">=3.11"
# dependencies = ["pyqlib>=0.9.7", "pandas", "pyarrow"]
# ///
"""Load the published scores as a qlib signal and show the best instruments of a session.

python deploy/examples/load_qlib.py out/published/us/v1 --session 2026-11-20

The signal is what qlib's strategies take as `signal`, such as `TopkDropoutStrategy`, which trades
on the scores of the step before: known at a close, traded at the next.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd
from frames import read_scores
from qlib.backtest.signal import create_signal_from


def main() -> None:
    """Print the type of the signal and the scores it gives for one session."""
    parser = argparse.ArgumentParser(description="Load published scores into qlib.")
    parser.add_argument("published", type=Path, help="a market's tree: <publish_dir>/<market>/v1")
    parser.add_argument("--session", type=pd.Timestamp, help="default: the last one")
    arguments = parser.parse_args()

    scores = read_scores(arguments.published).rename_axis(["datetime", "instrument"])
    session = arguments.session or scores.index.get_level_values("datetime").max()
    signal = create_signal_from(scores)
    given = signal.get_signal(start_time=session, end_time=session)
    if given is None:
        sys.exit(f"no scores for {session:%Y-%m-%d}")
    sys.stdout.write(
        f"{type(signal).__name__}: {len(given)} scores for {session:%Y-%m-%d}\n"
        f"{given.nlargest(5).to_string()}\n"
    )


if __name__ == "__main__":
    main()
