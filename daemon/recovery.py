"""At start: whatever the last instance left half done is finished, or swept."""

from __future__ import annotations

import structlog
from sqlalchemy import Connection

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context, Market
from daemon.failpoints import failpoint
from daemon.stages import publish
from daemon.stages.book import declared_factors
from signals.errors import AlphadError, ConfigError, ReservationError
from storage import ledger, registry
from storage.tables import PublicationRecord

log = structlog.get_logger()


def check_labels(context: Context) -> None:
    """Refuse another label than the one that the stored ICs were measured by.

    Raises
    ------
    ConfigError
        When `label.lag` or `label.horizon` has changed.
    """
    for market in context.markets.values():
        with context.database.read() as conn:
            last = ledger.last_session(conn, market.name, "observe")
            run = ledger.latest(conn, market.name, last, "observe") if last else None
        label = market.settings.label
        stored = (run.detail or {}).get("label") if run is not None else None
        if stored is not None and stored != [label.lag, label.horizon]:
            raise ConfigError(
                f"market {market.name}: label is lag {label.lag}, horizon {label.horizon}; the "
                f"stored ICs are of lag {stored[0]}, horizon {stored[1]}",
                rule="one state directory holds ICs and monitors of one label",
                hint="set the label back, or start a new state_dir",
            )


def compare_seed_book(context: Context, market: Market) -> None:
    """Say so when the seed book is not the one that was declared: the registry's stays."""
    with context.database.read() as conn:
        seeds = [f for f in registry.factors(conn, market.name) if f.origin == "seed"]
    stated = {seed.id: str(seed.expression) for seed in declared_factors(market)}
    if seeds and stated != {factor.id: factor.expression for factor in seeds}:
        log.warning("the seed book has changed; the declared one stays", market=market.name)


def recover(context: Context) -> None:
    """Abandon dead runs, sweep torn files, adopt complete publications, rebuild the pointer.

    A market that cannot be recovered is alerted and ticks like the others: its stages finish what
    they find of their own, and the next start sweeps what was left.
    """
    check_labels(context)
    for market in context.markets.values():
        compare_seed_book(context, market)
    now = context.clock.now()
    with context.database.transaction() as conn:
        context.require_epoch(conn)
        abandoned = ledger.abandon_running(conn, now)
    failpoint("recover.after_abandon")

    def mark(conn: Connection, published: PublicationRecord) -> None:
        publish.adopt(conn, context, published)
        failpoint("recover.before_adopt")

    for name in context.markets:
        try:
            swept = context.bars.sweep(name)
            found = context.publisher.recover(name, now, mark)
        except ReservationError:
            raise
        except AlphadError as error:  # the other markets start all the same
            raise_alert(context, name, "recovery", "error", str(error))
            continue
        resolve_alert(context, name, "recovery")
        if abandoned or swept or found.swept or found.adopted or found.pointer_changed:
            log.info(
                "recovered",
                market=name,
                abandoned_runs=abandoned,
                swept=len(swept) + len(found.swept),
                adopted=[row.publish_id for row in found.adopted],
                pointer_changed=found.pointer_changed,
            )
