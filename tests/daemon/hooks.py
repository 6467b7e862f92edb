"""A web hook on loopback that takes messages, refuses them, hangs or drips."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

#: What no log, table or message may show.
PASSWORD = "s3kret-of-the-hook"  # noqa: S105 - of nothing


class Hook:
    """What stands behind channels.

    `mode` is `ok`, `error`, `hang` or `drip`, and may be changed while it runs.
    """

    def __init__(self, mode: str = "ok") -> None:
        self.mode = mode
        #: What was taken, as apprise sends it.
        self.taken: list[dict[str, Any]] = []
        #: Paths that were asked for.
        self.pinged: list[str] = []
        #: Requests that were begun, however they ended.
        self.begun = 0
        self.asked = threading.Event()
        self.on_request: Callable[[], None] = lambda: None
        self._released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def address(self) -> str:
        """The hook as a channel."""
        return f"json://robot:{PASSWORD}@127.0.0.1:{self.port}/hook/{PASSWORD}"

    @property
    def dead_man(self) -> str:
        """The hook as a dead-man URL."""
        return f"http://127.0.0.1:{self.port}/ping/{PASSWORD}"

    @property
    def titles(self) -> list[str]:
        return [str(message["title"]) for message in self.taken]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _where: TracebackType | None,
    ) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                self.answer(lambda: hook.taken.append(json.loads(body)))

            def do_GET(self) -> None:
                self.answer(lambda: hook.pinged.append(self.path))

            def answer(self, take: Callable[[], None]) -> None:
                hook.begun += 1
                hook.asked.set()
                if hook.mode == "ok":
                    take()
                hook.on_request()
                if hook.mode == "hang":
                    hook._released.wait()
                    return
                self.send_response(500 if hook.mode == "error" else 200)
                self.send_header("content-length", "1000" if hook.mode == "drip" else "0")
                self.end_headers()
                while hook.mode == "drip" and not hook._released.wait(0.05):
                    try:
                        self.wfile.write(b".")
                        self.wfile.flush()
                    except OSError:
                        return

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
