"""`alphad dry-run`: what would be published now, beside what is published; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from daemon.context import Context, Market
from daemon.inspection import only, opened, say
from daemon.stages.book import load_factors
from daemon.stages.publish import choose_book, compose
from daemon.stages.published import Published, load_published
from signals.errors import DataError
from signals.ic import rank_ic
from signals.panel import FloatArray
from signals.publication import Publication
from storage import ledger
from storage.bars import BarStore
from storage.publishing import Reservation, head, previous
from storage.tables import FactorState, PublicationRecord

#: Changes that are told, the largest first.
TOLD_CHANGES = 10
#: In place of an id: none is taken.
NO_ID = "dry-run"


@dataclass(frozen=True)
class Change:
    """One instrument's score in the latest publication and in the rehearsed one."""

    instrument: str
    before: float
    now: float

    @property
    def by(self) -> float:
        """How far it moved."""
        return self.now - self.before


@dataclass(frozen=True)
class Difference:
    """A rehearsed publication against the latest one.

    Parameters
    ----------
    publish_id, session : str
        Of the latest publication.
    common : int
        Instruments with a score in both.
    rank_correlation : float or None
        Spearman's, over those; None where it is not defined.
    largest : tuple of Change
        The largest changes of score.
    joined, left : tuple of str
        Instruments with a score only now, and only then.
    """

    publish_id: str
    session: str
    common: int
    rank_correlation: float | None
    largest: tuple[Change, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {
            "largest": [vars(change) | {"by": change.by} for change in self.largest]
        }


def dry_run(path: Path | None, name: str | None, *, as_json: bool) -> int:
    """Show what would be published for the newest ingested session, with today's book."""
    context = opened(path)
    try:
        found, against = rehearse(context, only(context, name))
    finally:
        context.database.close()  # the last one to close tidies up SQLite's own files
    if as_json:
        say(as_json_of(found, against))
    else:
        show(Console(), found, against)
    return 0


def rehearse(context: Context, market: Market) -> tuple[Publication, Difference | None]:
    """Compose what would be published, and compare it with the latest publication.

    Raises
    ------
    DataError
        No session has been ingested.
    IntegrityError
        The latest publication cannot be read back.
    """
    looking = replace(
        context, bars=BarStore(context.settings.state_dir, context.database, looking=True)
    )
    with looking.database.read() as conn:
        session = ledger.last_session(conn, market.name, "ingest")
        if session is None:
            raise DataError(
                f"{market.name} has no session that is ingested",
                rule="what would be published is made from stored bars",
                hint="let the daemon ingest a session first: alphad run",
            )
        everyone = load_factors(conn, market, (FactorState.LIVE, FactorState.CANDIDATE))
        ingested = ledger.latest_succeeded(conn, market.name, session, "ingest")
        before, last = previous(conn, market.name), head(conn, market.name)
    facts = dict(ingested.detail or {}) if ingested is not None else {}
    unreserved = Reservation(market.name, session, 0, NO_ID, context.publisher.root)
    found = compose(
        looking, market, session, choose_book(everyone, market), unreserved, facts, before
    )
    published = load_published(looking, market, last.session) if last is not None else None
    if published is None or last is None:
        return found, None
    return found, difference(found, published, last)


def difference(found: Publication, published: Published, last: PublicationRecord) -> Difference:
    """Return how a rehearsed publication differs from a published one."""
    now = scores(found.instruments, found.score)
    then = scores(published.instruments, published.score)
    common = sorted(now.keys() & then.keys())
    pair = [np.array([[side[name] for name in common]]) for side in (then, now)]
    rank = float(rank_ic(*pair, min_assets=2)[0]) if len(common) > 1 else float("nan")
    changes = [Change(name, then[name], now[name]) for name in common if then[name] != now[name]]
    return Difference(
        publish_id=published.publish_id,
        session=last.session.isoformat(),
        common=len(common),
        rank_correlation=rank if np.isfinite(rank) else None,
        largest=tuple(sorted(changes, key=lambda change: -abs(change.by))[:TOLD_CHANGES]),
        joined=tuple(sorted(now.keys() - then.keys())),
        left=tuple(sorted(then.keys() - now.keys())),
    )


def scores(instruments: tuple[str, ...], values: FloatArray) -> dict[str, float]:
    """Return the scores there are, by instrument."""
    pairs = zip(instruments, np.asarray(values).tolist(), strict=True)
    return {name: value for name, value in pairs if np.isfinite(value)}


def as_json_of(found: Publication, against: Difference | None) -> dict[str, Any]:
    """Return plain values."""
    return {
        "market": found.market,
        "session": found.session.isoformat(),
        "status": found.status.value,
        "reasons": list(found.reasons),
        "valid_until": found.valid_until.isoformat(),
        "scores": len(scores(found.instruments, found.score)),
        "universe": found.universe["n"],
        "factors": [
            {"id": f.id, "weight": f.weight, "state": f.state, "verdict": f.verdict}
            for f in found.factors
        ],
        "against": None if against is None else against.to_json(),
    }


def show(console: Console, found: Publication, against: Difference | None) -> None:
    """Print it for people."""
    told = as_json_of(found, against)

    def line(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    line(f"{told['market']} {told['session']} would be published {told['status']}")
    for reason in told["reasons"]:
        line(f"  because: {reason}")
    line(f"  scores: {told['scores']} of {told['universe']} in the universe")
    book = ", ".join(f"{f['id']} {f['weight']:.0%}" for f in told["factors"])
    line(f"  factors: {book or 'none'}")
    if against is None:
        line("  nothing is published to compare it with; nothing was written")
        return
    line(f"against {against.publish_id} of {against.session}: {against.common} scores in common")
    if against.rank_correlation is not None:
        line(f"  rank correlation: {against.rank_correlation:.4f}")
    for what, names in (("only now", against.joined), ("only then", against.left)):
        if names:
            line(f"  {what}: {len(names)} ({', '.join(names[:TOLD_CHANGES])})")
    if not against.largest:
        line("  no score differs")
    else:
        table = Table("instrument", "then", "now", "change")
        for change in against.largest:
            table.add_row(
                change.instrument,
                f"{change.before:+.3f}",
                f"{change.now:+.3f}",
                f"{change.by:+.3f}",
            )
        console.print(table)
    line("nothing was written")
