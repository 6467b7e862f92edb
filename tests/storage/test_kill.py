"""Processes killed with -9 at random moments lose nothing that was acknowledged."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from storage.bars import BarStore, vintages
from storage.database import Database
from storage.integrity import verify, verify_database
from storage.publishing import Publisher, publications
from tests.storage.build import at, day

#: Appends, reads and publishes one session after another; prints the number of each one done.
WRITER = """
import sys
from pathlib import Path
from storage.bars import BarStore, last_vintage
from storage.database import Database
from storage.publishing import Publisher, publications
from tests.storage.build import at, day, keep, market_day, publish
root = Path(sys.argv[1])
database = Database.file(root / "alphad.sqlite")
store = BarStore(root, database)
Publisher(root / "out", database).recover("us", at(0))
store.sweep("us")
with database.read() as c:
    done = len(publications(c, "us", status="published"))
    last = last_vintage(c, "us")
bars = 0 if last is None else last.number
print("ready", flush=True)
for number in range(done, 5000):
    if number >= bars:
        keep(store, market_day(number, [f"A{n}" for n in range(50 + number % 7)]), at(number))
    store.panel("us", as_of=at(number), last_session=day(number))
    publish(root / "out", database, number)
    print(number, flush=True)
"""


def killed(root: Path, sessions: int, seconds: float) -> int:
    """Kill the writer some seconds after some sessions; return the last one it acknowledged."""
    said: list[str] = []
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as child:
        assert child.stdout is not None
        for _ in range(1 + sessions):  # "ready" is the first line
            said.append(child.stdout.readline())
            assert said[-1]
        time.sleep(seconds)
        child.kill()
        child.wait()
        said += child.stdout.read().splitlines()
    whole = [line for line in said if line.strip().isdigit()]
    return int(whole[-1]) if whole else -1


@pytest.mark.timeout(60)
def test_killed_writer_loses_nothing(tmp_path: Path, sqlite: Database) -> None:
    """After each of six kills every acknowledged session is whole, and the next run goes on."""
    rng = np.random.default_rng(7)
    acknowledged = -1
    for _ in range(6):
        acknowledged = max(
            acknowledged, killed(tmp_path, int(rng.integers(0, 4)), float(rng.uniform(0, 0.05)))
        )
        assert sqlite.check() == []
        Publisher(tmp_path / "out", sqlite).recover("us", at(0))
        BarStore(tmp_path, sqlite).sweep("us")
        assert verify(tmp_path / "out") == []
        assert verify_database(sqlite, tmp_path / "out", tmp_path) == []
        with sqlite.read() as c:
            published = [row.session for row in publications(c, "us", status="published")]
            kept = [vintage.first_session for vintage in vintages(c, "us")]
        assert published == [day(number) for number in range(len(published))]
        assert kept == [day(number) for number in range(len(kept))]
        assert len(published) > acknowledged
        assert len(kept) >= len(published)
    assert acknowledged > 5
    grown = BarStore(tmp_path, sqlite).panel("us", as_of=at(9999), last_session=day(9999))
    for path in (tmp_path / "cache" / "us").iterdir():
        path.unlink()
    rebuilt = BarStore(tmp_path, sqlite).panel("us", as_of=at(9999), last_session=day(9999))
    assert grown.assets == rebuilt.assets
    for name, values in grown.fields.items():
        assert np.array_equal(values, rebuilt.fields[name], equal_nan=True)
