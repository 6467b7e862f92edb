"""What was published before, read back as a consumer would get it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from daemon.context import Context, Market
from signals.panel import FloatArray
from signals.publication import read_signals
from storage.publishing import published_on


@dataclass(frozen=True)
class Published:
    """The score that stands for a session."""

    publish_id: str
    instruments: tuple[str, ...]
    score: FloatArray


def load_published(context: Context, market: Market, session: date) -> Published | None:
    """Return the latest published score of a session, or None where nothing was published."""
    with context.database.read() as conn:
        record = published_on(conn, market.name, session)
    if record is None:
        return None
    data = (context.publisher.directory(record) / "signals.parquet").read_bytes()
    instruments, score = read_signals(data)
    return Published(record.publish_id, instruments, score)
