"""What the first page says of each market: what was published, is it fresh, what is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from daemon.context import Context, Market
from daemon.course import trailing_mean
from daemon.web.curves import spark
from daemon.web.published import Published, Shelf
from signals.errors import DataError, StorageError
from signals.publication import Status
from storage import alerts, controls, glance, history
from storage.publishing import head
from storage.tables import (
    Alert,
    BookRecord,
    ControlState,
    FactorState,
    MarketControl,
    PublicationRecord,
)

#: Sessions the small line of a market goes back.
SPARK_SESSIONS = 250
#: Open alerts that are listed; all of them are counted.
LISTED_ALERTS = 20


@dataclass(frozen=True)
class Light:
    """A state in a word: `tone` is good, note, warn or bad, and says how it is coloured."""

    tone: str
    word: str
    text: str


@dataclass(frozen=True)
class Card:
    """One market as the first page and its own page show it.

    Parameters
    ----------
    name : str
    lights : sequence of Light
        How it stands, worst first.
    row : PublicationRecord or None
        What was published last.
    valid_until : datetime or None
        Until when that may be traded on; None where it cannot be read.
    due : date or None
        The last session whose bars are final; None where the calendar has ended.
    behind : int or None
        Sessions that are due and not published.
    control : MarketControl or None
        Who has paused or halted it, and why.
    alerts : sequence of Alert
        The open ones.
    counts : mapping of str to int
        Factors by state.
    verdicts : mapping of str to int
        Live factors by verdict.
    book : BookRecord or None
        Where the book-level test stands.
    weights : mapping of str to float
        Of the factors in the last publication.
    spark : mapping or None
        The small line: RankIC of the published score.
    """

    name: str
    lights: Sequence[Light]
    row: PublicationRecord | None
    valid_until: datetime | None
    due: date | None
    behind: int | None
    control: MarketControl | None
    alerts: Sequence[Alert]
    counts: Mapping[str, int]
    verdicts: Mapping[str, int]
    book: BookRecord | None
    weights: Mapping[str, float]
    spark: Mapping[str, Any] | None

    @property
    def said_of_book(self) -> str | None:
        """Return what the book-level test says, where it has said anything."""
        told = self.book.state.get("told") if self.book is not None else None
        return str(told["sentence"]) if told else None


def market_card(context: Context, market: Market, shelf: Shelf) -> Card:
    """Return how one market stands."""
    name, now = market.name, context.clock.now()
    with context.database.read() as conn:
        row = head(conn, name)
        control = controls.restraint(conn, name)
        opened = alerts.open_alerts(conn, name)
        counts = glance.factor_counts(conn, name)
        live = [f for f, state in glance.factor_ids(conn, name) if state == FactorState.LIVE]
        standing = glance.standings(conn, name, live)
        book = history.last_book_state(conn, name)
        recent = history.score_ics(conn, name, _since(market, row, SPARK_SESSIONS))
    words = [each.verdict for each in standing.values()]
    due, behind = _lag(market, now, row)
    published, damage = _opened(shelf, row)
    valid_until = published.valid_until if published is not None else None
    return Card(
        name=name,
        lights=_lights(row, control, valid_until, behind, damage, now=now),
        row=row,
        valid_until=valid_until,
        due=due,
        behind=behind,
        control=control,
        alerts=opened,
        counts=counts,
        verdicts={word: words.count(word) for word in sorted(set(words))},
        book=book,
        weights={factor["id"]: float(factor["weight"]) for factor in published.manifest["factors"]}
        if published is not None
        else {},
        spark=spark(trailing_mean(recent.rank_ic)),
    )


def _since(market: Market, row: PublicationRecord | None, sessions: int) -> date | None:
    if row is None:
        return None
    try:
        return market.calendar.previous_session(row.session, sessions)
    except DataError:  # the calendar does not go back so far
        return None


def _lag(
    market: Market, now: datetime, row: PublicationRecord | None
) -> tuple[date | None, int | None]:
    """Return the session that is due, and how many are due and not published."""
    try:
        due = market.calendar.last_final(now, market.settings.ingest.finality_minutes)
        behind = len(market.calendar.sessions(row.session, due)) - 1 if row is not None else None
    except DataError:
        return None, None
    return due, behind if behind is None else max(behind, 0)


def _opened(shelf: Shelf, row: PublicationRecord | None) -> tuple[Published | None, str]:
    """Return a publication with its manifest, or why it cannot be read."""
    if row is None:
        return None, ""
    try:
        return shelf.open(row), ""
    except StorageError as error:
        return None, error.fact


def _lights(
    row: PublicationRecord | None,
    control: MarketControl | None,
    valid_until: datetime | None,
    behind: int | None,
    damage: str,
    *,
    now: datetime,
) -> list[Light]:
    """Return what holds of a market, worst first."""
    lights = []
    if control is not None:
        is_halted = control.state == ControlState.HALTED
        what = "nothing of it is to be traded on" if is_halted else "nothing new is begun"
        lights.append(Light("bad" if is_halted else "warn", str(control.state), what))
    if row is None:
        return [*lights, Light("note", "nothing yet", "no session has been published")]
    if damage:
        lights.append(Light("bad", "damaged", damage))
    if valid_until is not None and now >= valid_until:
        lights.append(Light("bad", "expired", "the last signals are no longer to be traded on"))
    if behind:
        text = f"{behind} session{'s' if behind > 1 else ''} due and not published"
        lights.append(Light("warn", f"{behind} behind", text))
    if row.status_text != Status.FINAL:
        tone = "note" if row.status_text == Status.PROVISIONAL else "warn"
        why = "; ".join(row.reasons or []) or "as the manifest says"
        lights.append(Light(tone, str(row.status_text), why))
    if not lights:
        lights.append(Light("good", "fresh", "the last session due is published and final"))
    return lights
