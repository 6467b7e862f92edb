# /// script
# requires-python = ">=3.11"
# dependencies = ["vectorbt>=1.2.0", "pandas", "pyarrow"]
# ///
"""Trade the published scores, long and short, in a vectorbt portfolio.

python deploy/examples/load_vectorbt.py out/published/us/v1 state/bars/us --fees 0.0005

A score is known after its session's close, so it is traded at the next close.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import vectorbt as vbt
from frames import read_closes, read_scores


def main() -> None:
    """Print the portfolio's return, risk and cost."""
    parser = argparse.ArgumentParser(description="Trade published scores with vectorbt.")
    parser.add_argument("published", type=Path, help="a market's tree: <publish_dir>/<market>/v1")
    parser.add_argument("bars", type=Path, help="a market's bars: <state_dir>/bars/<market>")
    parser.add_argument("--fees", type=float, default=0.0, help="a fraction of each trade's value")
    arguments = parser.parse_args()

    scores = read_scores(arguments.published).unstack("instrument").fillna(0.0)
    weights = scores.div(scores.abs().sum(axis="columns"), axis="index")
    closes = read_closes(arguments.bars)[weights.columns].loc[weights.index[0] :]
    portfolio = vbt.Portfolio.from_orders(
        closes,
        size=weights.reindex(closes.index).shift(1),
        size_type="targetpercent",
        fees=arguments.fees,
        group_by=True,
        cash_sharing=True,
        call_seq="auto",
        freq="1D",
    )
    stats = portfolio.stats(["start", "end", "total_return", "max_dd", "total_fees_paid"])
    sys.stdout.write(f"{stats.to_string()}\norders {portfolio.orders.count()}\n")


if __name__ == "__main__":
    main()
