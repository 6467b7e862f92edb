"""What a request asks for: the form of the answer, a session, a range; or why that is unclear."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date

from starlette.requests import Request

from daemon.context import Context, Market
from daemon.web.problems import Problem, Refused

#: What an answer may be, by the word in `?format=`, best first.
FORMATS: Mapping[str, str] = {
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
    "csv": "text/csv; charset=utf-8",
}
#: Other names clients have for them.
_ALSO = {"application/parquet": "parquet", "application/x-parquet": "parquet"}
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def refuse(status: int, kind: str, fact: str, rule: str, hint: str, **headers: str) -> Refused:
    """Return a refusal to raise."""
    return Refused(Problem(status, kind, fact, rule, hint, headers))


def market_of(request: Request, context: Context) -> Market:
    """Return the market in the path; Refused when there is none of this name."""
    name = request.path_params["market"]
    found = context.markets.get(name)
    if found is None:
        known = ", ".join(sorted(context.markets)) or "none"
        raise refuse(
            404,
            "unknown-market",
            f"there is no market {name[:40]!r}",
            f"a market is one of the settings': {known}",
            "GET /v1/markets lists them",
        )
    return found


def only_these(request: Request, known: Collection[str]) -> None:
    """Refuse a parameter nobody looks at, or one that stands twice."""
    for name in request.query_params:
        if name not in known or len(request.query_params.getlist(name)) != 1:
            raise refuse(
                400,
                "bad-parameter",
                f"the parameter {name[:40]!r} is unknown here, or stands twice",
                f"known here, once each: {', '.join(sorted(known)) or 'none'}",
                "remove it, or correct its name",
            )


def format_of(request: Request, *, fixed: str | None = None) -> str:
    """Return the word for the form of the answer; `?format=` wins over `Accept`.

    Parameters
    ----------
    fixed : str, optional
        The only form there is.
    """
    known = [fixed] if fixed is not None else list(FORMATS)
    wanted = request.query_params.get("format")
    if wanted is not None:
        if wanted not in known:
            raise refuse(
                400,
                "bad-format",
                f"there is no format {wanted[:40]!r}",
                f"formats are: {', '.join(known)}",
                "leave it out for JSON",
            )
        return wanted
    accept = ", ".join(request.headers.getlist("accept")) or "*/*"
    qualities = {word: quality(accept, word) for word in known}
    best = max(known, key=lambda word: qualities[word])  # the first of equals
    if qualities[best] <= 0.0:
        raise refuse(
            406,
            "not-acceptable",
            "none of the accepted types is one there is",
            f"there are: {', '.join(FORMATS[word].split(';')[0] for word in known)}",
            "name one of them in Accept, or give ?format=",
        )
    return best


def quality(accept: str, word: str) -> float:
    """Return how much an Accept header wants a form, in [0, 1]; the nearest range decides."""
    kind = FORMATS[word].split(";")[0]
    best, nearness = 0.0, -1
    for part in accept.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        near = {kind: 2, kind.split("/", maxsplit=1)[0] + "/*": 1, "*/*": 0}.get(name, -1)
        if _ALSO.get(name) == word:
            near = 2
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        value = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight, re.ASCII) else 0.0
        if near > nearness or (near == nearness >= 0 and value > best):
            best, nearness = value, near
    return best


def session_of(text: str, name: str = "session") -> date:
    """Return a session from its ISO date."""
    try:
        if _DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise refuse(
        400,
        "bad-date",
        f"{name} {text[:40]!r} is no date",
        "a session is a date, as in 2026-11-20",
        "write it as year, month and day",
    )


def number_of(request: Request, name: str, default: int, most: int) -> int:
    """Return a number from 1 to `most`."""
    text = request.query_params.get(name, str(default))
    if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) and 1 <= int(text) <= most:
        return int(text)
    raise refuse(
        400,
        "bad-number",
        f"{name} {text[:40]!r} is no number from 1 to {most}",
        f"{name} is a whole number from 1 to {most}",
        f"leave it out for {default}",
    )


def flag_of(request: Request, name: str) -> bool:
    """Return whether something is asked to be allowed, as in `?expired=allow`."""
    text = request.query_params.get(name)
    if text not in (None, "allow"):
        raise refuse(
            400,
            "bad-parameter",
            f"{name} is {text[:40]!r}",
            f"{name} is `allow`, or is left out",
            f"write ?{name}=allow",
        )
    return text is not None


def is_known(request: Request, tag: str) -> bool:
    """Return whether the client has these very bytes already (If-None-Match)."""
    told = ",".join(request.headers.getlist("if-none-match"))
    tags = [part.strip().removeprefix("W/") for part in told.split(",")]
    return tag in tags or "*" in tags
