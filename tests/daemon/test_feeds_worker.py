from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pyarrow as pa
import pytest

from daemon.feeds.child import Child, Limits, Reply
from daemon.feeds.protocol import Query
from signals.errors import FeedError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT)}
CLIENT = "tests.daemon.fake_client"
#: Deadline of the fake client's calls, in seconds; none of them takes long.
SECONDS = 10.0


def start(tmp_path: Path, client: str = CLIENT, **limits: Any) -> Child:
    given = Limits(**{"request_seconds": SECONDS, "memory_mb": 512, **limits})
    return Child(client, given, tmp_path, ENVIRONMENT)


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with start(tmp_path) as started:
        yield started


def ask(child: Child, symbol: str) -> Reply:
    return child.ask(Query("history", symbol))


def row(reply: Reply) -> dict[str, Any]:
    """Return the only row of an answer's table."""
    assert (reply.outcome, reply.error) == ("ok", "")
    (found,) = pa.ipc.open_stream(BytesIO(reply.payload)).read_all().to_pylist()
    return dict(found)


def ended(pid: int) -> bool:
    """Return whether a process that is no child of ours is gone, or soon will be."""
    until = monotonic() + 10.0
    while monotonic() < until:
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return True
        sleep(0.05)
    return False


def test_one_process_answers_every_query(child: Child) -> None:
    """Several queries are answered by one child; dates come back as dates."""
    first, second = row(ask(child, "A")), row(ask(child, "B"))
    assert (first["symbol"], second["symbol"]) == ("A", "B")
    assert first["pid"] == second["pid"] != os.getpid()
    assert first["Date"] == date(2024, 11, 26)


def test_a_query_arrives_as_it_was_asked(child: Child) -> None:
    """Dates, an open end and options reach the client."""
    reply = child.ask(Query("history", "A", date(2024, 1, 2), None, (("adjust", "hfq"),)))
    assert row(reply)["asked"] == "2024-01-02 None {'adjust': 'hfq'}"


def test_the_same_table_has_the_same_bytes(child: Child) -> None:
    """A payload depends on the table alone."""
    assert ask(child, "A").payload == ask(child, "A").payload


def test_what_a_library_prints_is_no_answer(child: Child) -> None:
    """Two megabytes on standard output disturb no frame."""
    assert row(ask(child, "PRINT"))["symbol"] == "PRINT"


@pytest.mark.parametrize(
    ("symbol", "reply"),
    [
        ("LIMIT", Reply("limited", b"", "RateLimitError: Too Many Requests")),
        ("BROKEN", Reply("failed", b"", "KeyError: 'chart'")),
        ("EMPTY", Reply("empty", b"", "")),
    ],
)
def test_an_error_is_an_answer(child: Child, symbol: str, reply: Reply) -> None:
    """What a client raises is told in one line, and the child goes on."""
    before = row(ask(child, "A"))["pid"]
    assert ask(child, symbol) == reply
    assert row(ask(child, "A"))["pid"] == before


@pytest.mark.parametrize("symbol", ["HANG", "CHILD"])
def test_a_hang_is_killed_at_its_deadline(tmp_path: Path, symbol: str) -> None:
    """A hanging client, and one whose own child hangs, end with the deadline; the next is fresh."""
    with start(tmp_path, request_seconds=2.0) as child:
        pid = row(ask(child, "A"))["pid"]
        began = monotonic()
        assert ask(child, symbol) == Reply("timeout", b"", "no answer within 2 s")
        assert monotonic() - began < 7.0  # 2.05 on an idle machine
        assert ended(pid)
        assert row(ask(child, "A"))["pid"] != pid


def test_a_crash_costs_one_answer(child: Child) -> None:
    """A client that aborts is told of with its last words; the next query has a new child."""
    assert ask(child, "CRASH") == Reply(
        "failed", b"", "the client ended by signal 6: something is very wrong"
    )
    assert row(ask(child, "A"))["symbol"] == "A"


def test_a_memory_bomb_costs_one_answer(child: Child) -> None:
    """Eight gigabytes are refused by the limit on address space."""
    assert ask(child, "BOMB") == Reply(
        "failed", b"", "the client ended by exit code 1: MemoryError"
    )
    assert row(ask(child, "A"))["symbol"] == "A"


def test_an_oversize_answer_is_refused(tmp_path: Path) -> None:
    """A payload above the limit never leaves the child."""
    with start(tmp_path, max_bytes=2**20) as child:
        reply = ask(child, "BIG")
        assert (reply.outcome, reply.payload) == ("failed", b"")
        assert reply.error.endswith("bytes, more than 1048576")
        assert row(ask(child, "A"))["symbol"] == "A"


def test_the_child_sees_none_of_our_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ALPHAD_` names, a database's password among them, stay here; what is passed arrives."""
    monkeypatch.setenv("ALPHAD_DATABASE_URL", "postgresql://secret")
    with Child(CLIENT, Limits(), tmp_path, ENVIRONMENT | {"ALPHAD_PASSED": "1"}) as child:
        assert row(ask(child, "A"))["ours"] == "ALPHAD_PASSED"


def test_closing_ends_the_process(tmp_path: Path) -> None:
    """No child outlives its fetch."""
    with start(tmp_path) as child:
        pid = row(ask(child, "A"))["pid"]
    assert ended(pid)


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A client that hangs does not outlive a daemon that was killed."""
    program = (
        "import sys; from pathlib import Path\n"
        "from daemon.feeds.child import Child, Limits; from daemon.feeds.protocol import Query\n"
        f"child = Child({CLIENT!r}, Limits(), Path({str(tmp_path)!r}), {{}})\n"
        "child.ask(Query('history', 'A'))\n"
        "print(child._process.pid, flush=True)\n"
        "child.ask(Query('history', 'HANG'))\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert ended(pid)


def test_a_client_that_is_not_there_is_a_feed_error(tmp_path: Path) -> None:
    """A library that is not installed stops the fetch and is named."""
    with (
        start(tmp_path, "daemon.feeds.clients.absent") as child,
        pytest.raises(FeedError) as caught,
    ):
        ask(child, "A")
    assert "No module named 'daemon.feeds.clients.absent'" in caught.value.fact
    assert caught.value.retryable
