"""The application: metrics and health always; status page and API where there is a context."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from daemon.context import Context
from daemon.health import Health
from daemon.web.answers import Pieces, in_threads
from daemon.web.control_api import ControlApi
from daemon.web.guard import HEADERS, Guard
from daemon.web.pages import Pages
from daemon.web.problems import Problem, Refused, respond, trouble
from daemon.web.signals_api import SignalsApi
from daemon.web_settings import WebSettings
from signals.errors import AlphadError

log = structlog.get_logger()


def build_app(
    registry: CollectorRegistry, health: Callable[[], Health], context: Context | None = None
) -> Starlette:
    """Return the application; only the requests of `ControlApi` change anything.

    Parameters
    ----------
    registry : CollectorRegistry
        What `/metrics` shows.
    health : callable
        Takes no argument and returns the daemon's health now.
    context : Context, optional
        What page and API show; without it there are neither.
    """
    threaded = in_threads(2)

    def metrics(_request: Request) -> Response:
        return Pieces(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    def healthz(_request: Request) -> Response:
        found = health()
        return JSONResponse(found.to_json(), status_code=200 if found.alive else 503)

    def readyz(_request: Request) -> Response:
        found = health()
        return JSONResponse(found.to_json(), status_code=200 if found.ready else 503)

    watched = (("/metrics", metrics), ("/healthz", healthz), ("/readyz", readyz))
    routes: list[BaseRoute] = [Route(path, threaded(view)) for path, view in watched]
    settings, pages = WebSettings(), None
    if context is not None:
        settings, pages = context.settings.web, Pages(context, health)
        routes += [*SignalsApi(context).routes(), *ControlApi(context).routes(), *pages.routes()]

    def refused(request: Request, error: Exception) -> Response:
        """Tell what is wrong with a request: to programs as JSON, to people as a page."""
        problem = problem_of(request, error)
        if pages is not None and is_for_people(request):
            return pages.problem(problem)
        return respond(problem)

    def failed(request: Request, error: Exception) -> Response:
        log.error("a request failed", path=request.url.path, exc_info=error)
        problem = Problem(
            500, "trouble", "the daemon has failed to answer",
            "an answer is whole, or there is none", "look into its log", HEADERS,
        )  # fmt: skip
        if pages is not None and is_for_people(request):
            return pages.problem(problem)
        return respond(problem)

    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, settings=settings)],
        exception_handlers={HTTPException: refused, AlphadError: refused, Exception: failed},
    )
    app.router.redirect_slashes = False
    return app


def problem_of(request: Request, error: Exception) -> Problem:
    """Return what is told of an error."""
    if isinstance(error, Refused):
        return error.problem
    if isinstance(error, AlphadError):
        log.error("a request could not be answered", path=request.url.path, error=str(error))
        return trouble(error)
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if status == 405:
        return Problem(
            405, "wrong-method", f"{request.method[:20]} is not done here",
            "pages and signals are only read", f"use {headers.get('Allow', 'GET')}", headers,
        )  # fmt: skip
    return Problem(
        status,
        "not-found",
        f"there is nothing at {request.url.path[:80]}",
        "pages are / and /markets/…, the API is under /v1",
        "GET /v1/openapi.json tells what there is",
        headers,
    )


def is_for_people(request: Request) -> bool:
    """Whether an answer goes to a browser: the API, metrics and health are for programs."""
    path = request.url.path
    return not path.startswith("/v1") and path not in ("/metrics", "/healthz", "/readyz")
