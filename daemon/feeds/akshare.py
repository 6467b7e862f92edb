"""How akshare is asked and read; pure, over the tables of Eastmoney that akshare returns.

One session that is just over comes from one snapshot of the whole market; anything else from the
history of each share, as traded and adjusted backward. What the bars do not tell:

* `st` is read from the short name in the snapshot; a history has no names: false means unknown.
  Until 2026-07-05 a risk warning halved the main board's limit, so there a limit at 5 % is seen
  only where the whole session had one price.
* `split` of the snapshot's events is always 1, and `dividend` their cash where they can be cash
  only; a history tells both (see `daemon.feeds.eastmoney_events`).
* A share without a row is suspended, gone, or lost by the source. It counts as suspended where the
  rest of the market traded and it had traded before; else its row is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from daemon.clock import Clock
from daemon.feeds.eastmoney import read_history, read_index, read_snapshot
from daemon.feeds.eastmoney_history import (
    Bars,
    by_session,
    history_bars,
    suspensions,
    to_table,
    told,
)
from daemon.feeds.eastmoney_snapshot import check_session, snapshot_bars
from daemon.feeds.protocol import Answer, Parsed, Query, Request
from daemon.symbols import to_provider
from signals.errors import BarsError
from signals.panel import SessionArray
from storage.bars import BAR_SCHEMA

#: Days before the first session that are asked for: they show the factor before an ex-date and the
#: close before the first session, also of a share that was suspended for months.
LEAD = timedelta(days=400)
#: What akshare calls the indices that a market may follow.
INDICES = {"csi500": "sh000905"}
_ADJUSTS = ("", "hfq")
_ZONE = ZoneInfo("Asia/Shanghai")

#: Asked with a session, returns the last close as traded before it of each asset ever stored: NaN
#: where the store lacks a session since then (one of a suspension is not lacking), for then an
#: ex-date cannot be told from a return.
PreviousCloses = Callable[[date], Mapping[str, float]]


class AkshareProvider:
    """Eastmoney through akshare.

    Parameters
    ----------
    finality : callable of date to datetime
        When a session's bars are final; an answer received earlier has it unfinished.
    clock : Clock
        Tells whether a snapshot taken now shows the session asked for: from its finality on until
        midnight in Shanghai.
    previous_close : callable
        See `PreviousCloses`. It tells a snapshot's ex-dates, and whether a snapshot is of another
        session; it is asked with the first session of a request.
    """

    name = "akshare"
    client = "daemon.feeds.clients.akshare"

    def __init__(
        self,
        finality: Callable[[date], datetime],
        clock: Clock,
        previous_close: PreviousCloses,
    ) -> None:
        self._finality = finality
        self._clock = clock
        self._previous_close = previous_close

    def queries(self, request: Request) -> list[Query]:
        """Return one query for the snapshot, or two an asset: prices as traded, and adjusted.

        Without any stored close a snapshot's ex-dates cannot be told, and histories are asked for.
        """
        session = request.sessions[0]
        alone = len(request.sessions) == 1 and self._shows(session, self._clock.now())
        if alone and self._previous_close(session):
            return [Query("spot")]
        first, last = min(request.sessions) - LEAD, max(request.sessions)
        return [
            Query("history", to_provider(asset, self.name), first, last, (("adjust", adjust),))
            for asset in request.assets or ()
            for adjust in _ADJUSTS
        ]

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars as traded of the sessions asked for that were final when answered.

        An asset whose factor cannot be told has no bars and is missing as "adjustment
        undetermined: …", which is no failure of the provider's: a second source is due.
        """
        if answers and answers[0].query.kind == "spot":
            return self._from_snapshot(request, answers[0])
        return self._from_histories(request, answers)

    def index_query(self, index: str, request: Request) -> Query | None:
        """Return the query for an index over the sessions of a request, None where it has none."""
        if index not in INDICES:
            return None
        return Query("index", INDICES[index], min(request.sessions) - LEAD, max(request.sessions))

    def read_index(self, answer: Answer) -> Mapping[date, float]:
        """Return the index's closes of sessions that were final when it was told.

        Raises
        ------
        BarsError
            The answer is not ok or cannot be closes.
        """
        if answer.outcome != "ok":
            raise BarsError(answer.reason, rule="an index is told as a table")
        days, closes = read_index(answer.payload)
        told = zip(days.tolist(), closes.tolist(), strict=True)
        return {day: level for day, level in told if self._finality(day) <= answer.received_at}

    def _shows(self, session: date, at: datetime) -> bool:
        """Return whether a snapshot taken at a time, which has no date, is of a session."""
        return at.astimezone(_ZONE).date() == session and at >= self._finality(session)

    def _from_snapshot(self, request: Request, answer: Answer) -> Parsed:
        assets, session = sorted(request.assets or ()), request.sessions[0]
        if answer.outcome != "ok":
            return _nothing(assets, answer.reason)
        if len(request.sessions) != 1 or not self._shows(session, answer.received_at):
            return _nothing(assets, f"failed: no snapshot of {session} after its end")
        try:
            snapshot = read_snapshot(answer.payload)
            closes = self._previous_close(session)
            check_session(snapshot, closes, session)
        except BarsError as error:
            return _nothing(assets, f"failed: {error.fact}")
        table, missing, warnings = snapshot_bars(snapshot, assets, closes, session)
        sources = dict.fromkeys(table.column("asset").to_pylist(), answer.sha256)
        return Parsed(table, missing, sources, (*warnings, *_unfactored(missing)))

    def _from_histories(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        sessions = np.array(sorted(request.sessions), dtype="datetime64[D]")
        final = [self._finality(day) for day in sessions.tolist()]
        stored = self._previous_close(sessions[0].item())
        found = {(each.query.symbol, each.query.options): each for each in answers}
        bars: dict[str, Bars] = {}
        missing: dict[str, str] = {}
        sources: dict[str, str] = {}
        for asset in sorted(request.assets or ()):
            symbol = to_provider(asset, self.name)
            pair = [found.get((symbol, (("adjust", adjust),))) for adjust in _ADJUSTS]
            given = [each for each in pair if each is not None]
            reasons = [each.reason for each in given if each.outcome != "ok"]
            if len(given) < len(pair) or reasons:
                missing[asset] = reasons[0] if reasons else "failed: not asked"
                continue
            received = min(each.received_at for each in given)
            unfinished = sessions[[at > received for at in final]]
            outcome = _one_asset(given, unfinished, sessions, known=asset in stored)
            if isinstance(outcome, str):
                missing[asset] = outcome
            else:
                bars[asset], sources[asset] = outcome, given[0].sha256
        suspended, doubtful = suspensions(bars, sessions)
        parts = [to_table(asset, bars[asset], sessions, suspended[asset]) for asset in bars]
        undivided = [
            f"{asset} on {bars[asset].days[row]}"
            for asset in bars
            for row in bars[asset].events.undivided
            if bars[asset].days[row] in sessions
        ]
        warnings = (
            *told(undivided, "events may hold bonus shares that the volume does not tell"),
            *told(doubtful, "sessions have too few bars to tell who was suspended"),
            *_unfactored(missing),
        )
        return Parsed(by_session(parts), missing, sources, warnings)


def _one_asset(
    answers: Sequence[Answer], unfinished: SessionArray, sessions: SessionArray, *, known: bool
) -> Bars | str:
    """Return the bars of an asset's two histories, or why there are none."""
    try:
        histories = [read_history(answer.payload) for answer in answers]
    except BarsError as error:
        return f"failed: {error.fact}"
    traded, adjusted = (each.rows(~np.isin(each.days, unfinished)) for each in histories)
    try:
        bars = history_bars(traded, adjusted)
    except BarsError as error:
        return error.fact
    if not np.isin(bars.days, sessions).any():
        return "empty: no bar of the sessions asked for"
    if known and bars.days[0] >= sessions[0]:
        return (
            f"adjustment undetermined: {LEAD.days} days before {sessions[0]} have no bar, though"
            " earlier ones are stored"
        )
    return bars


def _unfactored(missing: Mapping[str, str]) -> list[str]:
    names = [asset for asset, reason in missing.items() if reason.startswith("adjustment")]
    return told(names, "assets have no factor and are left out: adjustment undetermined")


def _nothing(assets: Sequence[str], reason: str) -> Parsed:
    return Parsed(BAR_SCHEMA.empty_table(), dict.fromkeys(assets, reason), {}, ())
