"""The server: one thread beside the daemon, which no client can make it wait for."""

from __future__ import annotations

import socket
import threading

import uvicorn
from starlette.applications import Starlette

from daemon.web.protocol import LONGEST_HEADERS, GuardedProtocol
from daemon.web_settings import WebSettings
from signals.errors import ConfigError

#: Seconds an idle connection is kept.
KEEP_ALIVE_SECONDS = 15


class WebServer:
    """Serves the application in a daemon thread, so that it can never hold the daemon's exit.

    Parameters
    ----------
    app : Starlette
        The application.
    settings : WebSettings
        Where it listens.
    protocol : type
        Its deadlines.

    Raises
    ------
    ConfigError
        When the port is taken.
    """

    def __init__(
        self,
        app: Starlette,
        settings: WebSettings,
        *,
        protocol: type[GuardedProtocol] = GuardedProtocol,
    ) -> None:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self.socket = socket.create_server((settings.host, settings.port), family=family)
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}",
                rule="the web endpoints need a free port",
                hint="set web.port to a free one (0 lets the system choose)",
            ) from exc
        self.port: int = self.socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # a client's nonsense is no news; our failures we log ourselves
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=LONGEST_HEADERS,
        )
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(
            target=self.server.run, args=([self.socket],), name="web", daemon=True
        )

    def start(self) -> None:
        """Start serving; returns at once."""
        self.thread.start()

    def stop(self) -> None:
        """Stop serving and wait for the thread, two seconds at most."""
        self.server.should_exit = True
        self.thread.join(timeout=2)
