"""The daemon's web endpoints: status page, read API, metrics, health."""

from __future__ import annotations

from daemon.web.app import build_app
from daemon.web.server import WebServer

__all__ = ["WebServer", "build_app"]
