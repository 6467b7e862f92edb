"""A real Prometheus and a real Alertmanager over a small market whose only factor is about to die.

Both run as they are deployed, but for addresses and for a second where the deployed files wait
longer. What Alertmanager tells is received by a server of our own.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import httpx

from daemon.health import assess
from daemon.heartbeat import beat, heartbeat_path
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.web import WebServer, build_app
from daemon.web_settings import WebSettings
from tests.daemon.small import DYING, FIRST, MARKET, Living, TroubledFeed, living
from tests.tools import tool

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
#: The session after whose close the small market's only live factor is told to have decayed.
DEATH = FIRST + 19
#: Seconds until somebody who does not answer is given up; a slow machine has time.
PATIENCE = 60.0


def changed(text: str, replacements: Mapping[str, str]) -> str:
    """Return a deployed file with other values; each of the old ones must stand in it."""
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def free_port() -> int:
    """Return a port of the loopback nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@dataclass
class Told:
    """What arrived at the webhook, with the monotonic time of each alert's first arrival."""

    first: dict[str, float] = field(default_factory=dict)
    alerts: dict[str, dict[str, Any]] = field(default_factory=dict)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def receive(self, message: Mapping[str, Any]) -> None:
        """Note the firing alerts of one message."""
        with self.arrived:
            for alert in message["alerts"]:
                if alert["status"] == "firing":
                    name = alert["labels"]["alertname"]
                    self.first.setdefault(name, monotonic())
                    self.alerts[name] = alert
            self.arrived.notify_all()

    def wait(self, name: str) -> float:
        """Return when an alert first arrived, waiting for it."""
        with self.arrived:
            arrived = self.arrived.wait_for(lambda: name in self.first, PATIENCE)
        assert arrived, f"{name} has not arrived; {sorted(self.first)} have"
        return self.first[name]


@contextmanager
def receiving() -> Iterator[tuple[Told, int]]:
    """Yield what a webhook is told, and its port."""
    told = Told()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.receive(json.loads(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield told, int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def running(path: Path, *arguments: str, ready: str) -> Iterator[None]:
    """Run a program until the end of the block; it has answered at `ready` when that begins."""
    log = path / f"{Path(arguments[0]).name}.log"
    with log.open("w") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, cwd=path)
        try:
            until(lambda: answers(ready), log.read_text, process)
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


def answers(url: str) -> bool:
    """Say whether somebody answers there with success."""
    try:
        return httpx.get(url, trust_env=False, timeout=2.0).is_success
    except httpx.TransportError:
        return False


def until(
    done: Callable[[], bool],
    why_not: Callable[[], str],
    process: subprocess.Popen[bytes] | None = None,
) -> None:
    """Wait until something is so."""
    end = monotonic() + PATIENCE
    while not done():
        assert monotonic() < end, why_not()
        assert process is None or process.poll() is None, why_not()
        sleep(0.05)


@dataclass(frozen=True)
class Watched:
    """The small market, who watches it, and what they told."""

    alive: Living
    loop: Reconciler
    told: Told
    prometheus: httpx.Client
    metrics: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression gives now; a wrong one fails."""
        answer = self.prometheus.get("query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def is_heard(self) -> bool:
        """Say whether Prometheus has found Alertmanager: before, it tells nobody, for a minute."""
        answer = self.prometheus.get("alertmanagers")
        return bool(answer.json()["data"]["activeAlertmanagers"])

    def live_through(self, number: int) -> None:
        """Close a session and let the daemon do it."""
        self.alive.until(number)
        self.loop.tick(self.alive.market)
        now = datetime.now(UTC)
        beat(heartbeat_path(self.alive.context.settings.state_dir), now, {MARKET: now})

    def seconds_to_webhook(self) -> float:
        """Let the factor decay; return the seconds from the close to the arrival of its alert."""
        until(self.is_heard, lambda: "Prometheus does not know its Alertmanager")
        until(
            lambda: bool(self.query('alphad_factor_verdict{verdict="decayed"} == 0')),
            lambda: "the market is not scraped",
        )
        begun = monotonic()
        self.live_through(DEATH)
        return self.told.wait("FactorDecayed") - begun


@contextmanager
def watched(path: Path) -> Iterator[Watched]:
    """Yield the market one session before its factor is told to have decayed, under watch."""
    prometheus, alertmanager = tool("prometheus"), tool("prometheus-alertmanager")
    with ExitStack() as stack:
        alive = stack.enter_context(
            living(path / "market", TroubledFeed(DYING), mining={"enabled": False})
        )
        loop = Reconciler(alive.context, InlineReminer(alive.context))
        app = build_app(build_registry(alive.context), lambda: assess(alive.context))
        server = WebServer(app, WebSettings(port=0))
        server.start()
        stack.callback(server.stop)
        told, hook = stack.enter_context(receiving())
        ports = free_port(), free_port()
        addresses = [f"127.0.0.1:{port}" for port in ports]
        client = stack.enter_context(
            httpx.Client(base_url=f"http://{addresses[0]}/api/v1/", trust_env=False)
        )
        write_configuration(path, server.port, ports, hook)
        # Alertmanager first: what it did not hear is told again only after a minute
        stack.enter_context(
            running(
                path,
                str(alertmanager),
                "--config.file=alertmanager.yml",
                "--storage.path=alerts",
                f"--web.listen-address={addresses[1]}",
                "--cluster.listen-address=",
                ready=f"http://{addresses[1]}/-/ready",
            )
        )
        stack.enter_context(
            running(
                path,
                str(prometheus),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=series",
                f"--web.listen-address={addresses[0]}",
                ready=f"http://{addresses[0]}/-/ready",
            )
        )
        seen = Watched(alive, loop, told, client, f"http://127.0.0.1:{server.port}/metrics")
        for number in range(FIRST, DEATH):
            seen.live_through(number)
        yield seen


def write_configuration(path: Path, alphad: int, ports: tuple[int, int], hook: int) -> None:
    """Write the deployed files with other addresses, and seconds where they wait longer."""
    prometheus, alertmanager = (f"127.0.0.1:{port}" for port in ports)
    (path / "prometheus.yml").write_text(
        changed(
            (DEPLOY / "prometheus" / "prometheus.yml").read_text(),
            {
                "_interval: 15s": "_interval: 1s",
                "alphad:9464": f"127.0.0.1:{alphad}",
                "alertmanager:9093": alertmanager,
                "localhost:9090": prometheus,
            },
        )
    )
    (path / "rules.yml").write_text((DEPLOY / "prometheus" / "rules.yml").read_text())
    (path / "alertmanager.yml").write_text(
        changed(
            (DEPLOY / "alertmanager" / "alertmanager.yml").read_text(),
            {"group_wait: 10s": "group_wait: 1s", "127.0.0.1:9095": f"127.0.0.1:{hook}"},
        )
    )
