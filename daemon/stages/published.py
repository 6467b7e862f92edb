"""What was published before, read back as a consumer would get it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from daemon.context import Context, Market
from signals.errors import DataError, IntegrityError
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
    """Return the latest published score of a session, or None where nothing was published.

    Raises
    ------
    IntegrityError
        What was published is gone or damaged.
    """
    with context.database.read() as conn:
        record = published_on(conn, market.name, session)
    if record is None:
        return None
    file = context.publisher.directory(record) / "signals.parquet"
    try:
        instruments, score = read_signals(file.read_bytes())
    except (OSError, DataError) as exc:
        raise IntegrityError(
            f"{file}, published for {session}, cannot be read back: {exc}",
            rule="a published folder never changes",
            hint="restore the folder from a copy; alphad verify lists everything that is not whole",
        ) from exc
    return Published(record.publish_id, instruments, score)
