"""A feed behind another: where the first has no bars, the second is asked.

A series is one provider's until another proves on it that it tells the same: adjusted returns
within 5 basis points on 60 sessions that are stored, and the same price where the two meet. The
change is a `Switch`, to be stored with the bars; the way back is proved in the same manner. Bars
from before a switch are the former provider's, and the new one never rewrites them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from operator import attrgetter
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from daemon.feeds.eastmoney_history import by_session
from daemon.feeds.protocol import FAILURES, Parsed, Request
from daemon.feeds.switch import COMPARED, Switch, prove_overlap
from signals.errors import BarsError, FeedError

#: Returns the stored bars of an asset as traded, in `BAR_SCHEMA`; no row where there are none.
Stored = Callable[[str], Any]


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
    """

    switches: tuple[Switch, ...] = ()


class _Part(NamedTuple):
    """What one provider gave of some assets."""

    table: Any
    missing: Mapping[str, str]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    switches: tuple[Switch, ...] = ()
    error: FeedError | None = None


class FallbackFeed:
    """A primary feed and a secondary one for what it lacks.

    Parameters
    ----------
    primary, secondary : Source
        Of the same market, with different names.
    stored : callable
        See `Stored`.
    switched : callable of str to Switch or None
        The last switch of an asset that was stored; None where the primary has always served it.
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
        switched: Callable[[str], Switch | None],
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

        A secondary that fails costs nothing but its own bars. An asset whose secondary may not take
        over stays missing, with the primary's outcome and why.

        Raises
        ------
        FeedError
            The primary failed and the secondary left more than the budget open: the primary's
            error. Or nobody knows which assets to ask for.
        """
        assets = self._assets(request)
        last = {asset: self._switched(asset) for asset in assets}
        away = [
            asset
            for asset, switch in last.items()
            if switch is not None and switch.after == self._secondary.name
        ]
        at_home = [asset for asset in assets if asset not in set(away)]
        home = self._own(self._primary, request, at_home, last)
        if home.error is None:
            back = self._taken(self._primary, self._secondary, request, away)
        else:  # it would fail again
            back = home._replace(missing=dict.fromkeys(away, f"failed: {home.error.fact}"))
        over = self._taken(self._secondary, self._primary, request, [*home.missing])
        stay = self._own(self._secondary, request, [*back.missing], last)
        still = {  # the primary's outcome stands first
            asset: f"{first.missing[asset]}; {self._secondary.name}: {reason}"
            for first, second in ((home, over), (back, stay))
            for asset, reason in second.missing.items()
        }
        error = home.error or (back.error if not at_home else None)
        if error is not None:
            self._judge(request, error, assets, still)
        parts = (home, back, over, stay)
        return Joined(
            by_session([part.table for part in parts if part.table.num_rows]),
            still,
            {asset: sha for part in parts for asset, sha in part.sources.items()},
            tuple(warning for part in parts for warning in part.warnings),
            tuple(
                sorted((each for part in parts for each in part.switches), key=attrgetter("asset"))
            ),
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

    def _own(
        self,
        feed: Source,
        request: Request,
        assets: Sequence[str],
        last: Mapping[str, Switch | None],
    ) -> _Part:
        """Ask a provider for series that are its own; bars from before it took over are left."""
        part = _asked(feed, request, assets)
        taken = {asset: last[asset] for asset in part.sources if asset in last}
        since = {asset: each.session for asset, each in taken.items() if each is not None}
        if not since:
            return part
        table = _filtered(part.table, lambda asset, day: asset not in since or day >= since[asset])
        there = set(table.column("asset").to_pylist())
        gone = {
            asset: "empty: no bar since it took over"
            for asset in part.sources
            if asset not in there
        }
        sources = {asset: sha for asset, sha in part.sources.items() if asset in there}
        return part._replace(table=table, missing={**part.missing, **gone}, sources=sources)

    def _taken(self, feed: Source, other: Source, request: Request, assets: Sequence[str]) -> _Part:
        """Ask a provider for series of the other one, and let it take over what it proves."""
        stored = {asset: self._stored(asset) for asset in assets}
        days = {asset: _days(table) for asset, table in stored.items()}
        sessions = {*request.sessions}.union(*(each[-COMPARED:] for each in days.values()))
        part = _asked(feed, replace(request, sessions=tuple(sorted(sessions))), assets)
        wanted, missing, switches = set(request.sessions), dict(part.missing), []
        kept: dict[str, set[date]] = {}
        for asset in part.sources:
            rows = part.table.filter(pc.equal(part.table.column("asset"), asset))
            # what the other provider has told stays as it was told
            until = days[asset][-1] if days[asset] else None
            new = [day for day in _days(rows) if day in wanted and (until is None or day > until)]
            if not new:
                missing[asset] = "empty: no bar of a session that is not stored"
                continue
            try:
                overlap = prove_overlap(stored[asset], rows) if until is not None else None
            except BarsError as error:
                missing[asset] = f"not taken over: {error.fact}"
                continue
            kept[asset] = set(new)
            before = other.name if until is not None else ""
            switches.append(Switch(asset, before, feed.name, new[0], overlap))
        return part._replace(
            table=_filtered(part.table, lambda asset, day: day in kept.get(asset, ())),
            missing=missing,
            sources={asset: sha for asset, sha in part.sources.items() if asset in kept},
            warnings=(*part.warnings, *map(str, switches)),
            switches=tuple(switches),
        )

    def _judge(
        self,
        request: Request,
        error: FeedError,
        assets: Sequence[str],
        still: Mapping[str, str],
    ) -> None:
        """Raise the primary's error unless the secondary has filled in for it."""
        left = [asset for asset, why in still.items() if why.partition(":")[0] in FAILURES]
        allowed = max(1, int(self._max_failed * len(assets) + 1e-9))
        if len(left) <= allowed and len(left) < len(assets):
            return
        raise FeedError(
            f"{error.fact}; {self._secondary.name} left {len(left)} of {len(assets)} assets of "
            f"{request.market} open" + (f" ({left[0]}: {still[left[0]]})" if left else ""),
            rule=error.rule,
            hint=error.hint,
            retryable=error.retryable,
        ) from error


def _asked(feed: Source, request: Request, assets: Sequence[str]) -> _Part:
    """Return what a provider gives of some assets; its failure is a reason of each."""
    if not assets:
        return _Part(by_session([]), {}, {}, ())
    try:
        parsed = feed.fetch_parsed(replace(request, assets=tuple(assets)))
    except FeedError as error:
        missing = dict.fromkeys(assets, f"failed: {error.fact}")
        return _Part(by_session([]), missing, {}, (f"{feed.name}: {error.fact}",), (), error)
    return _Part(parsed.table, parsed.missing, parsed.sources, parsed.warnings)


def _column(table: Any, name: str) -> list[Any]:
    values: list[Any] = table.column(name).to_pylist()
    return values


def _days(table: Any) -> list[date]:
    """Return the sessions of a table of one asset, ascending."""
    return sorted(_column(table, "session"))


def _filtered(table: Any, keeps: Callable[[str, date], bool]) -> Any:
    """Return the rows that are kept."""
    pairs: Iterable[tuple[str, date]] = zip(
        _column(table, "asset"), _column(table, "session"), strict=True
    )
    mask = np.fromiter((keeps(asset, day) for asset, day in pairs), bool, table.num_rows)
    return table.filter(pa.array(mask))
