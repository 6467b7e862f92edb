"""What goes wrong, told as `application/problem+json` (RFC 9457): fact, rule, way out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.exceptions import HTTPException
from starlette.responses import Response

from signals.errors import AlphadError

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Problem:
    """Why a request is refused.

    Parameters
    ----------
    status : int
        The HTTP status.
    kind : str
        A short name that programs compare, as in `urn:alphad:expired`.
    fact, rule, hint : str
        As in every error of ours.
    headers : mapping
        Of the answer.
    """

    status: int
    kind: str
    fact: str
    rule: str = ""
    hint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, str | int]:
        """Return the members of the answer."""
        return {
            "type": f"urn:alphad:{self.kind}",
            "title": self.kind.replace("-", " "),
            "status": self.status,
            "detail": self.fact,
            "rule": self.rule,
            "hint": self.hint,
        }


class Refused(HTTPException):
    """A request that is not answered as asked; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.status, problem.fact)
        self.problem = problem


def respond(problem: Problem) -> Response:
    """Return the answer to a request that is refused."""
    return Response(
        json.dumps(problem.to_json(), ensure_ascii=False).encode(),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **problem.headers},
    )


def trouble(error: AlphadError) -> Problem:
    """Return what a stranger may be told of an error of ours; the log has the rest."""
    return Problem(
        503 if error.retryable else 500,
        "unavailable" if error.retryable else "trouble",
        "the daemon cannot read its state now" if error.retryable else "the daemon has failed",
        rule="an answer is whole and checked, or there is none",
        hint="look into the log of the daemon, or run alphad health and alphad verify on its host",
        headers={"Retry-After": "30"} if error.retryable else {},
    )
