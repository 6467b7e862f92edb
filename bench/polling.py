"""A consumer that reads the latest signals as fast as it can, in a process of its own.

It has `storage/reader.py` alone, as a file that was copied, and counts what it was refused for any
other reason than that nothing has been published yet.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import storage.reader

#: Reads until its input ends, then tells what it has read.
_POLL = """
import importlib.util, json, select, sys, time
from datetime import datetime, timezone
spec = importlib.util.spec_from_file_location("reader", sys.argv[1])
reader = importlib.util.module_from_spec(spec)
sys.modules["reader"] = reader
spec.loader.exec_module(reader)
root, market, ever = sys.argv[2], sys.argv[3], datetime(1990, 1, 1, tzinfo=timezone.utc)
reads, publications, seen, session, torn = 0, 0, None, None, []
while not select.select([sys.stdin], [], [], 0.001)[0]:
    try:
        found = reader.read_latest(root, market, now=ever, seen=seen)
    except reader.SignalRefused as refused:
        if seen is not None or "No such file" not in refused.reason:
            torn.append(refused.reason)
        continue
    reads += 1
    if session is not None and found.session < session:
        torn.append(f"session {found.session} after {session}")
    publications += found.publish_id != seen
    seen, session = found.publish_id, found.session
print(json.dumps({"reads": reads, "publications": publications, "torn": torn}))
"""


@dataclass
class Polled:
    """What a consumer has read.

    Parameters
    ----------
    reads, publications : int
        Signals that were read, and how many different ones.
    torn : list of str
        Why it was refused signals once there had been some.
    """

    reads: int = 0
    publications: int = 0
    torn: list[str] = field(default_factory=list)

    def add(self, other: Polled) -> None:
        """Count what another consumer has read as well."""
        self.reads += other.reads
        self.publications += other.publications
        self.torn += other.torn


@contextmanager
def polling(root: Path, market: str) -> Iterator[Polled]:
    """Let a consumer read a published tree while the block runs; what is given is filled after."""
    polled = Polled()
    command = [sys.executable, "-I", "-c", _POLL, str(storage.reader.__file__), str(root), market]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as consumer:  # type: ignore[call-overload]
        try:
            yield polled
            time.sleep(0.02)  # it sees the last one, too
            said, _ = consumer.communicate("stop\n", timeout=60)
        finally:
            consumer.kill()
    polled.add(Polled(**json.loads(said)))
