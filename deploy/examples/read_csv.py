# /// script
# requires-python = ">=3.11"
# ///
"""Read the latest scores from CSV with the standard library, or refuse them.

python deploy/examples/read_csv.py out/published us --seen 00000755

`storage/reader.py` imports nothing else of alphad: where alphad is not installed, copy that file
beside this one and import `read_latest` from `reader`.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from storage.reader import SignalRefused, read_latest


def main() -> None:
    """Print the best instruments of the latest session; exit with the reason when refused."""
    parser = argparse.ArgumentParser(description="Read the latest published scores.")
    parser.add_argument("published", type=Path, help="the publish directory")
    parser.add_argument("market", help="the market's name")
    parser.add_argument("--seen", help="the publish_id acted on last; an earlier one is refused")
    parser.add_argument(
        "--now",
        type=datetime.fromisoformat,
        default=datetime.now(UTC),
        help="the time to judge validity by, with its offset (default: now)",
    )
    arguments = parser.parse_args()

    try:
        signals = read_latest(
            arguments.published, arguments.market, now=arguments.now, seen=arguments.seen
        )
    except SignalRefused as refused:
        sys.exit(f"refused: {refused.reason}")
    sys.stdout.write(
        f"{signals.session} {signals.publish_id} {signals.status}, {len(signals.scores)} scores, "
        f"valid until {signals.valid_until:%Y-%m-%d %H:%M} UTC\n"
    )
    for name, score in sorted(signals.scores.items(), key=lambda pair: -pair[1])[:5]:
        sys.stdout.write(f"{name} {score:+.4f}\n")


if __name__ == "__main__":
    main()
