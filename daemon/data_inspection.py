"""`alphad data`: what bars there are, what is missing, what was restated and what set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from daemon.context import Context, Market
from daemon.feeds.fallback import FallbackFeed
from daemon.feeds.protocol import LiveFeed
from daemon.feeds.provider import ProviderFeed
from daemon.switching import away_assets
from signals.errors import DataError
from storage import data, ledger, membership
from storage.bars import last_vintage, vintages
from storage.tables import HeldChange, ProviderSwitch

#: Sessions whose coverage is listed one by one.
RECENT = 20
#: Gaps and differing bars that are named; all of them are counted.
NAMED = 20
#: Coverage as a picture: none, then eighths.
BLOCKS = "·▁▂▃▄▅▆▇█"

#: Session and asset of a bar.
Key = tuple[date, str]


@dataclass(frozen=True)
class DataFacts:
    """What a market's store holds, in plain values.

    Parameters
    ----------
    market : str
    sources : mapping of str to int
        Vintages by source.
    span : tuple of str, or None
        First and last session with bars.
    assets : int
        Assets with at least one bar.
    years, recent, months : sequence of (str, float)
        Share of the members with a bar, suspensions counted as there.
    gaps : int
        Members × sessions without a bar in the last 250 sessions.
    named_gaps : sequence of str
        Assets with most gaps, and how many.
    vintages, restated : sequence of mapping
        By month and cause; by cause alone of what was restated.
    rules : sequence of mapping
        What the gate set aside or changed, by rule.
    membership, calendar, feed : mapping
    switches : sequence of mapping
        Changes of series from one provider to another, by session and providers.
    """

    market: str
    sources: Mapping[str, int]
    span: tuple[str, str] | None
    assets: int
    years: Sequence[tuple[str, float]]
    recent: Sequence[tuple[str, float]]
    months: Sequence[tuple[str, float]]
    gaps: int
    named_gaps: Sequence[str]
    vintages: Sequence[Mapping[str, Any]]
    restated: Mapping[str, int]
    rules: Sequence[Mapping[str, Any]]
    membership: Mapping[str, Any]
    calendar: Mapping[str, Any]
    feed: Mapping[str, Any]
    switches: Sequence[Mapping[str, Any]] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return vars(self) | {"span": list(self.span) if self.span else None}


@dataclass(frozen=True)
class DataDiff:
    """Which bars differ between what was known at two times.

    Parameters
    ----------
    counts : mapping of str to int
        Bars by cause; `added` are bars that were not known at the first time.
    rows : sequence of mapping
        The bars, earliest session first: cause, session, asset and the values that differ.
    """

    counts: Mapping[str, int]
    rows: Sequence[Mapping[str, Any]]


def data_facts(context: Context, market: Market) -> DataFacts:
    """Return what a market's store holds."""
    name, now = market.name, context.clock.now()
    with context.database.read() as conn:
        newest = last_vintage(conn, name)
        by_month = data.by_month(conn, name)
        by_cause = data.bars_by_cause(conn, name)
        sources = data.sources(conn, name)
        rules = data.rules(conn, name)
        held = data.held(conn, name)
        switched = data.switches(conn, name)
        spells = membership.load(conn, name)
        since = membership.first_known(conn, name)
        last = ledger.last_session(conn, name, "ingest")
        run = ledger.latest_succeeded(conn, name, last, "ingest") if last else None
    detail: dict[str, Any] = dict((run.detail if run is not None else None) or {})
    sessions, covered, gaps = _coverage(context, market, spells, newest is not None)
    members = spells.count(last) if last is not None else None
    return DataFacts(
        market=name,
        sources=dict(sources),
        span=(str(sessions[0]), str(sessions[-1])) if len(sessions) else None,
        assets=len(context.bars.assets(name, as_of=now, last_session=date.max)),
        years=_means(sessions.astype("datetime64[Y]"), covered),
        recent=[
            (str(day), float(share))
            for day, share in zip(sessions[-RECENT:], covered[-RECENT:], strict=True)
        ],
        months=_means(sessions.astype("datetime64[M]"), covered),
        gaps=sum(gaps.values()),
        named_gaps=[f"{asset}: {n}" for asset, n in gaps.most_common(NAMED)],
        vintages=[each._asdict() for each in by_month],
        restated={
            cause: n for cause, n in by_cause.items() if cause not in ("session", "backfill")
        },
        rules=[
            {"outcome": outcome, "rule": rule, "verdicts": n, "rows": rows}
            for outcome, rule, n, rows in rules
        ],
        membership={
            "members": members,
            "known_since": since,
            "note": detail.get("survivorship"),
            "held": [_held(change) for change in held if change.applied_at is None],
        },
        calendar=_calendar(market, now),
        feed={**_feed(market, detail), "away": len(away_assets(switched, market.feed.name))},
        switches=_switches(switched),
    )


def data_diff(
    context: Context,
    market: Market,
    before: datetime,
    after: datetime,
    first: date | None,
    last: date | None,
) -> DataDiff:
    """Return which bars differ between what was known at two times.

    Raises
    ------
    DataError
        The second time is not after the first, or nothing was known at it.
    """
    if after <= before:
        raise DataError(
            f"the times are {before.isoformat()} and {after.isoformat()}",
            rule="a difference is from an earlier --as-of to a later one",
            hint="give the earlier time first",
        )
    low, high = first or date.min, last or date.max
    if low > high:
        raise DataError(
            f"--from {low} is after --to {high}",
            rule="a difference is over sessions from an earlier day to a later one",
            hint="give the earlier day to --from",
        )
    old, new = (_known(context, market, when, low, high) for when in (before, after))
    if not new.num_rows:
        raise DataError(
            f"no bar of {market.name} was known at {after.isoformat()}",
            rule="a difference is between two states of the store",
            hint="alphad data shows what there is",
        )
    with context.database.read() as conn:
        between = [
            each
            for each in vintages(conn, market.name)
            if before < each.known_at <= after and not each.reconstructed
        ]
    known: dict[Key, dict[str, Any]] = {}
    causes: dict[Key, str] = {}
    for vintage in between:
        touched = context.bars.read(vintage)
        causes |= dict.fromkeys(_keys(touched), vintage.cause)
        near = pc.is_in(old["asset"], value_set=pc.unique(touched["asset"]))
        same = pc.is_in(old["session"], value_set=pc.unique(touched["session"]))
        some = old.filter(pc.and_(near, same))
        known |= dict(zip(_keys(some), some.to_pylist(), strict=True))
    rows = []
    touched_days = pa.array(sorted({session for session, _ in causes}), pa.date32())
    changed = new.filter(pc.is_in(new["session"], value_set=touched_days))
    for key, told in zip(_keys(changed), changed.to_pylist(), strict=True):
        was = known.get(key)
        if key not in causes or was is None or was == told:
            continue
        values = {name: [was[name], told[name]] for name in told if told[name] != was[name]}
        rows.append({"cause": causes[key], "session": key[0], "asset": key[1], **values})
    counts = Counter(str(row["cause"]) for row in rows)
    if new.num_rows > old.num_rows:
        counts["added"] = new.num_rows - old.num_rows
    return DataDiff(dict(counts), rows)


def _known(context: Context, market: Market, when: datetime, low: date, high: date) -> Any:
    """Return the bars of some sessions as they were known at a time.

    What a backfill brought counts as known from its own session's finality on, not before.
    """
    final = market.calendar.last_final(when, market.settings.ingest.finality_minutes)
    return context.bars.bars(market.name, as_of=when, first=low, last=min(high, final))


def confirm_members(context: Context, market: Market, digest: str) -> HeldChange:
    """Confirm a held change of members; the next ingestion makes it.

    Raises
    ------
    DataError
        No such change waits.
    """
    with context.database.transaction() as conn:
        waiting = [c for c in data.held(conn, market.name) if c.applied_at is None]
        chosen = [change for change in waiting if change.digest == digest]
        if not chosen:
            listed = ", ".join(change.digest for change in waiting) or "none"
            raise DataError(
                f"no change {digest} of the members of {market.name} waits",
                rule=f"held changes are confirmed by their digest; there are: {listed}",
                hint="alphad data lists them",
            )
        data.confirm(conn, market.name, digest, context.clock.now())
    return chosen[0]


def picture(months: Sequence[tuple[str, float]]) -> list[str]:
    """Return coverage as one block a month and one line a year."""
    lines: dict[str, list[str]] = {}
    for month, share in months:
        year = lines.setdefault(month[:4], [" "] * 12)
        level = 0 if not share > 0.0 else 1 + min(int(share * 7.999), 7)
        year[int(month[5:7]) - 1] = BLOCKS[level]
    return [f"{year} {''.join(blocks)}" for year, blocks in lines.items()]


def _coverage(
    context: Context,
    market: Market,
    spells: membership.Membership,
    there: bool,  # noqa: FBT001
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.float64], Counter[str]]:
    """Return sessions, the share of members with a row, and recent gaps by asset."""
    empty = np.empty(0, dtype="datetime64[D]"), np.empty(0), Counter[str]()
    if not there:
        return empty
    rows = context.bars.bars(
        market.name, as_of=context.clock.now(), first=date.min, last=date.max
    ).select(["session", "asset"])
    if not rows.num_rows:
        return empty
    encoded = rows["asset"].combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    days = rows["session"].to_numpy().astype("datetime64[D]")
    stored = np.unique(days)
    sessions = np.array(
        market.calendar.sessions(stored[0].item(), stored[-1].item()), dtype="datetime64[D]"
    )
    known = np.isin(days, sessions)
    present = np.zeros((len(sessions), len(names)), dtype=bool)
    at = np.searchsorted(sessions, days[known])
    present[at, np.asarray(encoded.indices)[known]] = True
    absent = sorted(set(spells.anyone(date.min, date.max)) - set(names))
    member = spells.universe(sessions, [*names, *absent])
    whole = np.hstack([present, np.zeros((len(sessions), len(absent)), dtype=bool)])
    n_members = np.maximum(member.sum(axis=1), 1)
    covered = (member & whole).sum(axis=1) / n_members
    lacking = (member & ~whole)[-250:].sum(axis=0)
    gaps = Counter(
        {asset: int(n) for asset, n in zip([*names, *absent], lacking, strict=True) if n}
    )
    return sessions, covered, gaps


def _means(
    periods: npt.NDArray[np.datetime64], covered: npt.NDArray[np.float64]
) -> list[tuple[str, float]]:
    return [(str(each), float(covered[periods == each].mean())) for each in np.unique(periods)]


def _held(change: HeldChange) -> dict[str, Any]:
    return {
        "digest": change.digest,
        "session": change.session,
        "joined": change.joined,
        "left": change.left,
        "confirmed": change.confirmed_at is not None,
    }


def _calendar(market: Market, now: datetime) -> dict[str, Any]:
    calendar = market.calendar
    today = now.astimezone(UTC).date()
    upcoming = calendar.sessions(today, calendar.next_session(today, 250))
    presumed = [day for day in upcoming if calendar.is_provisional(day)]
    trouble = calendar.trouble
    return {
        "name": calendar.name,
        "horizon": calendar.horizon,
        "days": calendar.horizon_days(now),
        "provisional": len(presumed),
        "first_provisional": presumed[0] if presumed else None,
        "overlay": "in order" if trouble is None else trouble.fact,
    }


def _feed(market: Market, detail: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "kind": market.settings.feed.kind,
        "last_received": detail.get("received_at"),
        "confirmed": detail.get("confirmed"),
        "coverage": detail.get("coverage"),
        "missing": detail.get("missing", []),
    }
    if isinstance(market.feed, LiveFeed):
        facts["fallback"] = market.settings.feed.fallback
        feeds = market.feed.sources if isinstance(market.feed, FallbackFeed) else (market.feed,)
        facts["left_alone_until"] = {
            feed.name: feed.facts().breaker_until
            for feed in feeds
            if isinstance(feed, ProviderFeed) and feed.facts().breaker_until is not None
        } or None
        facts["pace_seconds"] = market.settings.feed.pace_seconds
        facts["start"] = market.settings.feed.start
    return facts


def _switches(rows: Sequence[ProviderSwitch]) -> list[dict[str, Any]]:
    """Return the changes of provider, those of a session told together."""
    groups: dict[tuple[date, str, str], list[ProviderSwitch]] = {}
    for row in rows:
        groups.setdefault((row.session, row.before, row.after), []).append(row)
    return [
        {
            "session": str(session),
            "before": before,
            "after": after,
            "assets": [row.asset for row in group],
            "n_sessions": min((row.n_sessions for row in group if row.n_sessions), default=None),
            "gap": max((row.gap for row in group if row.gap is not None), default=None),
        }
        for (session, before, after), group in groups.items()
    ]


def _keys(table: Any) -> list[Key]:
    return list(zip(table["session"].to_pylist(), table["asset"].to_pylist(), strict=True))
