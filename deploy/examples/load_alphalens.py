# /// script
# requires-python = ">=3.11"
# dependencies = ["alphalens-reloaded>=0.5.1", "pandas", "pyarrow"]
# ///
"""Evaluate the published scores with alphalens.

python deploy/examples/load_alphalens.py out/published/us/v1 state/bars/us

A score is known after its session's close, so the price it is paired with is the next close. The
last session has none; its row is left out, because alphalens fills it from the row before.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from alphalens.performance import factor_information_coefficient
from alphalens.utils import get_clean_factor_and_forward_returns
from frames import read_closes, read_scores


def main() -> None:
    """Print the mean rank information coefficient of each holding period."""
    parser = argparse.ArgumentParser(description="Evaluate published scores with alphalens.")
    parser.add_argument("published", type=Path, help="a market's tree: <publish_dir>/<market>/v1")
    parser.add_argument("bars", type=Path, help="a market's bars: <state_dir>/bars/<market>")
    arguments = parser.parse_args()

    factor = get_clean_factor_and_forward_returns(
        read_scores(arguments.published),
        read_closes(arguments.bars).shift(-1).iloc[:-1],
        periods=(1, 5),
        filter_zscore=None,  # the default drops returns by a deviation taken over the future too
    )
    coefficients = factor_information_coefficient(factor)
    summary = coefficients.agg(["mean", "std", "count"])
    sys.stdout.write(f"rank IC by holding period\n{summary.to_string()}\n")


if __name__ == "__main__":
    main()
