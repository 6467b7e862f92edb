"""Verdicts of the gate, kept whether a batch was taken or refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from daemon.context import Context, Market
from daemon.gate import Judged, Verdict
from storage import data
from storage.data import Said


def as_said(verdicts: Sequence[Verdict]) -> list[Said]:
    """Return verdicts as they are stored."""
    return [
        Said(v.outcome, v.asset, v.first, v.last, v.n_rows, v.rule, v.fact, v.payload)
        for v in verdicts
    ]


def refuse(context: Context, market: Market, session: date, judged: Judged) -> None:
    """Store why a batch was refused, then raise it; a batch that was taken passes."""
    if judged.error is None:
        return
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        now = context.clock.now()
        data.append_verdicts(conn, market.name, session, now, as_said(judged.verdicts))
    raise judged.error
