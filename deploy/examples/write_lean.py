# /// script
# requires-python = ">=3.11"
# ///
"""Write the published scores as the CSV that a LEAN `PythonData` reads; standard library only.

python deploy/examples/write_lean.py out/published us --out lean/us.csv

One line a score, in the order in which an algorithm may know them:

    time,end_time,symbol,score,valid_until
    20261120 00:00:00,20261120 22:31:04,AAPL,1.31,20261124 14:30:00

All times are UTC. `end_time` is when the publication was made; LEAN shows a line to an algorithm
from then on, so nothing is traded on before it was known. A publication that `latest.json` would
not have named, such as the restatement of an earlier session, is left out.

In the algorithm, `self.add_data(Scores, "alphad", Resolution.DAILY, TimeZones.UTC)` with:

    class Scores(PythonData):
        def get_source(self, config, date, is_live):
            return SubscriptionDataSource("lean/us.csv", SubscriptionTransportMedium.LOCAL_FILE)

        def reader(self, config, line, date, is_live):
            if not line[:1].isdigit():
                return None
            time, end_time, symbol, score, valid_until = line.strip().split(",")
            found = Scores()
            found.symbol = config.symbol
            found.time = datetime.strptime(time, "%Y%m%d %H:%M:%S")
            found.end_time = datetime.strptime(end_time, "%Y%m%d %H:%M:%S")
            found.value = float(score)
            found["instrument"] = symbol
            found["valid_until"] = valid_until
            return found
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

COLUMNS = "time,end_time,symbol,score,valid_until"


def publications(home: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folders that `latest.json` has named one after the other, with their manifests."""
    found = sorted(home.glob("sessions/*/*/_SUCCESS"), key=lambda mark: mark.parent.name)
    newest = ""
    for mark in found:
        manifest = json.loads(mark.with_name("manifest.json").read_bytes())
        if manifest["session"] >= newest:
            newest = manifest["session"]
            yield mark.parent, manifest


def lines(folder: Path, manifest: dict[str, Any]) -> Iterator[str]:
    """Yield one publication's lines; a file that its manifest does not know ends the program."""
    data = (folder / "signals.csv").read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["files"]["signals.csv"]["sha256"]:
        sys.exit(f"{folder}/signals.csv is not what the manifest says")
    start = datetime.combine(date.fromisoformat(manifest["session"]), time(), UTC)
    made, until = (as_time(manifest[name]) for name in ("generated_at", "valid_until"))
    for row in csv.DictReader(data.decode("utf-8").splitlines()):
        if "," in row["instrument"]:
            sys.exit(f"LEAN splits lines at commas, the instrument is called {row['instrument']!r}")
        told = (stamp(start), stamp(made), row["instrument"], row["score"], stamp(until))
        yield ",".join(told)


def as_time(text: str) -> datetime:
    """Return a time of a manifest; its second has to be over before it is known."""
    found = datetime.fromisoformat(text).astimezone(UTC)
    seconds = math.ceil(found.microsecond / 1e6)
    return found.replace(microsecond=0) + timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    """Return a time as the reader parses it."""
    return moment.strftime("%Y%m%d %H:%M:%S")


def main() -> None:
    """Write the file whole, or not at all."""
    parser = argparse.ArgumentParser(description="Write published scores for LEAN.")
    parser.add_argument("published", type=Path, help="the publish directory")
    parser.add_argument("market", help="the market's name")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file")
    arguments = parser.parse_args()

    home = arguments.published / arguments.market / "v1"
    if (home / "halted.json").exists():
        sys.exit(f"refused: {arguments.market} is halted, see {home / 'halted.json'}")
    found = [line for each in publications(home) for line in lines(*each)]
    if not found:
        sys.exit(f"nothing is published in {home}")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = arguments.out.with_suffix(".tmp")
    temporary.write_text("\n".join([COLUMNS, *found]) + "\n", encoding="utf-8")
    temporary.replace(arguments.out)
    sys.stdout.write(f"{len(found)} scores to {arguments.out}\n")


if __name__ == "__main__":
    main()
