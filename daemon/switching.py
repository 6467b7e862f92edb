"""Bars of two providers in one market: who told each, and the changes from one to the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import pyarrow.compute as pc
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.feeds.fallback import NOT_TAKEN_OVER, Joined
from daemon.feeds.protocol import Parsed
from daemon.feeds.switch import PROVED, Switch
from storage import alerts, data
from storage.data import Said
from storage.tables import ProviderSwitch, Vintage

#: Assets named in an alert; all of them are counted.
NAMED = 5


def switches_of(parsed: Parsed) -> tuple[Switch, ...]:
    """Return the changes of provider that bars make."""
    return parsed.switches if isinstance(parsed, Joined) else ()


def providers_of(parsed: Parsed) -> Mapping[str, str]:
    """Return who told each asset's bars; nothing of a feed that has one provider."""
    return parsed.providers if isinstance(parsed, Joined) else {}


def append_told(
    context: Context,
    market: Market,
    table: Any,
    *,
    cause: str,
    providers: Mapping[str, str],
    reconstructed: bool = False,
) -> list[Vintage]:
    """Write bars as one vintage for each provider; the rows that make them count are not yet."""
    if not table.num_rows:
        return []
    primary = market.feed.name
    by_row = [providers.get(asset, primary) for asset in table["asset"].to_pylist()]
    names = sorted(set(by_row), key=lambda name: (name != primary, name))
    known_at = context.known_at(market.name)
    return [
        context.bars.append(
            market.name,
            table if len(names) == 1 else table.filter([each == name for each in by_row]),
            source=name,
            known_at=known_at,
            reconstructed=reconstructed,
            cause=cause,
        )
        for name in names
    ]


def kept_switches(switches: Sequence[Switch], table: Any) -> list[Switch]:
    """Return the switches whose bars are to be stored: not those that the gate set aside."""
    last: dict[str, date] = {}
    if switches and table.num_rows:
        groups = table.group_by("asset").aggregate([("session", "max")])
        last = dict(
            zip(groups["asset"].to_pylist(), groups["session_max"].to_pylist(), strict=True)
        )
    return [each for each in switches if each.asset in last and last[each.asset] >= each.session]


def record_switches(
    conn: Connection, context: Context, market: Market, session: date, switches: Sequence[Switch]
) -> None:
    """Store changes of provider; open an alert that lasts until every series is back."""
    now, name = context.clock.now(), market.name
    data.append_switches(
        conn,
        [
            ProviderSwitch(
                market=name,
                asset=each.asset,
                session=each.session,
                before=each.before,
                after=each.after,
                n_sessions=each.overlap.n_sessions if each.overlap is not None else None,
                gap=each.overlap.gap if each.overlap is not None else None,
                at=now,
            )
            for each in switches
        ],
    )
    if market.settings.feed.fallback == "none":
        return
    away = away_assets(data.switches(conn, name), market.feed.name)
    if not away:
        alerts.resolve(conn, name, "provider-switched", now)
    elif switches:
        alerts.raise_alert(
            conn, name, "provider-switched", "warning", _message(name, session, switches, away),
            now, session,
        )  # fmt: skip


def away_assets(rows: Sequence[ProviderSwitch], primary: str) -> dict[str, str]:
    """Return the assets whose series another provider tells now, and which."""
    last = {row.asset: row.after for row in rows}
    return {asset: after for asset, after in last.items() if after != primary}


def refused_switches(missing: Mapping[str, str], session: date) -> list[Said]:
    """Return a verdict for each asset that a second source was not let take over."""
    return [
        Said("quarantine", asset, session, session, 0, PROVED, why, "")
        for asset, why in missing.items()
        if NOT_TAKEN_OVER in why
    ]


def counted(table: Any, providers: Mapping[str, str], primary: str) -> dict[str, int]:
    """Return how many bars each provider told."""
    names = pc.value_counts(table["asset"])
    counts: Counter[str] = Counter()
    for each in names.to_pylist():
        counts[providers.get(each["values"], primary)] += each["counts"]
    return dict(sorted(counts.items()))


def _message(name: str, session: date, switches: Sequence[Switch], away: Mapping[str, str]) -> str:
    ways = Counter((each.before or "nothing", each.after) for each in switches)
    told = "; ".join(
        f"{n} assets come from {after} instead of {before}" for (before, after), n in ways.items()
    )
    named = ", ".join(each.asset for each in switches[:NAMED])
    more = ", …" if len(switches) > NAMED else ""
    gaps = [each.overlap.gap for each in switches if each.overlap is not None]
    proof = f"; returns agree within {max(gaps) * 1e4:.2g} basis points" if gaps else ""
    return (
        f"{name} {session}: {told} ({named}{more}){proof}. {len(away)} assets are not the first "
        f"source's now; they go back by themselves. alphad data --market {name} lists the switches"
    )
