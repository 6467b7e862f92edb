"""`POST /v1/markets/{market}/pause|resume|halt`: the only requests that change anything.

They need the token of `web.token` in a header that no page of a stranger can send.
"""

from __future__ import annotations

import hmac
import json
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemon.context import Context
from daemon.operator import set_control
from daemon.web.answers import Pace
from daemon.web.asked import market_of, only_these, refuse
from signals.errors import DataError
from storage.tables import ControlState

log = structlog.get_logger()

#: Who has done it, in the record of what operators asked for.
WHO = "web"
#: What each word of the path makes of a market.
ACTIONS = {
    "pause": ControlState.PAUSED,
    "resume": ControlState.RUNNING,
    "halt": ControlState.HALTED,
}
#: Share of a processor: some thirty attempts a second, so that neither guessing nor our own log of
#: it becomes a burden.
SHARE = 0.02
#: Characters of a reason.
LONGEST_REASON = 500


class ControlApi:
    """The three routes, on one context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.pace = Pace(SHARE)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"/v1/markets/{{market}}/{action}", self.act, methods=["POST"], name=action)
            for action in ACTIONS
        ]

    async def act(self, request: Request) -> Response:
        """Do what the path says, once the request has shown that it may."""
        await self.pace.turn()
        self.authorise(request)
        only_these(request, ())
        market = market_of(request, self.context)
        action = request.url.path.rsplit("/", maxsplit=1)[-1]
        reason = reason_of(request, await request.body())
        return await run_in_threadpool(self.set, market.name, action, reason)

    def set(self, market: str, action: str, reason: str) -> Response:
        """Set the control and answer with what holds now."""
        try:
            done = set_control(self.context, market, ACTIONS[action], reason=reason, who=WHO)
        except DataError as error:
            raise refuse(409, "not-now", error.fact, error.rule, error.hint) from error
        facts = {"market": done.market, "state": str(done.state), "reason": done.reason}
        facts |= {"who": done.who, "at": done.at.isoformat()}
        return JSONResponse(facts, headers={"Cache-Control": "no-store"})

    def authorise(self, request: Request) -> None:
        """Refuse a request without the token; the comparison takes the same time for every one."""
        token = self.context.settings.web.token
        if token is None:
            raise refuse(
                403,
                "read-only",
                "this daemon changes nothing by HTTP",
                "changing actions need a token, and web.token is not set",
                "set ALPHAD_WEB__TOKEN in the daemon's environment, or the credential "
                "alphad_web__token, and restart it; or use alphad pause, resume and halt on its "
                "host",
            )
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        expected = token.get_secret_value().encode()
        is_same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected)
        if scheme.lower() != "bearer" or not is_same:
            client = request.client.host if request.client else "unknown"
            log.warning("a request with a wrong token was refused", client=client)
            raise refuse(
                401,
                "unauthorised",
                "the token is missing or wrong",
                "a changing action brings `Authorization: Bearer` and the token of web.token",
                "send the token the daemon was started with, as ALPHAD_WEB__TOKEN or credential",
                **{"WWW-Authenticate": 'Bearer realm="alphad"'},
            )


def reason_of(request: Request, body: bytes) -> str:
    """Return the reason in the body, `{"reason": "…"}`; Refused where there is none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise refuse(
            415,
            "not-json",
            f"the body is {kind[:40] or 'of no named type'}",
            "a body is JSON and says so",
            "send Content-Type: application/json",
        )
    try:
        told: Any = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    reason = told.get("reason") if isinstance(told, dict) and set(told) == {"reason"} else None
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= LONGEST_REASON:
        raise refuse(
            400,
            "no-reason",
            "the body gives no reason",
            'a body is {"reason": "…"}, of 1 to ' + f"{LONGEST_REASON} characters",
            "say why, for those who will ask later",
        )
    if not reason.isprintable():
        raise refuse(
            400, "no-reason", "the reason holds characters that cannot be printed",
            "a reason is one line of text", "write it without line breaks",
        )  # fmt: skip
    return reason.strip()
