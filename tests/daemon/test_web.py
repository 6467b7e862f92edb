from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from daemon.health import Health, assess
from daemon.heartbeat import beat, heartbeat_path
from daemon.metrics import build_registry
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from daemon.web import WebServer, build_app
from daemon.web_settings import WebSettings
from signals.errors import ConfigError
from tests.daemon.small import FIRST, MARKET, SESSIONS, living


@dataclass
class Patient:
    """Whose health the endpoints tell."""

    health: Health = field(default_factory=lambda: Health(alive=True, ready=True, facts={"a": 1}))


@contextmanager
def serving(registry: CollectorRegistry, patient: Patient) -> Iterator[httpx.Client]:
    """Serve on a free port of this machine."""
    server = WebServer(build_app(registry, lambda: patient.health), WebSettings(port=0))
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            yield client
    finally:
        server.stop()
        assert not server.thread.is_alive()


@pytest.mark.parametrize(
    ("alive", "ready", "healthz", "readyz"),
    [(True, True, 200, 200), (True, False, 200, 503), (False, False, 503, 503)],
)
def test_health_endpoints(alive: bool, ready: bool, healthz: int, readyz: int) -> None:
    """/healthz is about being alive, /readyz about being up to date; both give their facts."""
    patient = Patient(Health(alive=alive, ready=ready, facts={"us": {"sessions_behind": 2}}))
    with serving(CollectorRegistry(), patient) as client:
        live, prepared = client.get("/healthz"), client.get("/readyz")
    assert (live.status_code, prepared.status_code) == (healthz, readyz)
    assert live.json() == {"alive": alive, "ready": ready, "us": {"sessions_behind": 2}}


def test_health_is_asked_at_each_request() -> None:
    """An answer is never older than its request."""
    patient = Patient()
    with serving(CollectorRegistry(), patient) as client:
        assert client.get("/healthz").status_code == 200
        patient.health = Health(alive=False, ready=False, facts={})
        assert client.get("/healthz").status_code == 503


def test_endpoints_over_a_living_market(tmp_path: Path) -> None:
    """Metrics and health come from the database, by way of threads of the server."""
    with living(tmp_path) as alive:
        Reconciler(alive.context, InlineReminer(alive.context)).tick(alive.market)
        now = alive.clock.now()
        beat(heartbeat_path(alive.context.settings.state_dir), now, {"us": now})
        app = build_app(build_registry(alive.context), lambda: assess(alive.context))
        server = WebServer(app, WebSettings(port=0))
        server.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as client:
            metrics, ready = client.get("/metrics"), client.get("/readyz")
        server.stop()
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'alphad_published_session_lag_sessions{market="us"} 0.0' in metrics.text
    assert ready.json()[MARKET]["published"] == SESSIONS[FIRST].isoformat()
    assert ready.status_code == 200


def test_only_reading() -> None:
    """There is nothing else to ask, and nothing can be posted."""
    with serving(CollectorRegistry(), Patient()) as client:
        assert client.get("/").status_code == 404
        assert client.post("/healthz").status_code == 405


def test_taken_port_is_a_configuration_error() -> None:
    """Two daemons on one port: the second one says which, and how to choose."""
    first = WebServer(build_app(CollectorRegistry(), lambda: Patient().health), WebSettings(port=0))
    with first.socket, pytest.raises(ConfigError, match=f"127.0.0.1:{first.port}") as caught:
        WebServer(build_app(CollectorRegistry(), lambda: Patient().health),
                  WebSettings(port=first.port))  # fmt: skip
    assert "web.port" in caught.value.hint


def test_address_that_is_none_is_a_configuration_error() -> None:
    """A host that is no address of this machine is told the same way."""
    with pytest.raises(ConfigError, match="cannot listen on"):
        WebServer(
            build_app(CollectorRegistry(), lambda: Patient().health),
            WebSettings(host="no.such.host.invalid", port=0),
        )


def test_server_never_holds_the_exit() -> None:
    """Its thread is a daemon thread, whatever a client is doing."""
    before = set(threading.enumerate())
    with serving(CollectorRegistry(), Patient()) as client:
        client.get("/healthz")
        begun = set(threading.enumerate()) - before
        assert [thread.daemon for thread in begun if thread.name == "web"] == [True]
    assert threading.active_count() <= len(before) + 1
