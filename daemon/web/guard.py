"""What every request passes first: by which name it calls us, how much it sends; and what it gets.

A page of a stranger can make a browser ask `http://its.name/` of an address of ours ("DNS
rebinding"), and read the answer as its own. It cannot do so under a name we answer to.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.problems import Problem, respond
from daemon.web_settings import WebSettings

#: Bytes of a request's body; the largest we ask for is a reason.
LONGEST_BODY = 16_384
#: Scripts, styles and data come from us alone; plotly.js makes an empty style element, whose hash
#: stands here, and fills it by script.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "style-src 'self' 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses what was not meant for us, and puts the same headers on every answer.

    Parameters
    ----------
    app : ASGI application
        What is guarded.
    settings : WebSettings
        Names the host, and by which other names we are reached.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self.app = app
        self.names = frozenset({"localhost", settings.host.lower(), *settings.allowed_hosts})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do so."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            await respond(refusal)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers) -> Problem | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not is_ours(hosts[0], self.names):
            return Problem(
                421,
                "unknown-host",
                "this request calls the daemon by a name it does not know itself by",
                rule="only localhost, plain addresses and web.allowed_hosts name this daemon",
                hint="use its address, or add the name to web.allowed_hosts",
            )
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > LONGEST_BODY:
            return Problem(
                413,
                "too-large",
                "the body of this request is too large, or of unknown length",
                rule=f"a body has a Content-Length of {LONGEST_BODY} bytes at most",
                hint="send the reason alone, as JSON",
            )
        return None


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Return whether a Host header names this daemon; an address always does."""
    name, port = host.strip().lower(), ""
    if name.startswith("["):
        name, bracket, port = name[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
        port = port[1:]
    elif name.count(":") == 1:
        name, _, port = name.partition(":")
    if port and not (port.isascii() and port.isdecimal()):
        return False
    return name in names or _is_address(name)


def _is_address(name: str) -> bool:
    """Whether a host is a plain address: no name of a stranger can lead to it."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
