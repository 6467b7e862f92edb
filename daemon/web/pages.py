"""The status page: overview, one page a market, one page a factor; and the files they need."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon.context import Context
from daemon.health import Health
from daemon.web.answers import Pieces, digest, in_threads, tagged
from daemon.web.asked import only_these
from daemon.web.factor_view import factor_view
from daemon.web.market_view import market_view
from daemon.web.overview import market_card
from daemon.web.problems import Problem, Refused
from daemon.web.published import Shelf
from storage import glance

#: Views at work at once, and what they may take of one processor from whoever is publishing.
THREADS, SHARE = 2, 0.25
#: A file whose address changes with its content is kept for a year.
FOR_EVER = "public, max-age=31536000, immutable"
#: Static files by name, with their type; plotly.js comes out of its package.
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "plotly.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class StaticFile:
    """A file as it is served."""

    data: bytes
    kind: str
    tag: str


@cache
def static_file(name: str) -> StaticFile:
    """Return a file of the page, read once."""
    if name == "plotly.js":
        data = get_plotlyjs().encode()
    else:
        data = (resources.files("daemon.web") / "static" / name).read_bytes()
    return StaticFile(data, STATIC[name], digest(data))


@cache
def packed_file(name: str) -> bytes:
    """Return a file of the page compressed, once somebody asks for it."""
    return gzip.compress(static_file(name).data, 6, mtime=0)


class Pages:
    """The routes of the page, on one context."""

    def __init__(self, context: Context, health: Callable[[], Health]) -> None:
        self.context = context
        self.health = health
        self.shelf = Shelf(context.publisher)
        self.environment = jinja2.Environment(
            loader=jinja2.PackageLoader("daemon.web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters |= {
            "instant": instant, "iso": iso, "tone": tone, "figure": figure, "percent": percent,
            "runbook": self.runbook,
        }  # fmt: skip
        self.environment.globals |= {"static": address, "plotly_styles": plotly_styles}

    def routes(self) -> list[Route]:
        """Return the routes."""
        threaded = in_threads(THREADS, SHARE)
        return [
            Route("/", threaded(self.overview)),
            Route("/markets/{market}", threaded(self.market)),
            Route("/markets/{market}/factors/{factor:path}", threaded(self.factor)),
            Route("/static/{name}", threaded(self.static)),
            Route("/favicon.ico", threaded(self.icon), include_in_schema=False),
            Route("/v1/openapi.json", threaded(self.openapi)),
        ]

    def overview(self, request: Request) -> Response:
        """Show every market at a glance."""
        only_these(request, ())
        markets = [self.context.markets[name] for name in sorted(self.context.markets)]
        cards = [market_card(self.context, market, self.shelf) for market in markets]
        return self._page(request, "overview.html", cards=cards, health=self.health())

    def market(self, request: Request) -> Response:
        """Show one market."""
        only_these(request, ("book", "past"))
        name = request.path_params["market"]
        market = self.context.markets.get(name)
        if market is None:
            raise Refused(self._unknown_market(name))
        page, past = (_page_number(request, key) for key in ("book", "past"))
        view = market_view(self.context, market, self.shelf, page=page, past_page=past)
        return self._page(request, "market.html", view=view, card=view.card)

    def factor(self, request: Request) -> Response:
        """Show one factor."""
        only_these(request, ())
        name, factor = request.path_params["market"], request.path_params["factor"]
        market = self.context.markets.get(name)
        if market is None:
            raise Refused(self._unknown_market(name))
        view = factor_view(self.context, market, factor)
        if view is None:
            with self.context.database.read() as conn:
                known = [each for each, _ in glance.factor_ids(conn, name)]
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            raise Refused(
                Problem(
                    404,
                    "unknown-factor",
                    f"{name} has no factor {factor[:40]!r}",
                    f"its factors are: {', '.join(known[:20]) or 'none yet'}{more}",
                    f"/markets/{name} lists them",
                )
            )
        return self._page(request, "factor.html", view=view, market=name)

    def static(self, request: Request) -> Response:
        """Serve a file of the page; its address holds its hash, so that it may be kept."""
        name = request.path_params["name"]
        if name not in STATIC:
            raise Refused(
                Problem(404, "not-found", f"there is no file {name[:40]!r}",
                        f"files are: {', '.join(STATIC)}", "open / to see the page")
            )  # fmt: skip
        file = static_file(name)
        packed = "gzip" in request.headers.get("accept-encoding", "")
        headers = {"Vary": "Accept-Encoding", "Cache-Control": FOR_EVER}
        if request.query_params.get("v") != file.tag:
            headers["Cache-Control"] = "no-cache"
        if packed:
            headers["Content-Encoding"] = "gzip"
        body = packed_file(name) if packed else file.data
        response = Pieces(body, media_type=file.kind, headers=headers)
        return tagged(request, response, f"{file.tag}-gzip" if packed else file.tag)

    def icon(self, _request: Request) -> Response:
        """Serve the icon where browsers look for it unasked."""
        file = static_file("icon.svg")
        return Pieces(file.data, media_type=file.kind, headers={"Cache-Control": "max-age=86400"})

    def openapi(self, request: Request) -> Response:
        """Serve the description of the API."""
        data = (resources.files("daemon.web") / "static" / "openapi.json").read_bytes()
        headers = {"Cache-Control": "no-cache"}
        response = Pieces(data, media_type="application/json", headers=headers)
        return tagged(request, response, digest(data))

    def problem(self, problem: Problem) -> Response:
        """Return the page that says why there is none."""
        template = self.environment.get_template("problem.html")
        text = template.render(problem=problem, markets=sorted(self.context.markets),
                               version=self.context.code["version"])  # fmt: skip
        headers = {"Cache-Control": "no-store", **problem.headers}
        return Response(text, problem.status, headers, media_type="text/html")

    def runbook(self, key: str) -> str | None:
        """Return the address of the section of the runbook on an alert, None without a runbook."""
        base = self.context.settings.web.runbook_url
        return None if base is None else f"{base}#{section_of(key)}"

    def _page(self, request: Request, template: str, **values: Any) -> Response:
        now = self.context.clock.now()
        text = self.environment.get_template(template).render(
            **values, version=self.context.code["version"], now=now
        )
        body = text.encode()
        stamp = f"<time data-now>{now:%Y-%m-%d %H:%M} UTC</time>".encode()
        headers = {"Cache-Control": "no-cache"}
        response = Pieces(body, media_type="text/html; charset=utf-8", headers=headers)
        return tagged(request, response, digest(body.replace(stamp, b"")))

    def _unknown_market(self, name: str) -> Problem:
        known = ", ".join(sorted(self.context.markets)) or "none"
        return Problem(
            404,
            "unknown-market",
            f"there is no market {name[:40]!r}",
            f"a market is one of the settings': {known}",
            "/ shows them all",
        )


def _page_number(request: Request, key: str) -> int:
    text = request.query_params.get(key, "1")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 7 else 1


@cache
def plotly_styles() -> str:
    """Return the ids of style sheets that plotly.js would write into the page.

    They are of maps, which nobody draws here; one that is there already it leaves alone.
    """
    text = static_file("plotly.js").data.decode()
    return " ".join(sorted(set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', text))))


def address(name: str) -> str:
    """Return where a static file is, its hash with it."""
    return f"/static/{name}?v={static_file(name).tag}"


def section_of(key: str) -> str:
    """Return the section of the runbook that an alert's key has: what it is about, not of whom."""
    return key.split(":", maxsplit=1)[0]


def instant(when: datetime | None) -> str:
    """Return a time as people read it, in UTC."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if when is not None else "–"


def iso(when: datetime | date | None) -> str:
    """Return a time as programs read it."""
    return when.isoformat() if when is not None else ""


def percent(value: float | None, digits: int = 0) -> str:
    """Return a share as a percentage; one that is not whole never reads as 100 %."""
    if value is None:
        return "–"
    text = f"{value:.{digits}%}"
    return f"{100 - 10**-digits:.{digits}f}%" if value < 1.0 and text.startswith("100") else text


def figure(data: Any) -> str:
    """Return data for the script as JSON that no markup can end."""
    text = json.dumps(data.to_json(), allow_nan=False, separators=(",", ":"))
    safe = text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
    return Markup(safe)  # noqa: S704 - nothing of it can end the element it stands in


#: How a word of ours is coloured.
_TONES = {
    "good": ("live", "healthy", "succeeded", "final", "running", "fresh", "ok", "accepted"),
    "warn": ("warning", "degraded", "paused", "stopped", "abandoned", "quarantined", "behind"),
    "bad": ("decayed", "retired", "rejected", "failed", "halted", "expired", "error", "critical"),
}


def tone(word: str | None) -> str:
    """Return how a word is coloured."""
    return next((name for name, words in _TONES.items() if word in words), "note")
