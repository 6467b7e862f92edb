"""One child process that sends messages, and is killed when one takes longer than it may."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from types import TracebackType
from typing import Self

from pydantic import SecretStr

#: Seconds a fresh interpreter may take to start, and then to read apprise's hundred plugins.
START_SECONDS = 30.0
#: Seconds between two looks at whether to stop.
_LOOK_SECONDS = 0.2


class Courier:
    """Sends messages through `daemon.notify_child`, one after the other.

    Parameters
    ----------
    seconds : float
        Deadline of one message.
    stopped : callable
        Asked while an answer is waited for; True ends it at once.
    """

    def __init__(self, seconds: float, stopped: Callable[[], bool] = lambda: False) -> None:
        self._seconds = seconds
        self._stopped = stopped
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self.close()

    def send(self, address: SecretStr, title: str, body: str, kind: str) -> str | None:
        """Send a message; return why it failed, "" when it arrived, None when told to stop."""
        if self._child is None:
            refused = self.check(address)  # reads the plugins: not to be counted as sending
            if refused != "":
                return refused
        order = {"do": "send", "title": title, "body": body, "type": kind}
        return self._ask(address, order, self._seconds)

    def ping(self, address: SecretStr) -> str | None:
        """Ask for a URL, with the same answers."""
        return self._ask(address, {"do": "ping"}, self._seconds)

    def check(self, address: SecretStr) -> str | None:
        """Say whether anything could be sent to an address; nothing is."""
        return self._ask(address, {"do": "check"}, START_SECONDS)

    def close(self) -> None:
        """End the child, whatever it is doing."""
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()

    def _ask(self, address: SecretStr, order: Mapping[str, str], seconds: float) -> str | None:
        line = json.dumps({**order, "address": address.get_secret_value()}).encode() + b"\n"
        try:
            if self._child is None:
                self._child = _start()
                if (late := self._answer(self._child, START_SECONDS)) != "":
                    return late
            assert self._child.stdin is not None  # noqa: S101 - it was started with pipes
            self._child.stdin.write(line)
            return self._answer(self._child, seconds)
        except OSError:
            self.close()
            return "what sends messages has ended by itself"

    def _answer(self, child: subprocess.Popen[bytes], seconds: float) -> str | None:
        """Return what the child says; one that says nothing in time is ended."""
        assert child.stdout is not None  # noqa: S101 - it was started with pipes
        deadline, said = monotonic() + seconds, b""
        while not said.endswith(b"\n"):
            left = deadline - monotonic()
            if self._stopped() or left <= 0:
                self.close()
                return None if left > 0 else f"no answer within {seconds:g} s"
            if select.select([child.stdout], [], [], min(left, _LOOK_SECONDS))[0]:
                part = os.read(child.stdout.fileno(), 65536)
                if not part:
                    raise BrokenPipeError
                said += part
        return str(json.loads(said)["error"])


def _start() -> subprocess.Popen[bytes]:
    """Start the child; addresses reach it through its input alone."""
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith("ALPHAD_")}
    return subprocess.Popen(
        [sys.executable, "-m", "daemon.notify_child"],
        env=environment,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,
    )
