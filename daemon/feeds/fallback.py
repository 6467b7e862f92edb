"""A feed behind another: where the first has no bars, the second is asked.

A series is one provider's until another proves on it that it tells the same: adjusted returns
within 5 basis points on 60 sessions that are stored, and the same price where the two meet. The
change is a `Switch`, to be stored with the bars; the way back is proved in the same manner. A bar
is its provider's for good: the other one never rewrites it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from daemon.feeds.eastmoney_history import by_session
from daemon.feeds.protocol import FAILURES, Parsed, Request
from daemon.feeds.switch import (
    COMPARED,
    Switch,
    Switches,
    prove_overlap,
    provider_on,
    told_switches,
)
from signals.errors import BarsError, FeedError

#: Returns the stored bars of some assets as traded, in `BAR_SCHEMA`, by session and asset.
Stored = Callable[[Sequence[str]], Any]
#: A reason of the primary's that begins so is mended by a longer window, which it is asked first.
UNFACTORED = "adjustment"
#: Why there is no bar of a series that is the other provider's.
NOTHING_NEW = "empty: no bar of a session that is not stored"
NOT_TAKEN_OVER = "not taken over"


class Source(Protocol):
    """One of the two feeds: a `daemon.feeds.provider.ProviderFeed`."""

    @property
    def name(self) -> str:
        """Short name."""
        ...

    @property
    def reconstructed(self) -> bool:
        """As `daemon.feeds.protocol.Feed` has it."""
        ...

    def history(self, last: date) -> date | None:
        """Return the first session there are bars of."""
        ...

    def fetch_parsed(self, request: Request) -> Parsed:
        """Return the bars there are, and what is missing."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Joined(Parsed):
    """Bars of two providers, and the switches between them that these bars make.

    Parameters
    ----------
    switches : tuple of Switch
        By asset; to be stored if the bars are.
    providers : mapping of str to str
        Each asset with bars, and who told them.
    """

    switches: tuple[Switch, ...] = ()
    providers: Mapping[str, str] = field(default_factory=dict)


class _Part(NamedTuple):
    """What one provider gave of some assets."""

    table: Any
    missing: Mapping[str, str]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    switches: tuple[Switch, ...] = ()
    error: FeedError | None = None
    levels: Mapping[date, float] = {}


class FallbackFeed:
    """A primary feed and a secondary one for what it lacks.

    Parameters
    ----------
    primary, secondary : Source
        Of the same market, with different names.
    stored : callable
        See `Stored`.
    switched : callable of no argument to Switches
        Every switch that was stored; an asset without one has always been the primary's.
    universe : callable of a sequence of date to a sequence of str, or None
        The assets of sessions, asked for when a request names none.
    max_failed : float
        Largest share of the assets that may be left over when the primary failed as a whole.
    """

    def __init__(
        self,
        primary: Source,
        secondary: Source,
        *,
        stored: Stored,
        switched: Callable[[], Switches],
        universe: Callable[[Sequence[date]], Sequence[str]] | None = None,
        max_failed: float = 0.02,
    ) -> None:
        self.name = primary.name
        self.reconstructed = primary.reconstructed
        self.sources = (primary, secondary)
        self._primary = primary
        self._secondary = secondary
        self._stored = stored
        self._switched = switched
        self._universe = universe
        self._max_failed = max_failed

    def history(self, last: date) -> date | None:
        """Return the primary's first session."""
        return self._primary.history(last)

    def fetch(self, request: Request) -> Any:
        """Return the bars of `fetch_parsed`."""
        return self.fetch_parsed(request).table

    def fetch_parsed(self, request: Request) -> Joined:
        """Return the bars of either provider, what is missing with both reasons, and switches.

        A secondary that fails costs nothing but its own bars. An asset whose other provider may not
        take over stays missing: the outcome of its own stands first.

        Raises
        ------
        FeedError
            A provider failed, and more than the budget of the assets that are its own have no bar:
            its error. Or nobody knows which assets to ask for.
        """
        assets = self._assets(request)
        switches = self._switched()
        away = [
            asset
            for asset in assets
            if asset in switches and switches[asset][-1].after == self._secondary.name
        ]
        at_home = [asset for asset in assets if asset not in set(away)]
        home = self._home(request, at_home, switches)
        if home.error is None:
            back = self._taken(self._primary, self._secondary, request, away)
        else:  # it would fail again
            gone = dict.fromkeys(away, f"failed: {home.error.fact}")
            back = home._replace(missing=gone, warnings=())
        lacking = [*home.missing, *self._behind(home, request)]
        over = self._taken(self._secondary, self._primary, request, lacking)
        since = {each.asset: each.session for each in over.switches}
        if since:
            whole = home.table
            home = home._replace(
                table=_filtered(whole, lambda name, day: name not in since or day < since[name])
            )
        stay = self._own(self._secondary, request, [*back.missing], switches)
        still = {  # the reason of a series' own provider, and then the other one's
            **_left(home, over, self._secondary.name),
            **_left(stay, back, self._primary.name),
        }
        self._judge(request, home.error or stay.error, assets, still)
        parts = (home, back, over, stay)
        told_by = (self._primary, self._primary, self._secondary, self._secondary)
        return Joined(
            by_session([part.table for part in parts if part.table.num_rows]),
            {asset: "; ".join(reasons) for asset, reasons in still.items()},
            {asset: sha for part in parts for asset, sha in part.sources.items()},
            (
                *(warning for part in parts for warning in part.warnings),
                *(
                    f"{asset} stays with {self._secondary.name}: {why}"
                    for asset, why in back.missing.items()
                    if why.startswith(NOT_TAKEN_OVER)
                ),
            ),
            home.levels or back.levels,
            tuple(
                sorted((each for part in parts for each in part.switches), key=attrgetter("asset"))
            ),
            {
                asset: feed.name
                for part, feed in zip(parts, told_by, strict=True)
                for asset in part.sources
            },
        )

    def _assets(self, request: Request) -> list[str]:
        assets = request.assets
        if assets is None and self._universe is not None:
            assets = tuple(self._universe(request.sessions))
        if not assets:
            raise FeedError(
                f"{self.name} is to be asked for all of {request.market}, and no asset is known",
                rule="a provider is asked asset by asset",
                hint="give the market a membership",
            )
        return list(dict.fromkeys(assets))

    def _home(self, request: Request, assets: Sequence[str], switches: Switches) -> _Part:
        """Ask the primary for its own series; for those without a factor, for a longer window."""
        part = self._own(self._primary, request, assets, switches)
        again = [asset for asset, why in part.missing.items() if why.startswith(UNFACTORED)]
        days = _days(self._stored(again)) if again and len(request.sessions) == 1 else []
        before = [day for day in days if day < request.sessions[0]]
        if not before:
            return part
        longer = replace(request, sessions=(before[-1], *request.sessions))
        more = self._own(self._primary, longer, again, switches)
        wanted = set(request.sessions)
        there = _filtered(more.table, lambda _, day: day in wanted)
        found = set(_column(there, "asset"))
        return part._replace(
            table=by_session([each for each in (part.table, there) if each.num_rows]),
            missing={asset: why for asset, why in part.missing.items() if asset not in found},
            sources={**part.sources, **{asset: more.sources[asset] for asset in found}},
            warnings=(*part.warnings, *more.warnings),
        )

    def _behind(self, part: _Part, request: Request) -> list[str]:
        """Return whose last session is not told though the sessions before it are stored."""
        first, last = request.sessions[0], request.sessions[-1]
        rows = zip(_column(part.table, "asset"), _column(part.table, "session"), strict=True)
        told = {asset for asset, day in rows if day == last}
        lacking = [asset for asset in part.sources if asset not in told]
        if not lacking:
            return []
        stored = _by_asset(self._stored(lacking), lacking)
        days = {asset: _days(table) for asset, table in stored.items()}
        return [asset for asset in lacking if days[asset] and first <= days[asset][-1] < last]

    def _own(
        self, feed: Source, request: Request, assets: Sequence[str], switches: Switches
    ) -> _Part:
        """Ask a provider for series that are its own; bars that are the other's are left out."""
        part = _asked(feed, request, assets)
        shared = {asset: switches[asset] for asset in part.sources if asset in switches}
        if not shared:
            return part
        primary = self._primary.name
        table = _filtered(
            part.table,
            lambda asset, day: (
                asset not in shared or provider_on(shared[asset], day, primary) == feed.name
            ),
        )
        there = set(_column(table, "asset"))
        gone = {
            asset: "empty: no bar that is its own" for asset in part.sources if asset not in there
        }
        sources = {asset: sha for asset, sha in part.sources.items() if asset in there}
        return part._replace(table=table, missing={**part.missing, **gone}, sources=sources)

    def _taken(self, feed: Source, other: Source, request: Request, assets: Sequence[str]) -> _Part:
        """Ask a provider for series of the other one, and let it take over what it proves."""
        if not assets:
            return _asked(feed, request, ())
        stored = _by_asset(self._stored(assets), assets)
        days = {asset: _days(table) for asset, table in stored.items()}
        # what the other provider has told stays as it was told
        new = [
            asset for asset in assets if not days[asset] or days[asset][-1] < request.sessions[-1]
        ]
        sessions = {*request.sessions}.union(*(days[asset][-COMPARED:] for asset in new))
        part = _asked(feed, replace(request, sessions=tuple(sorted(sessions))), new)
        rows = _by_asset(part.table, [*part.sources])
        wanted = set(request.sessions)
        missing = dict.fromkeys(assets, NOTHING_NEW) | dict(part.missing)
        switches, kept = [], dict[str, set[date]]()
        for asset in part.sources:
            until = days[asset][-1] if days[asset] else date.min
            later = [day for day in _days(rows[asset]) if day in wanted and day > until]
            if not later:
                continue
            try:
                overlap = prove_overlap(stored[asset], rows[asset]) if days[asset] else None
            except BarsError as error:
                missing[asset] = f"{NOT_TAKEN_OVER}: {error.fact}"
                continue
            kept[asset] = set(later)
            before = other.name if days[asset] else ""
            switches.append(Switch(asset, before, feed.name, later[0], overlap))
        return part._replace(
            table=_filtered(part.table, lambda asset, day: day in kept.get(asset, ())),
            missing={asset: why for asset, why in missing.items() if asset not in kept},
            sources={asset: sha for asset, sha in part.sources.items() if asset in kept},
            warnings=(*part.warnings, *told_switches(switches)),
            switches=tuple(switches),
        )

    def _judge(
        self,
        request: Request,
        error: FeedError | None,
        assets: Sequence[str],
        still: Mapping[str, tuple[str, str]],
    ) -> None:
        """Raise a provider's error unless the other one has filled in for it."""
        left = [asset for asset, (why, _) in still.items() if why.partition(":")[0] in FAILURES]
        allowed = max(1, int(self._max_failed * len(assets) + 1e-9))
        if error is None or (len(left) <= allowed and len(left) < len(assets)):
            return
        raise FeedError(
            f"{error.fact}; {len(left)} of {len(assets)} assets of {request.market} have no other "
            "source" + (f" ({left[0]}: {still[left[0]][1]})" if left else ""),
            rule=error.rule,
            hint=error.hint,
            retryable=error.retryable,
        ) from error


def _left(own: _Part, other: _Part, name: str) -> dict[str, tuple[str, str]]:
    """Return the assets that neither provider has, with both reasons."""
    return {
        asset: (why, f"{name}: {other.missing[asset]}")
        for asset, why in own.missing.items()
        if asset in other.missing
    }


def _asked(feed: Source, request: Request, assets: Sequence[str]) -> _Part:
    """Return what a provider gives of some assets; its failure is a reason of each."""
    if not assets:
        return _Part(by_session([]), {}, {}, ())
    try:
        parsed = feed.fetch_parsed(replace(request, assets=tuple(assets)))
    except FeedError as error:
        missing = dict.fromkeys(assets, f"failed: {error.fact}")
        return _Part(by_session([]), missing, {}, (f"{feed.name}: {error.fact}",), (), error)
    return _Part(parsed.table, parsed.missing, parsed.sources, parsed.warnings, levels=parsed.index)


def _column(table: Any, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _days(table: Any) -> list[date]:
    """Return the sessions of a table, ascending."""
    return sorted(set(_column(table, "session")))


def _by_asset(table: Any, assets: Sequence[str]) -> dict[str, Any]:
    """Return the rows of each asset, by session."""
    encoded = table.column("asset").combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices)
    place = {name: code for code, name in enumerate(encoded.dictionary.to_pylist())}
    order = np.argsort(codes, kind="stable")
    stops = np.searchsorted(codes[order], np.arange(len(place) + 1))
    return {
        asset: table.take(pa.array(order[stops[place[asset]] : stops[place[asset] + 1]]))
        if asset in place
        else table.slice(0, 0)
        for asset in assets
    }


def _filtered(table: Any, keeps: Callable[[str, date], bool]) -> Any:
    """Return the rows that are kept."""
    pairs: Iterable[tuple[str, date]] = zip(
        _column(table, "asset"), _column(table, "session"), strict=True
    )
    mask = np.fromiter((keeps(asset, day) for asset, day in pairs), bool, table.num_rows)
    return table.filter(pa.array(mask))
