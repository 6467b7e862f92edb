"""A 4-for-1 split that restates ten years of Yahoo's "Close", as the store takes it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np

from bench.live_market import opened
from bench.live_sessions import fill
from daemon.stages.live_fetch import rotation
from signals.panel import Panel
from tests.daemon.live import LiveMarket
from tests.standins.book import MarketBook

#: Sessions of history, and after it.
YEARS, AFTER = 10, 27
RATIO = 4.0


@dataclass(frozen=True)
class Split:
    """What a split did to the store.

    Parameters
    ----------
    sessions : int
        Sessions of the asset's history that its provider tells at a quarter since.
    probed : bool
        Whether the whole history was compared on the session of the split.
    vintages : tuple of (str, int)
        Cause and rows of what was written for the session of the split.
    returns : float
        Largest absolute difference between the adjusted log returns before it and after it.
    same_panel, same_bars : bool
        Whether what was known the evening before reads the same bytes as it did then.
    restated : dict
        What the run counts as restated.
    """

    sessions: int
    probed: bool
    vintages: tuple[tuple[str, int], ...]
    returns: float
    same_panel: bool
    same_bars: bool
    restated: dict[str, int]

    @property
    def holds(self) -> bool:
        """Whether the split is one row with its cause, and nothing else has changed."""
        splits = [rows for cause, rows in self.vintages if cause == "split"]
        others = {cause for cause, _ in self.vintages} - {"split", "session"}
        quiet = not others and not self.restated
        return (
            splits == [1] and quiet and self.returns == 0.0 and self.same_panel and self.same_bars
        )


def run(n_assets: int = 30, years: int = YEARS) -> bool:
    """Print the line; return whether it is as it should be."""
    with tempfile.TemporaryDirectory() as folder:
        found = probe(Path(folder), n_assets, years)
    print(
        f"split: {RATIO:g}-for-1, {found.sessions} closes told at a quarter, "
        f"{'the whole history' if found.probed else 'ten sessions'} compared; written "
        f"{', '.join(f'{cause} {rows} rows' for cause, rows in found.vintages)}; restated "
        f"{found.restated or 'nothing'}; adjusted returns differ by at most {found.returns:.1e}; "
        f"as_of the evening before: panel {_same(found.same_panel)}, bars {_same(found.same_bars)}"
    )
    return found.holds


def probe(folder: Path, n_assets: int, years: int = YEARS) -> Split:
    """Live through a session, and through one with a split of an asset whose history is probed."""
    last = date(2023, 12, 29)
    book = MarketBook.synthetic(
        "us", n_assets, last.replace(year=last.year - years), last, seed=1, n_members=n_assets - 1
    )
    with opened(folder, book, len(book.days) - AFTER, ingest={"min_assets": 3}) as (alive, _):
        number, name = _when(alive, len(book.days) - AFTER)
        session = alive.until(number)
        fill(alive, book.days[number - 1])
        alive.lived(number)
        evening = alive.clock.now()
        known, bars = _panel(alive, evening, session), _bars(alive, evening, session)
        n_vintages = len(alive.vintages())
        following = book.days[number + 1]
        alive.standin.book = book.with_event(name, following, split=RATIO)
        alive.lived(number + 1)
        again = _panel(alive, evening, session)
        now = _panel(alive, alive.clock.now(), following)
        return Split(
            sessions=int(book.present[: number + 1, book.columns[name]].sum()),
            probed=name in rotation(alive.market, following, book.members(following)),
            vintages=tuple((v.cause, v.n_rows) for v in alive.vintages()[n_vintages:]),
            returns=_apart(known, now, name),
            same_panel=_bytes(known) == _bytes(again),
            same_bars=bars.equals(_bars(alive, evening, session)),
            restated=dict(alive.facts()["restated_bars"]),
        )


def _when(alive: LiveMarket, begin: int) -> tuple[int, str]:
    """Return a session after whose next one an asset without an event has its turn."""
    book = alive.book
    for number in range(begin, len(book.days) - 1):
        following = book.days[number + 1]
        for name in rotation(alive.market, following, book.members(following)):
            column = book.columns[name]
            quiet = (book.adjustment[number - 10 : number + 2, column] == 1.0).all()
            if quiet and book.present[:, column].all():
                return number, name
    raise ValueError("nobody has its turn: take more assets")


def _panel(alive: LiveMarket, as_of: datetime, last: date) -> Panel:
    return alive.context.bars.panel(alive.name, as_of=as_of, last_session=last)


def _bars(alive: LiveMarket, as_of: datetime, last: date) -> Any:
    first = alive.book.days[0]
    return alive.context.bars.bars(alive.name, as_of=as_of, first=first, last=last)


def _bytes(panel: Panel) -> tuple[bytes, ...]:
    return (
        panel.sessions.tobytes(),
        "\n".join(panel.assets).encode(),
        *(np.ascontiguousarray(plane).tobytes() for plane in panel.fields.values()),
    )


def _apart(old: Panel, new: Panel, name: str) -> float:
    """Return the largest difference between an asset's log returns in two panels."""
    n = len(old.sessions)
    first, second = (
        np.diff(np.log(panel.fields["close"][:n, panel.assets.index(name)])) for panel in (old, new)
    )
    return float(np.nanmax(np.abs(first - second)))


def _same(equal: bool) -> str:  # noqa: FBT001
    return "the same bytes" if equal else "OTHER BYTES"
