"""Publish: blend the book into one score and publish it, complete and checksummed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.failpoints import failpoint
from daemon.stages import live_again
from daemon.stages.book import (
    Factor,
    load_factors,
    members_of,
    stored_panel,
    tail_with_universe,
)
from daemon.stages.ingest import data_fault
from daemon.stages.stage import at_work, fail, fingerprint
from signals.blend import Blend, blend, exposure_correlation, exposures
from signals.decay import Verdict
from signals.errors import AlphadError
from signals.evaluate import evaluate
from signals.ic import MeanEstimate, hac_lags, mean_with_interval
from signals.operators import lookback
from signals.panel import FloatArray, Panel
from signals.publication import Publication, PublishedFactor, Status, render
from signals.tradability import withhold
from storage import alerts, history, ledger, outbox
from storage.bars import last_vintage
from storage.publishing import Reservation, previous
from storage.tables import FactorState, PublicationRecord, StageRun

#: Sessions over which exposures give the correlation between factors, and their spacing: exposures
#: hardly change from one session to the next.
CORRELATION_SESSIONS, CORRELATION_STEP = 20, 5
#: What the manifest repeats of the session's ingestion.
DATA_FACTS = (
    "source", "vintage", "reconstructed", "coverage", "repeated", "traded", "restated",
    "quarantined", "bars",
)  # fmt: skip
#: And what it repeats of a live feed's beside that.
LIVE_FACTS = (
    "provider", "providers", "confirmed", "fetches", "restated_bars", "survivorship",
    "provisional_session",
)  # fmt: skip
#: How long after the next session's signals are due the old ones may still be traded on.
VALIDITY_GRACE = timedelta(hours=6)


@dataclass(frozen=True)
class Book:
    """The factors a session is published from, and what is wrong with them, if anything."""

    factors: list[Factor]
    equal: bool
    reasons: list[str]


def run(context: Context, market: Market, session: date, cause: str = "first") -> None:
    """Publish one session, or finish the publication a crash interrupted.

    Parameters
    ----------
    cause : str
        Why there is a revision, where the session has been published before.
    """
    with at_work(market, session, "publish"):
        _publish(context, market, session, cause)


def _publish(context: Context, market: Market, session: date, cause: str) -> None:
    with context.database.read() as conn:
        everyone = load_factors(conn, market, (FactorState.LIVE, FactorState.CANDIDATE))
        newest = last_vintage(conn, market.name)
        ingested = ledger.latest_succeeded(conn, market.name, session, "ingest")
    facts = dict(ingested.detail or {}) if ingested is not None else {}
    book = choose_book(everyone, market)
    inputs = fingerprint(
        newest.chain if newest else None,
        market.config_sha256,
        [(f.id, str(f.expression), f.state, f.verdict) for f in book.factors],
        # a confirmation may bring no bar, and is another input all the same
        *([facts["confirmed"], facts["fetches"]] if "confirmed" in facts else []),
    )
    now = context.clock.now()
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        run_ = ledger.begin(conn, market.name, session, "publish", inputs, now, cause)
        reservation = context.publisher.reserve(conn, market.name, session, run_.revision, now)
        before = previous(conn, market.name)
    failpoint("publish.after_reserve")

    def mark(conn: Connection, published: PublicationRecord) -> None:
        succeed(conn, context, run_, published)

    try:
        if context.publisher.adopt(reservation, now, mark) is not None:
            context.publisher.point(market.name)
            return
        publication = compose(context, market, session, book, reservation, facts, before)
        context.publisher.publish(reservation, render(publication), now=now, mark=mark)
    except AlphadError as error:
        fail(context, run_, error)
        raise


def choose_book(everyone: Sequence[Factor], market: Market) -> Book:
    """Return which factors to publish from.

    Live ones, weighted, as long as one is healthy; live ones with equal weights when none is; the
    declared candidates with equal weights while no factor is live yet.
    """
    live = [factor for factor in everyone if factor.state is FactorState.LIVE]
    standing = [f for f in live if f.watch and f.watch.standing is not Verdict.DECAYED]
    wanted = market.settings.book.min_healthy
    if standing:
        short = len(standing) < wanted
        reasons = [f"{len(standing)} healthy factors, {wanted} wanted"] if short else []
        return Book(live, equal=False, reasons=reasons)
    if live:
        reasons = ["no live factor is healthy: weights are equal"]
        factors = live
    else:
        factors = [f for f in everyone if f.state is FactorState.CANDIDATE]
        reasons = ["no factor is live yet: weights are equal, over declared factors on trial"]
        if not factors:
            reasons = ["no factor is live, and none is on trial: no scores"]
    if market.settings.blend.degraded_scores == "none":
        factors, reasons = [], [reasons[0].split(":")[0] + ": no scores, by blend.degraded_scores"]
    return Book(factors, equal=True, reasons=reasons)


def compose(
    context: Context,
    market: Market,
    session: date,
    book: Book,
    reservation: Reservation,
    facts: dict[str, Any],
    before: dict[str, str] | None,
) -> Publication:
    """Return the publication of a session; nothing is written."""
    now = context.clock.now()
    panel = stored_panel(context, market, session)
    tail, exposed, blended, estimates = score_book(context, market, session, book, panel)
    settings = market.settings
    score = withhold(blended.score, tail)
    members = [a for a, there in zip(tail.assets, tail.universe[-1], strict=True) if there]
    reasons = list(book.reasons)
    fault = data_fault(facts, settings.ingest)
    if fault is not None:
        reasons.append(fault)
    if blended.fallback and book.factors:
        reasons.append("no factor's mean RankIC is above zero: weights follow the verdicts only")
    if book.factors and not np.isfinite(score).any():
        reasons.append("no asset has a score")
    pending = live_again.unconfirmed(facts)
    due = market.calendar.finality(
        market.calendar.next_session(session), settings.ingest.finality_minutes
    )
    valid_until = due + VALIDITY_GRACE
    if valid_until <= now:
        reasons.append("published after the time it could be traded on")
    return Publication(
        market=market.name,
        session=session,
        publish_id=reservation.publish_id,
        revision=reservation.revision,
        as_of=context.known_at(market.name),
        valid_until=valid_until,
        generated_at=now,
        status=status_of(pending, reasons),
        reasons=tuple([pending, *reasons] if pending is not None else reasons),
        instruments=tail.assets,
        score=score,
        exposures={f.id: row for f, row in zip(book.factors, exposed, strict=True)},
        factors=tuple(
            PublishedFactor(
                id=factor.id,
                expression=str(factor.expression),
                weight=float(weight),
                state=factor.state.value,
                verdict=factor.verdict.value if factor.verdict else "none",
                mean_ic=estimate.mean,
                t_stat=estimate.t,
            )
            for factor, weight, estimate in zip(
                book.factors, blended.weights, estimates, strict=True
            )
        ),
        universe={
            "session": session.isoformat(),
            "n": len(members),
            "sha256": hashlib.sha256("\n".join(sorted(members)).encode()).hexdigest(),
            "membership_sha256": facts.get("membership_sha256"),
            **_excluded(context, market, tail, blended.score),
        },
        data={key: facts.get(key) for key in DATA_FACTS}
        | {key: facts[key] for key in LIVE_FACTS if key in facts},
        code={**context.code, "config_sha256": market.config_sha256},
        previous=before,
    )


def _excluded(
    context: Context, market: Market, tail: Panel, score: FloatArray
) -> dict[str, dict[str, list[str]]]:
    """Return the assets without a score for a flag's sake, by flag; nothing where none is."""
    last = tail.rows(tail.n_sessions - 1, tail.n_sessions)
    member = members_of(context, market, last)[0]
    with np.errstate(invalid="ignore"):
        concerned = {
            "suspended": member,
            "st": member & market.settings.universe.exclude_st,
            "limit_up": score > 0,
            "limit_down": score < 0,
        }
    named = {
        flag: sorted(tail.assets[at] for at in np.flatnonzero(last.flagged(flag)[0] & whom))
        for flag, whom in concerned.items()
    }
    found = {flag: assets for flag, assets in named.items() if assets}
    return {"excluded": found} if found else {}


def status_of(pending: str | None, reasons: Sequence[str]) -> Status:
    """Return the status of a publication; nothing that is not confirmed is anything else."""
    if pending is not None:
        return Status.PROVISIONAL
    return Status.DEGRADED if reasons else Status.FINAL


def score_book(
    context: Context, market: Market, session: date, book: Book, panel: Panel
) -> tuple[Panel, FloatArray, Blend, list[MeanEstimate]]:
    """Return the tail that was read, the exposures, the blend and each factor's RankIC so far."""
    row = panel.row_of(session)
    first = max(row - CORRELATION_SESSIONS, 0)
    behind = max((lookback(factor.expression) for factor in book.factors), default=0)
    start = max(first - behind, 0)
    tail = tail_with_universe(context, market, panel, start, row + 1)
    values = evaluate([f.expression for f in book.factors], tail, first=first - start)
    n_factors = len(book.factors)
    past = np.array(
        [
            exposures(
                np.array([value[at] for value in values]).reshape(n_factors, tail.n_assets),
                tail.universe[first - start + at],
            )
            for at in range((row - first) % CORRELATION_STEP, row + 1 - first, CORRELATION_STEP)
        ]
    )
    estimates = rank_ics_so_far(context, market, book.factors, panel, row)
    settings = market.settings.blend
    weight_of = {
        Verdict.WARNING: settings.warning_multiplier,
        Verdict.DECAYED: settings.decayed_multiplier,
    }
    blended = blend(
        past[-1],
        mean_ic=np.array([estimate.mean for estimate in estimates]),
        ic_se=np.array([estimate.se for estimate in estimates]),
        correlation=exposure_correlation(past, min_assets=market.settings.ingest.min_assets),
        multiplier=np.array(
            [weight_of.get(f.watch.standing, 1.0) if f.watch else 1.0 for f in book.factors]
        ),
        equal=book.equal,
    )
    return tail, past[-1], blended, estimates


def rank_ics_so_far(
    context: Context, market: Market, factors: Sequence[Factor], panel: Panel, row: int
) -> list[MeanEstimate]:
    """Return the mean RankIC of each factor over the last `blend.ic_sessions` realised.

    Of a mined factor only those since it joined count: it was selected on the ones before.
    """
    settings = market.settings
    since = panel.sessions[max(row - settings.blend.ic_sessions, 0)].item()
    with context.database.read() as conn:
        known = history.recent_rank_ics(conn, market.name, [f.id for f in factors], since)
    estimates = []
    for factor in factors:
        seen = known.get(factor.id, np.empty(0))
        if factor.origin == "mined" and factor.joined_session is not None:
            joined = int(np.searchsorted(panel.sessions, np.datetime64(factor.joined_session, "D")))
            realised = row - settings.label.lag - settings.label.horizon
            seen = seen[len(seen) - min(max(realised - joined + 1, 0), len(seen)) :]
        lags = hac_lags(len(seen), horizon=settings.label.horizon)
        estimates.append(mean_with_interval(seen, lags=lags))
    return estimates


def succeed(
    conn: Connection, context: Context, run_: StageRun, published: PublicationRecord
) -> None:
    """Mark the stage in the ledger and open or close the alert, in the publisher's transaction."""
    ledger.succeed(conn, run_, context.clock.now(), detail_of(conn, published))
    announce(conn, context, published)


def adopt(conn: Connection, context: Context, published: PublicationRecord) -> None:
    """Do the same for a publication found complete after a crash."""
    ledger.adopt(
        conn,
        published.market,
        published.session,
        "publish",
        published.revision,
        context.clock.now(),
        detail_of(conn, published),
    )
    announce(conn, context, published)


def detail_of(conn: Connection, published: PublicationRecord) -> dict[str, Any]:
    """Return what the ledger keeps of a publication.

    Nothing is ingested between composing and this: the last ingestion is the one it was made from.
    """
    ingested = ledger.latest_succeeded(conn, published.market, published.session, "ingest")
    of = {"ingest_revision": ingested.revision} if ingested and ingested.revision else {}
    return {
        "publish_id": published.publish_id,
        "status": published.status_text,
        "reasons": published.reasons,
        "manifest_sha256": published.manifest_sha256,
        **of,
    }


def announce(conn: Connection, context: Context, published: PublicationRecord) -> None:
    """Open an alert for a publication that is not final; close it with the next that is."""
    market, now = published.market, context.clock.now()
    outbox.enqueue_published(conn, published, now)
    if published.status_text == Status.FINAL.value:
        alerts.resolve(conn, market, "degraded", now)
        return
    if published.status_text == Status.PROVISIONAL.value and len(published.reasons or []) == 1:
        return  # as every evening: the confirmation decides
    reasons = "; ".join(published.reasons or [])
    message = f"{market} {published.session} is published {published.status_text}: {reasons}"
    alerts.raise_alert(conn, market, "degraded", "warning", message, now, published.session)
