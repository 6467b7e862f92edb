"""`python -m bench.kills`: kill -9 a replay at random moments and compare what it publishes.

The moments are uniform over the duration of an undisturbed run, so that long work, such as a
re-mining, is hit in proportion; one kill in four falls into the start of a resumed process. A
consumer polls throughout.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import tomli_w

from bench.polling import Polled, polling
from daemon.calendar import MarketCalendar
from daemon.feeds.protocol import Request
from daemon.feeds.simulated import SimulatedFeed

#: Seconds between two looks at a running replay.
LOOK = 0.005
#: Share of kills that fall into the start of a resumed process.
AT_START = 0.25
#: Seconds after which a replay counts as hanging.
PATIENCE = 1800.0


@dataclass(frozen=True)
class Replay:
    """An `alphad replay` with everything but its output directory."""

    arguments: tuple[str, ...]

    @property
    def market(self) -> str:
        """Return the market it replays."""
        return self.arguments[self.arguments.index("--market") + 1]

    @contextmanager
    def running(self, out: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start it in a process of its own, which is killed when the block ends before it does."""
        command = [sys.executable, "-m", "daemon.cli", "replay", *self.arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ALPHAD_")}
        with (
            tempfile.TemporaryFile() as said,
            subprocess.Popen(
                [*command, "--out", str(out)], stdout=said, stderr=said, env=environment
            ) as child,
        ):
            try:
                yield child
                if child.poll() not in (None, 0, -signal.SIGKILL):
                    said.seek(0)
                    text = said.read().decode(errors="replace")
                    raise RuntimeError(f"the replay ended with code {child.returncode}:\n{text}")
            finally:
                child.kill()
                child.wait()


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run published, and when.

    Parameters
    ----------
    files : mapping of str to bytes
        Every published file by its path in the output directory.
    startup : float
        Seconds until it held its directory.
    moments : sequence of float
        Seconds from the start to each newly published session.
    seconds : float
        The whole run.
    """

    files: dict[str, bytes]
    startup: float
    moments: tuple[float, ...]
    seconds: float


@dataclass(frozen=True)
class Kill:
    """One kill.

    Parameters
    ----------
    seconds : float
        From the start of the process to its death.
    published : int
        Sessions it left published.
    during : str
        What the ledger shows as running.
    """

    seconds: float
    published: int
    during: str


def published_files(out: Path) -> dict[str, bytes]:
    """Return every file under the published tree of an output directory."""
    root = out / "published"
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def count_published(out: Path) -> int:
    """Return how many sessions have a folder."""
    return sum(1 for _ in (out / "published").glob("*/v1/sessions/*"))


def run_undisturbed(replay: Replay, out: Path) -> Reference:
    """Run a replay to its end."""
    startup: float | None = None
    moments: list[float] = []
    with replay.running(out) as child:
        started = time.monotonic()
        while child.poll() is None:
            there = count_published(out)
            moments += [time.monotonic() - started] * (there - len(moments))
            if startup is None and holds(child, out):
                startup = time.monotonic() - started
            time.sleep(LOOK)
        seconds = time.monotonic() - started
    return Reference(published_files(out), startup or 0.0, tuple(moments), seconds)


def holds(child: subprocess.Popen[bytes], out: Path) -> bool:
    """Return whether a replay has started so far that it owns its directory."""
    try:
        return (out / "state" / "lock").read_text(encoding="ascii").strip() == str(child.pid)
    except OSError:
        return False


def kill_after(replay: Replay, out: Path, sessions: int | None, seconds: float) -> Kill | None:
    """Kill a replay and return what it left; None if it ended first.

    Parameters
    ----------
    sessions : int or None
        Published sessions to wait for; None counts the seconds from the start of the process.
    seconds : float
        How long after that.
    """
    with replay.running(out) as child:
        started = time.monotonic()
        while sessions is not None and (not holds(child, out) or count_published(out) < sessions):
            if child.poll() is not None:
                return None
            if time.monotonic() - started > PATIENCE:
                raise RuntimeError(f"no progress in {PATIENCE} s")
            time.sleep(LOOK)
        try:
            child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        else:
            return None
        lived = time.monotonic() - started
    return Kill(lived, count_published(out), what_ran(out))


def what_ran(out: Path) -> str:
    """Return what the ledger shows as running; read from a copy, the files stay as they died."""
    database = out / "state" / "alphad.db"
    if not database.exists():
        return "nothing: there is no ledger yet"
    with tempfile.TemporaryDirectory() as folder:
        for path in database.parent.glob("alphad.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / database.name)) as conn:
            try:
                runs = conn.execute(
                    "SELECT stage, session FROM stage_runs WHERE status = 'running'"
                ).fetchall()
                mining = conn.execute(
                    "SELECT id, checkpoint FROM remine_jobs WHERE status = 'running'"
                ).fetchall()
            except sqlite3.OperationalError:
                return "nothing: there is no table yet"
    shown = [f"{stage} {session}" for stage, session in runs]
    shown += [
        f"re-mining {number}, {json.loads(state)['number'] if state else 0} rounds done"
        for number, state in mining
    ]
    return ", ".join(shown) or "nothing: between two stages, or starting"


def disturb(
    replay: Replay,
    reference: Reference,
    work: Path,
    rng: np.random.Generator,
    kills: int,
    say: Callable[[int, Kill], None] = lambda _number, _kill: None,
    consumer: Polled | None = None,
) -> Iterator[Path]:
    """Kill and resume a replay, then let it end; yield each output directory that is complete.

    More than one directory is needed when a run ends before its kill.

    Parameters
    ----------
    consumer : Polled, optional
        Filled with what a consumer read that polled meanwhile.
    """
    done = 0
    attempt = 0
    while done < kills:
        attempt += 1
        out = work / f"killed-{attempt}"
        with polling(out / "published", replay.market) as polled:
            done = disturb_one(replay, reference, out, rng, (done, kills), say)
        if consumer is not None:
            consumer.add(polled)
        yield out


def disturb_one(
    replay: Replay,
    reference: Reference,
    out: Path,
    rng: np.random.Generator,
    kills: tuple[int, int],
    say: Callable[[int, Kill], None],
) -> int:
    """Kill and resume a replay in one directory until it ends; return the kills there were so far.

    Parameters
    ----------
    kills : tuple of int
        How many there have been, and how many there are to be.
    """
    done, wanted = kills
    for moment in np.sort(rng.uniform(0.0, 0.97 * reference.seconds, wanted - done)).tolist():
        before = bisect_right(reference.moments, moment)
        seconds = moment - (reference.moments[before - 1] if before else 0.0)
        sessions = before or None
        if done and rng.random() < AT_START:
            sessions, seconds = None, float(rng.uniform(0.0, 1.2 * reference.startup))
        kill = kill_after(replay, out, sessions, seconds)
        if kill is None:
            break
        done += 1
        say(done, kill)
    with replay.running(out) as child:
        child.wait(timeout=PATIENCE)
    return done


def differences(out: Path, reference: Reference) -> list[str]:
    """Return in what an output directory differs from an undisturbed one, or is not clean."""
    files = published_files(out)
    names = sorted(files.keys() | reference.files.keys())
    found = [f"{name} differs" for name in names if files.get(name) != reference.files.get(name)]
    return found + [f"{path} is left over" for path in sorted(out.rglob(".*.tmp"))]


def verify(out: Path) -> str:
    """Return what `alphad verify` finds, "" when all is whole."""
    command = [sys.executable, "-m", "daemon.cli", "verify", "--config", str(out / "alphad.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def simulated_replay(work: Path) -> Replay:
    """Return the replay of a mid-size simulated market: 120 assets, 300 sessions, re-minings."""
    calendar = MarketCalendar("XNYS")
    sessions = calendar.sessions(date(2021, 1, 4), date(2023, 12, 29))[:560]
    feed = SimulatedFeed(calendar, seed=3, n_assets=120, start=sessions[0])
    bars = work / "bars.parquet"
    pq.write_table(feed.fetch(Request("sim", tuple(sessions))), bars)
    config = work / "settings.toml"
    market = {
        "calendar": "XNYS",
        "seed_book": "sim",
        "feed": {"kind": "parquet", "path": str(bars)},
        "monitor": {"baseline_sessions": 200},
        "book": {"min_healthy": 12, "cooldown_sessions": 30},
        "mining": {"train_sessions": 120, "valid_sessions": 80, "rounds": 4, "batch": 150},
    }
    config.write_text(tomli_w.dumps({"markets": {"sim": market}}), encoding="utf-8")
    span = ("--from", sessions[260].isoformat(), "--to", sessions[-1].isoformat())
    return Replay(("--market", "sim", "--bars", str(bars), "--config", str(config), *span))


def main() -> int:
    """Kill, resume, compare; the exit code says whether all was equal."""
    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the moments")
    parser.add_argument("--bars", help="your own bars in place of the simulated market")
    parser.add_argument("--membership", help="its constituents")
    parser.add_argument("--market", default="us", help="its market (default: us)")
    parser.add_argument("--from", dest="first", help="first session, with --bars")
    parser.add_argument("--to", dest="last", help="last session, with --bars")
    options = parser.parse_args()
    if options.bars and not (options.first and options.last):
        parser.error("--bars needs --from and --to")
    with tempfile.TemporaryDirectory(prefix="alphad-kills-") as folder:
        work = Path(folder)
        if options.bars:
            named = {"--market": "market", "--bars": "bars", "--membership": "membership"}
            named |= {"--from": "first", "--to": "last"}
            given = {flag: getattr(options, name) for flag, name in named.items()}
            replay = Replay(tuple(part for pair in given.items() if pair[1] for part in pair))
        else:
            replay = simulated_replay(work)
        return report(replay, work, options.kills, options.seed)


def report(replay: Replay, work: Path, kills: int, seed: int) -> int:
    """Run it, print a line per kill and the verdict."""
    started = time.monotonic()
    reference = run_undisturbed(replay, work / "undisturbed")
    print(
        f"undisturbed: {reference.seconds:.1f} s, {len(reference.moments)} sessions, "
        f"{len(reference.files)} published files",
        flush=True,
    )

    def say(number: int, kill: Kill) -> None:
        print(
            f"kill {number:2d}  after {kill.seconds:5.2f} s  {kill.published:4d} published  "
            f"running: {kill.during}",
            flush=True,
        )

    bad: list[str] = []
    consumer = Polled()
    rng = np.random.default_rng(seed)
    for out in disturb(replay, reference, work, rng, kills, say, consumer):
        bad += differences(out, reference)
        broken = verify(out)
        bad += [f"alphad verify: {broken}"] if broken else []
    print(f"{kills} kills in {time.monotonic() - started:.0f} s with all resumptions")
    print(
        f"a consumer read {consumer.reads} times, {consumer.publications} publications; "
        f"{len(consumer.torn)} torn reads"
    )
    bad += [f"torn read: {why}" for why in consumer.torn[:10]]
    for line in bad:
        print(f"  {line}")
    print("DIFFERENT" if bad else "every published file is byte-identical, and verified whole")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
