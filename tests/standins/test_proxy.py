"""How answers travel: faults of the connection, the end of a stand-in, its command."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest

from tests.standins import MarketBook, StandIn
from tests.standins.conftest import EVENING
from tests.standins.proxy import HUGE_BYTES

CHART = "https://query2.finance.yahoo.com/v8/finance/chart/AAA?range=1d"


def reach(environment: dict[str, str]) -> httpx.Client:
    trust = ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
    return httpx.Client(
        proxy=environment["HTTPS_PROXY"], verify=trust, trust_env=False, timeout=5.0
    )


@pytest.fixture
def client(us: StandIn) -> Iterator[httpx.Client]:
    with reach(dict(us.environment)) as client:
        yield client


def test_connection_is_kept(us: StandIn, client: httpx.Client) -> None:
    """A client asks many times over one connection and gets the same answer at the same time."""
    replies = [client.get(CHART) for _ in range(3)]
    streams = [reply.extensions["network_stream"] for reply in replies]
    assert len({stream.get_extra_info("client_addr") for stream in streams}) == 1
    assert len({reply.content for reply in replies}) == 1
    assert len(us.log) == 3


def test_huge_answer(us: StandIn, client: httpx.Client) -> None:
    """A huge answer announces 200 MB and goes on after its JSON."""
    us.faults["huge"] = "AAA"
    with client.stream("GET", CHART) as reply:
        assert int(reply.headers["Content-Length"]) > HUGE_BYTES
        chunks = reply.iter_bytes(1 << 20)
        assert next(chunks).startswith(b'{"chart"')
        assert next(chunks).isspace()


def test_gzip_bomb(us: StandIn, client: httpx.Client) -> None:
    """A bomb is a few MB on the wire and unpacks to the answer and blanks without end."""
    us.faults["gzip_bomb"] = "AAA"
    with client.stream("GET", CHART) as reply:
        assert int(reply.headers["Content-Length"]) < 8 << 20
        chunks = reply.iter_bytes(1 << 20)
        assert next(chunks).startswith(b'{"chart"')
        assert next(chunks).isspace()


def test_drip_never_times_out_a_read(us: StandIn, client: httpx.Client) -> None:
    """A drip sends its first bytes soon and the rest one at a time."""
    us.faults["drip"] = "AAA"
    with client.stream("GET", CHART) as reply:
        chunks = reply.iter_raw()
        assert b"".join(next(chunks) for _ in range(2)) == b'{"'


def test_reset(us: StandIn, client: httpx.Client) -> None:
    """A reset is an error of the connection, not an answer cut short."""
    us.faults["reset"] = "*"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        client.get(CHART)


def test_hanging_connections_end_with_the_stand_in(us_book: MarketBook) -> None:
    """A stand-in ends at once though a client still waits for an answer."""
    with StandIn(us_book, EVENING) as standin, reach(dict(standin.environment)) as client:
        standin.faults["hang"] = "*"
        with pytest.raises(httpx.ReadTimeout):
            client.get(CHART, timeout=0.3)
    with pytest.raises(httpx.ConnectError), reach_again(standin) as client:
        client.get(CHART)


def reach_again(standin: StandIn) -> httpx.Client:
    return httpx.Client(proxy=standin.environment["HTTPS_PROXY"], trust_env=False)


def test_unknown_fault_is_refused(us: StandIn) -> None:
    """A switch that does not exist is an error, with the list of those that do."""
    with pytest.raises(ValueError, match="there is no fault 'flood'; there are 429, 500"):
        us.faults["flood"] = "AAA"


def test_time_needs_a_zone(us: StandIn) -> None:
    """The stand-in's time is aware."""
    with pytest.raises(ValueError, match="has no time zone"):
        us.now = EVENING.replace(tzinfo=None) + timedelta(days=1)


def test_command_prints_what_to_export() -> None:
    """The command serves with its faults on until it is interrupted."""
    command = [sys.executable, "-m", "tests.standins", "--market", "us", "--assets", "4"]
    command += ["--first", "2026-01-05", "--fault", "429=AAC"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline().split(maxsplit=1) for _ in range(10)]
        exported = dict(line[1].strip().split("=", 1) for line in lines if line[0] == "export")
        with reach(exported) as client:
            statuses = [
                client.get(CHART.replace("AAA", name)).status_code for name in ("AAA", "AAC")
            ]
        running.terminate()
        assert running.wait(20) == 0
    assert statuses == [200, 429]
