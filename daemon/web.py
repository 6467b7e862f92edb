"""The daemon's web endpoints: `/metrics`, `/healthz` (alive and progressing), `/readyz`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemon.health import Health
from daemon.settings import WebSettings
from signals.errors import ConfigError


def build_app(registry: CollectorRegistry, health: Callable[[], Health]) -> Starlette:
    """Return the application; it reads, and never changes anything.

    Parameters
    ----------
    registry : CollectorRegistry
        What `/metrics` shows.
    health : callable
        Takes no argument and returns the daemon's health now.
    """

    def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    def healthz(_request: Request) -> Response:
        found = health()
        return JSONResponse(found.to_json(), status_code=200 if found.alive else 503)

    def readyz(_request: Request) -> Response:
        found = health()
        return JSONResponse(found.to_json(), status_code=200 if found.ready else 503)

    routes = [Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)]
    return Starlette(routes=routes)


class WebServer:
    """Serves the application in a daemon thread, so that it can never hold the daemon's exit.

    Raises
    ------
    ConfigError
        When the port is taken.
    """

    def __init__(self, app: Starlette, settings: WebSettings) -> None:
        try:
            self.socket = socket.create_server((settings.host, settings.port))
        except OSError as exc:
            raise ConfigError(
                f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}",
                rule="the web endpoints need a free port",
                hint="set web.port to a free one (0 lets the system choose)",
            ) from exc
        self.port: int = self.socket.getsockname()[1]
        config = uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off")
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
