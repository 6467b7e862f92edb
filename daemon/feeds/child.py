"""The parent's side of `daemon.feeds.worker`: a child process asked under a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from daemon.feeds.protocol import Query
from daemon.feeds.worker import LENGTHS, one_line, pack_query
from signals.errors import FeedError

#: Seconds a child has for its imports.
START_SECONDS = 60.0
#: Seconds an ended or killed child is waited for.
GRACE_SECONDS = 5.0
#: Longest header of a frame, in bytes.
MAX_HEADER = 64 * 1024
#: Of what a child wrote to standard error, so many bytes at the end are kept.
_TAIL_BYTES = 4096
_CHUNK_BYTES = 1 << 20


class Reply(NamedTuple):
    """What came of a query: the parts of an `Answer` that the child knows."""

    outcome: str
    payload: bytes
    error: str


class _Ended(Exception):  # noqa: N818 - no error of ours: it never leaves this module
    """The child has ended, or must be ended; the text says why."""


class _Late(Exception):  # noqa: N818
    """The deadline has passed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use.

    Parameters
    ----------
    request_seconds : float
        Deadline of a query; the client's own network timeout is half of it.
    kind_seconds : tuple of (str, float)
        Kinds of queries that take many requests, and the least deadline of one.
    memory_mb : int
        Address space beyond what the imports take, in MiB.
    max_bytes : int
        Longest payload.
    """

    request_seconds: float = 30.0
    kind_seconds: tuple[tuple[str, float], ...] = ()
    memory_mb: int = 2048
    max_bytes: int = 64 * 2**20

    def seconds(self, query: Query) -> float:
        """Return the deadline of a query."""
        return max(self.request_seconds, dict(self.kind_seconds).get(query.kind, 0.0))


class Child:
    """A client in a process of its own: started at the first query, and again after it was killed.

    Parameters
    ----------
    module : str
        Dotted name of the client.
    limits : Limits
        What it may use.
    folder : Path
        What it may keep things in.
    environment : mapping of str to str
        Given to the child beside this process's own; of ours, no `ALPHAD_` name is handed on.
    """

    def __init__(
        self, module: str, limits: Limits, folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._module = module
        self._limits = limits
        self._folder = folder
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._received = bytearray()
        self._tail = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def ask(self, query: Query) -> Reply:
        """Return the reply to a query; a hang, a crash or an oversize reply costs the child.

        Raises
        ------
        FeedError
            The child cannot be started (retryable).
        """
        process = self._process or self._start()
        seconds = self._limits.seconds(query)
        deadline = monotonic() + seconds
        try:
            _channel(process.stdin).write(pack_query(query))
            header, payload = self._frame(process, deadline)
            return Reply(str(header["outcome"]), payload, one_line(str(header["error"])))
        except _Late:
            self._kill()
            return Reply("timeout", b"", f"no answer within {seconds:g} s")
        except (_Ended, BrokenPipeError, KeyError) as error:
            why = str(error) if isinstance(error, _Ended) else self._ending(process)
            self._kill()
            return Reply("failed", b"", one_line(why))

    def close(self) -> None:
        """End the child, if there is one."""
        process = self._process
        if process is None:
            return
        _channel(process.stdin).close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        self._kill()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "daemon.feeds.worker", self._module]
        command += ["--parent", str(os.getpid()), "--folder", str(self._folder)]
        command += ["--seconds", str(self._limits.request_seconds / 2)]
        command += ["--memory-mb", str(self._limits.memory_mb)]
        command += ["--max-bytes", str(self._limits.max_bytes)]
        own = {k: v for k, v in os.environ.items() if not k.upper().startswith("ALPHAD_")}
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command,
                env=own | dict(self._environment),
                start_new_session=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except OSError as error:
            raise self._not_started(str(error)) from error
        self._process = process
        self._received.clear()
        self._tail = b""
        try:
            self._frame(process, monotonic() + START_SECONDS)
        except (_Late, _Ended) as error:
            why = str(error) or f"not ready within {START_SECONDS:g} s"
            self._kill()
            raise self._not_started(why) from error
        return process

    def _not_started(self, why: str) -> FeedError:
        return FeedError(
            f"the client {self._module} does not start: {one_line(why)}",
            rule="a provider is asked by a client in a process of its own",
            hint="see that its library is installed and that there is memory for it",
            retryable=True,
        )

    def _frame(
        self, process: subprocess.Popen[bytes], deadline: float
    ) -> tuple[dict[str, Any], bytes]:
        """Return the next frame's header and payload."""
        self._receive(process, LENGTHS.size, deadline)
        n_header, n_payload = LENGTHS.unpack(self._received[: LENGTHS.size])
        if n_header > MAX_HEADER or n_payload > self._limits.max_bytes:
            raise _Ended(f"the answer has {n_payload} bytes, more than {self._limits.max_bytes}")
        start = LENGTHS.size + n_header
        self._receive(process, start + n_payload, deadline)
        text = bytes(self._received[LENGTHS.size : start])
        payload = bytes(self._received[start : start + n_payload])
        self._received.clear()  # a child speaks only when it is asked
        try:
            header = json.loads(text)
        except ValueError as error:
            raise _Ended("the client's answer is no frame") from error
        if not isinstance(header, dict):
            raise _Ended("the client's answer is no frame")
        return header, payload

    def _receive(self, process: subprocess.Popen[bytes], wanted: int, deadline: float) -> None:
        """Read until `wanted` bytes of the frame are there."""
        output, errors = _channel(process.stdout).fileno(), _channel(process.stderr).fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        poll.register(errors, select.POLLIN)
        while len(self._received) < wanted:
            left = deadline - monotonic()
            if left <= 0:
                raise _Late
            for channel, _ in poll.poll(left * 1000):
                data = os.read(channel, _CHUNK_BYTES)
                if channel == output and not data:
                    raise _Ended(self._ending(process))
                if channel == output:
                    self._received += data
                elif data:
                    self._tail = (self._tail + data)[-_TAIL_BYTES:]
                else:
                    poll.unregister(errors)

    def _ending(self, process: subprocess.Popen[bytes]) -> str:
        """Return how a child ended, with the last line it wrote."""
        try:
            code = process.wait(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return "the client closed its output"
        errors = _channel(process.stderr).fileno()
        while select.select([errors], [], [], 0)[0] and (data := os.read(errors, _CHUNK_BYTES)):
            self._tail = (self._tail + data)[-_TAIL_BYTES:]
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        lines = self._tail.decode(errors="replace").strip().splitlines()
        return f"the client ended by {how}" + (f": {lines[-1]}" if lines else "")

    def _kill(self) -> None:
        """End the child and whatever it has started."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=GRACE_SECONDS)
        for channel in (process.stdin, process.stdout, process.stderr):
            _channel(channel).close()


def _channel(stream: IO[bytes] | None) -> IO[bytes]:
    """Return a pipe that is there because the child was started with it."""
    if stream is None:
        raise FeedError("a client was started without a pipe")
    return stream
