"""Small bars, publications and times to test with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from signals.publication import Publication, PublishedFactor, Status, render
from storage.bars import ABSENT, BAR_SCHEMA, BarStore
from storage.database import Database
from storage.publishing import Publisher, Reservation, previous
from storage.tables import PublicationRecord, Vintage

START = date(2024, 1, 1)
ZERO = datetime(2024, 1, 1, 22, tzinfo=UTC)


def day(number: int) -> date:
    return START + timedelta(days=number)


def at(number: float) -> datetime:
    return ZERO + timedelta(days=number)


def bar(session: date, asset: str, close: float = 10.0, **given: Any) -> dict[str, Any]:
    return {
        "session": session,
        "asset": asset,
        "open": close,
        "high": close,
        "low": close,
        "close": close,
        "volume": 100.0,
        **ABSENT,
    } | given


def bars(rows: Sequence[dict[str, Any]]) -> Any:
    return pa.Table.from_pylist(list(rows), schema=BAR_SCHEMA)


def market_day(number: int, assets: Sequence[str], seed: int = 0) -> Any:
    rng = np.random.default_rng((seed, number))
    return bars([bar(day(number), name, float(rng.lognormal(3, 0.2))) for name in assets])


def keep(
    store: BarStore,
    table: Any,
    known_at: datetime,
    *,
    reconstructed: bool = False,
    market: str = "us",
) -> Vintage:
    vintage = store.append(
        market,
        table,
        source="test",
        known_at=known_at,
        reconstructed=reconstructed,
        cause="first",
    )
    with store.database.transaction() as connection:
        return store.record(connection, vintage)


def files_of(
    reservation: Reservation,
    before: dict[str, str] | None,
    *,
    score: float = 1.0,
    lives: timedelta = timedelta(days=3),
) -> dict[str, bytes]:
    """Render a publication of three instruments."""
    time = datetime.combine(reservation.session, datetime.min.time(), UTC)
    return render(
        Publication(
            market=reservation.market,
            session=reservation.session,
            publish_id=reservation.publish_id,
            revision=reservation.revision,
            as_of=time,
            valid_until=time + lives,
            generated_at=time,
            status=Status.FINAL,
            reasons=(),
            instruments=("000001", "AAA", "BBB"),
            score=np.array([score, -score, np.nan]),
            exposures={},
            factors=(PublishedFactor("reversal", "$close", 1.0, "live", "healthy", 0.03, 2.5),),
            universe={},
            data={},
            code={},
            previous=before,
        )
    )


def publish(
    root: Path, database: Database, number: int, *, revision: int = 0, score: float = 1.0
) -> PublicationRecord:
    """Publish one session, as the stage does."""
    publisher = Publisher(root, database)
    with database.transaction() as connection:
        reservation = publisher.reserve(connection, "us", day(number), revision, at(number))
        before = previous(connection, "us")
    return publisher.publish(
        reservation, files_of(reservation, before, score=score), now=at(number)
    )
