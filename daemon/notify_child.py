"""The child process that sends messages: `python -m daemon.notify_child`.

It answers one line of JSON with another until its input ends. Whatever a service or a plugin does
(hang, drip, print, raise, warn) costs one message here: the daemon kills what exceeds its deadline,
and never has a hundred plugins, or what they log, in its own process.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import IO, Any
from urllib.parse import unquote, urlsplit

#: Why nothing can be sent to an address, ever.
UNKNOWN = "apprise does not know such an address"
#: Longest reason that is told, in characters.
REASON_LENGTH = 200
#: Seconds for which a ping waits at each step; its deadline is the parent's.
PING_SECONDS = 10.0


def main() -> int:
    """Answer orders until the input ends: the child's whole life."""
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    _silence()
    _answer(told, "")  # ready
    for line in asked:
        order = json.loads(line)
        try:
            error = ORDERS[order["do"]](order)
        except Exception as failure:  # noqa: BLE001 - a plugin raises what it likes: its answer
            error = f"{type(failure).__name__}: {failure}"
        _answer(told, redact(error, order["address"]) if error else "")
    return 0


def send(order: Mapping[str, str]) -> str:
    """Send one message through apprise; return why it failed, "" when it has not."""
    service = _service(order["address"])
    if service is None:
        return UNKNOWN
    result = service.notify(
        title=order["title"], body=order["body"], notify_type=order["type"], body_format="text"
    )
    if result:
        return ""
    said = [entry.message for one in result.results for attempt in one for entry in attempt.logs]
    return said[-1] if said else f"it failed ({result.status.name.lower()})"


def check(order: Mapping[str, str]) -> str:
    """Return why nothing could ever be sent to an address, "" when apprise can read it."""
    return "" if _service(order["address"]) is not None else UNKNOWN


def ping(order: Mapping[str, str]) -> str:
    """Ask for a URL; return why it did not answer with success, "" when it has."""
    request = urllib.request.Request(order["address"], headers={"User-Agent": "alphad"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=PING_SECONDS) as answer:  # noqa: S310
            answer.read(1)
    except urllib.error.HTTPError as failure:
        return f"HTTP {failure.code}"
    except urllib.error.URLError as failure:
        return f"no connection: {failure.reason}"
    return ""


ORDERS: Mapping[str, Callable[[Mapping[str, str]], str]] = {
    "send": send, "check": check, "ping": ping,
}  # fmt: skip


def redact(text: str, address: str) -> str:
    """Return a reason in one line, without any part of the address it is about."""
    parts = urlsplit(address)
    pieces = {address, *re.split(r"[/:@?&=#;,]+", address.partition("://")[2])}
    pieces |= {unquote(piece) for piece in pieces} | {parts.netloc, parts.path, parts.query}
    for piece in sorted((p for p in pieces if len(p) > 2), key=len, reverse=True):
        text = text.replace(piece, "…")
    return " ".join(text.split())[:REASON_LENGTH]


def _service(address: str) -> Any:
    """Return the service behind an address, None where apprise knows none."""
    import apprise

    services = apprise.Apprise()
    if not services.add(address) or len(services) == 0:
        return None
    for service in services:
        if "overflow=" not in address:  # a message that is too long arrives in part
            service.overflow_mode = apprise.OverflowMode.TRUNCATE
    return services


def _answer(told: IO[bytes], error: str) -> None:
    told.write(json.dumps({"error": error}).encode() + b"\n")
    told.flush()


def _silence() -> None:
    """Let nothing a library prints or logs reach anybody: it may hold a password."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    os.close(nothing)


if __name__ == "__main__":
    sys.exit(main())
