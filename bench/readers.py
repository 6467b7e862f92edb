"""Whether readers of the API delay a publication.

`python -m bench.readers [--readers 50] [--sessions 40] [--assets 1000]` lives through sessions of a
simulated market while a process of its own asks the daemon's API over so many connections, as fast
as it is answered, in every second session. It prints how long publishing took with and without
them, from the first query to `latest.json`, and how many requests were answered meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, sleep

import numpy as np
from prometheus_client import CollectorRegistry

from daemon.clock import ReplayClock
from daemon.context import Context, open_context
from daemon.health import Health
from daemon.logs import configure_logging
from daemon.reconcile import STAGES
from daemon.settings import build_settings
from daemon.web import WebServer, build_app

#: Sessions of history before the first one measured.
HISTORY = 560
#: What a reader asks for, one after the other.
ASKED = (
    "/v1/signals/sim/latest?expired=allow",
    "/v1/signals/sim/latest?expired=allow&format=parquet",
    "/v1/signals/sim/latest?expired=allow&format=csv",
    "/v1/signals/sim/latest/manifest?expired=allow",
    "/v1/signals/sim?limit=5",
)


async def hammer(port: int, readers: int) -> None:
    """Ask for ever over so many connections; write a dot for each ten answers."""
    count = 0

    async def read_on(turn: int) -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while True:
            turn += 1
            path = ASKED[turn % len(ASKED)]
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length")
            )
            await reader.readexactly(length)
            if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 404")):
                raise SystemExit(head.decode())
            count += 1
            if count % 10 == 0:
                os.write(1, b".")

    async def read_for_ever(first: int) -> None:
        while True:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                await read_on(first)  # the server ends a connection that was stopped for long

    await asyncio.gather(*(read_for_ever(number) for number in range(readers)))


@dataclass(frozen=True)
class Crowd:
    """The process of the readers, and where it tells of their answers."""

    child: subprocess.Popen[bytes]
    told: int

    def answered(self) -> int:
        """Return how many requests were answered since the last call."""
        try:
            return 10 * len(os.read(self.told, 1_000_000))
        except BlockingIOError:
            return 0


@contextmanager
def gathered(port: int, readers: int) -> Iterator[Crowd]:
    """Start the readers; once they are answered they are stopped."""
    command = [sys.executable, "-m", "bench.readers", "--hammer", str(port)]
    told, written = os.pipe()
    with subprocess.Popen([*command, "--readers", str(readers)], stdout=written) as child:
        os.close(written)
        os.read(told, 1)
        child.send_signal(signal.SIGSTOP)
        os.set_blocking(told, False)
        try:
            yield Crowd(child, told)
        finally:
            child.kill()
            os.close(told)


def live_through(
    context: Context, clock: ReplayClock, sessions: int, crowd: Crowd
) -> tuple[dict[bool, list[float]], float]:
    """Return seconds of publishing without and with readers, and requests a second."""
    market = context.markets["sim"]
    seconds: dict[bool, list[float]] = {False: [], True: []}
    requests, asked_for = 0, 0.0
    session = market.calendar.next_session(market.settings.feed.start, HISTORY)
    for number in range(sessions + 1):
        clock.set(market.calendar.finality(session, 90))
        with_readers = number % 2 == 0
        *before, (_, publish) = STAGES
        for _, stage in before:
            stage(context, market, session)
        begun = perf_counter()
        if with_readers:
            crowd.child.send_signal(signal.SIGCONT)
            sleep(0.3)  # they are at full speed by then
        started = perf_counter()
        publish(context, market, session)
        ended = perf_counter()
        crowd.child.send_signal(signal.SIGSTOP)
        if number:  # the first brings the history
            seconds[with_readers].append(ended - started)
        found = crowd.answered()
        if with_readers and number:
            requests += found
            asked_for += ended - begun
        session = market.calendar.next_session(session)
    return seconds, requests / max(asked_for, 1e-9)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--assets", type=int, default=1000)
    parser.add_argument("--hammer", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    configure_logging(quiet=True)
    if options.hammer:
        asyncio.run(hammer(options.hammer, options.readers))
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = build_settings(
            {
                "state_dir": Path(folder) / "state",
                "publish_dir": Path(folder) / "published",
                "web": {"port": 0},
                "markets": {
                    "sim": {
                        "feed": {"kind": "simulated", "assets": options.assets},
                        "seed_book": "sim",
                        "mining": {"enabled": False},
                    }
                },
            }
        )
        clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
        health = Health(alive=True, ready=True, facts={})
        with open_context(settings, clock) as context:
            app = build_app(CollectorRegistry(), lambda: health, context)
            server = WebServer(app, settings.web)
            server.start()
            with gathered(server.port, options.readers) as crowd:
                found, rate = live_through(context, clock, options.sessions, crowd)
            server.stop()
    print(f"publishing {options.assets} assets, {options.sessions} sessions, milliseconds")
    for with_readers, values in found.items():
        low, high = 1000 * np.quantile(values, [0.5, 0.9])
        who = f"{options.readers} readers" if with_readers else "no readers"
        print(f"{who:<12} median {low:7.1f}   90 % {high:7.1f}   n {len(values)}")
    print(f"answered meanwhile: {rate:.0f} requests a second")


if __name__ == "__main__":
    main()
