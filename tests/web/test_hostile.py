"""Requests nobody of good will makes: each gets a refusal, and the server goes on."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from daemon.health import Health
from daemon.web import WebServer, build_app
from daemon.web.guard import is_ours
from daemon.web.protocol import MOST_CONNECTIONS, GuardedProtocol
from daemon.web_settings import WebSettings
from tests.daemon.small import MARKET, Home
from tests.web.site import Site, serving

BASE = f"/v1/signals/{MARKET}"
LATEST = f"{BASE}/latest"


def talk(site: Site, data: bytes, *, half: bool = True) -> bytes:
    """Send raw bytes and return everything that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
        try:
            raw.sendall(data)
            if half:
                raw.shutdown(socket.SHUT_WR)
        except OSError:  # it has closed already
            pass
        parts = []
        try:
            while part := raw.recv(65_536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)


def is_well(site: Site) -> bool:
    return site.client.get(LATEST).status_code == 200


def statuses(data: bytes) -> list[int]:
    """Return the status of each answer in a stream."""
    lines = [part[:3] for part in data.split(b"HTTP/1.1 ")[1:]]
    return [int(line) for line in lines]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/signals/..%2f..%2fetc%2fpasswd/latest",
        "/v1/signals/us/..%2flatest",
        "/v1/signals/us/%2e%2e/%2e%2e/state/alphad.db",
        "/static/..%2f..%2fpages.py",
        "/static/%2e%2e%2fpages.py",
        "/static/openapi.json",
        "/static//etc/passwd",
        "/markets/..%2f..%2f",
        "/v1/signals/%00/latest",
        "/v1/signals/us%0d%0aSet-Cookie:%20x=1/latest",
        "/v1/signals/" + "x" * 5000 + "/latest",
        "/v1/signals/%F0%9F%92%A9/latest",
        "/v1/signals/us%20/latest",
        "/v1/signals/US/latest",
        "/v1/signals/' OR 1=1 --/latest",
        "/markets/<script>alert(1)</script>",
        "/markets/us/factors/nobody",
        "/markets/us/factors/%3Cscript%3Ealert(1)%3C/script%3E",
        "/markets/us/",
        "//evil.example/",
    ],
)
def test_path_that_leads_nowhere(site: Site, path: str) -> None:
    """It is not found, as page or problem; nothing outside is read, nothing is repeated raw."""
    answer = httpx.get(site.base + path, trust_env=False)
    assert answer.status_code in (400, 404), answer.text
    assert "root:" not in answer.text
    assert "<script>alert" not in answer.text
    assert "Traceback" not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("from=yesterday", "bad-date"),
        ("from=2023-02-30", "bad-date"),
        ("from=20230131", "bad-date"),
        ("from=2023-W05-1", "bad-date"),
        ("from=%D9%A2%D9%A0%D9%A2%D9%A3-01-31", "bad-date"),
        ("to=0000-00-00", "bad-date"),
        ("from=2024-01-02&to=2024-01-01", "bad-range"),
        ("limit=0", "bad-number"),
        ("limit=61", "bad-number"),
        ("limit=-1", "bad-number"),
        ("limit=1e3", "bad-number"),
        ("limit=" + "9" * 400, "bad-number"),
        ("format=xml", "bad-format"),
        ("formt=csv", "bad-parameter"),
        ("from=2023-01-31&from=2023-02-01", "bad-parameter"),
        ("a=1&" * 900, "bad-parameter"),
    ],
)
def test_query_that_cannot_be_understood(site: Site, query: str, kind: str) -> None:
    """It is refused by kind, never answered with something else."""
    answer = site.client.get(f"{BASE}?{query}")
    assert (answer.status_code, answer.json()["type"]) == (400, f"urn:alphad:{kind}")


@pytest.mark.parametrize("session", ["today", "2023-13-01", "latest.json", "-", "2023-1-1", "NaN"])
def test_session_that_is_none(site: Site, session: str) -> None:
    """A session is a date and nothing that looks like one."""
    assert site.client.get(f"{BASE}/{session}").json()["type"] == "urn:alphad:bad-date"


@pytest.mark.parametrize(
    "accept", ["image/png", "application/xml", "nonsense", ";;;", "text/csv;q=banana", "a" * 5000]
)
def test_accept_that_wants_nothing_there_is(site: Site, accept: str) -> None:
    """None of the accepted types is one there is: 406 names those there are."""
    answer = site.client.get(LATEST, headers={"Accept": accept})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["rule"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "TRACE"])
def test_wrong_method(site: Site, method: str) -> None:
    """Signals and pages are only read."""
    for path in (LATEST, BASE, "/", "/markets/us", "/metrics", "/v1/markets"):
        answer = site.client.request(method, path)
        assert answer.status_code == 405, path
        assert "GET" in answer.headers["allow"]


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "localhost:80:80",
     "[::1", "[::1]evil", "localhost@evil.example", "evil.example:9464", "localhost:port",
     "127.0.0.1, evil.example", "0x7f.1", "a" * 4000],
)  # fmt: skip
def test_strange_host_is_refused(site: Site, host: str) -> None:
    """A page of a stranger cannot read the daemon under the stranger's own name."""
    for path in ("/", LATEST, "/metrics", "/healthz"):
        answer = site.client.get(path, headers={"Host": host})
        assert (answer.status_code, answer.json()["type"]) == (421, "urn:alphad:unknown-host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9464", "127.0.0.1", "[::1]:9464", "192.168.1.7:80", "alphad"]
)
def test_own_names_and_plain_addresses_are_answered(home: Home, host: str) -> None:
    """No name of a stranger leads to a plain address; other names are those of the settings."""
    environ = {"ALPHAD_WEB__ALLOWED_HOSTS": '["alphad"]'}
    with serving(home.config, environ=environ) as site:
        assert site.client.get("/v1/markets", headers={"Host": host}).status_code == 200


def test_every_answer_has_the_same_guards(site: Site) -> None:
    """Pages, problems and data alike: no frame, no sniffing, no script but ours."""
    for path in ("/", "/markets/us", "/nowhere", LATEST, "/metrics", "/static/page.js"):
        headers = site.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers


GARBAGE: Sequence[bytes] = (
    b"",
    b"\r\n\r\n",
    b"\x00" * 400,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x80" * 300,
    b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
    b"GET  /  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
    b"POST /v1/markets/us/halt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
)


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_bytes_that_are_no_request(site: Site, data: bytes) -> None:
    """They get a refusal or nothing, and the next client is answered."""
    answered = talk(site, data)
    assert all(status in (200, 400, 404, 413, 421) for status in statuses(answered))
    assert b"Traceback" not in answered
    assert is_well(site)


def test_headers_without_an_end(site: Site) -> None:
    """More than 16 KiB of headers end the connection."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
    assert statuses(talk(site, head + b"x" * 400_000)) in ([400], [])
    assert is_well(site)


def test_requests_in_one_breath(site: Site) -> None:
    """Pipelined requests are answered in order, until the first that is none."""
    one = b"GET /v1/markets HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = one[:-2] + b"Connection: close\r\n\r\n"
    assert statuses(talk(site, one * 20 + last, half=False)) == [200] * 21
    answered = statuses(talk(site, one + b"\x01garbage\r\n\r\n" + one))
    assert answered in ([200, 400], [200], [400], [])
    assert is_well(site)


def test_body_that_never_comes(site: Site) -> None:
    """A promise of a body is refused by its length alone."""
    head = (
        b"POST /v1/markets/us/halt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
    )
    assert statuses(talk(site, head)) == [413]
    assert is_well(site)


def test_two_hundred_silent_connections(site: Site) -> None:
    """They take no thread and no turn: the next client is answered at once."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=30))
        assert is_well(site)


def test_more_connections_than_there_is_room_for(site: Site) -> None:
    """The one that has been idle longest makes room; somebody who asks is always answered."""
    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=30))
        for _ in range(MOST_CONNECTIONS + 20):
            stack.enter_context(socket.create_connection(("127.0.0.1", site.port), timeout=30))
        with httpx.Client(base_url=site.base, trust_env=False, timeout=30) as late:
            assert late.get(LATEST).status_code == 200
        with suppress(ConnectionResetError):
            assert first.recv(1) == b""


def test_client_that_hangs_up_in_the_middle(site: Site) -> None:
    """An answer nobody takes any more troubles nobody else."""
    request = b"GET /static/plotly.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", site.port), timeout=30) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.sendall(request)
            raw.recv(100)
    assert is_well(site)


class Hasty(GuardedProtocol):
    """As served, with deadlines a test can wait for."""

    headers_seconds = 0.2
    answer_seconds = 0.6


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local", b"GET / "])
def test_request_that_never_ends_is_ended(sent: bytes) -> None:
    """Nobody holds a connection for nothing: it is closed after some seconds."""
    with hasty() as port, socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
        raw.sendall(sent)
        with suppress(ConnectionResetError):
            assert raw.recv(1) == b""


def test_answer_that_is_not_taken_is_ended() -> None:
    """A client that reads nothing loses its connection, and with it what was kept for it."""
    with hasty() as port, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(30)
        raw.connect(("127.0.0.1", port))
        raw.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        threading.Event().wait(1.5)
        taken = 0
        with suppress(ConnectionResetError):
            while part := raw.recv(65_536):
                taken += len(part)
        assert taken < LARGE


#: Bytes of an answer that no buffer of a socket holds.
LARGE = 30_000_000


@contextmanager
def hasty() -> Iterator[int]:
    """Serve a large answer with short deadlines; return the port."""
    registry = CollectorRegistry()
    registry.register(Large())
    app = build_app(registry, lambda: Health(alive=True, ready=True, facts={}))
    server = WebServer(app, WebSettings(port=0), protocol=Hasty)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


class Large(Collector):
    """One metric with a description of many bytes."""

    def collect(self) -> Iterator[Metric]:
        yield Metric("large", "x" * LARGE, "gauge")


def test_which_hosts_are_ours() -> None:
    """Names are compared whole and without regard to case; addresses need no name."""
    names = frozenset({"localhost", "alphad"})
    assert all(is_ours(host, names) for host in ("Alphad", "alphad:1", "::1", "[fe80::1]:9"))
    assert not any(
        is_ours(host, names) for host in ("alphad.", "xalphad", "alphad:x", "[alphad]:x")
    )
