"""How long it takes from a planted decay to somebody's webhook, through real Debian programs.

`python -m bench.decay_to_webhook [--times 3]` closes the session after which a factor is told to
have decayed and prints the seconds until the webhook of Alertmanager has heard of it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from daemon.logs import configure_logging
from tests.deploy.watching import watched


def main() -> None:
    """Print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    configure_logging(quiet=True)
    for _ in range(parser.parse_args().times):
        with tempfile.TemporaryDirectory() as folder, watched(Path(folder)) as market:
            print(f"planted decay to webhook: {market.seconds_to_webhook():.1f} s", flush=True)


if __name__ == "__main__":
    main()
