"""Each fault of the stand-ins in turn on a small live market, and what came of it.

A fault lasts over the first fetch of a session and the second one, half an hour later, unless it is
said to pass; then it is switched off and the session is lived to its end. What matters: whatever is
published as anything but `provisional` was computed from bars that are the truth.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np

from bench.live_equality import dense
from bench.live_sent import PRICES
from tests.daemon.live import LiveMarket, live_market, small_book
from tests.standins.book import MarketBook

#: The session the market is started at.
BEGUN = 150
#: Relative distances from the truth that are none: of prices, of volumes, of factors.
PRICE, VOLUME, FACTOR = 1e-6, 1e-6, 2e-3
#: Shares that volumes may be off beside that: lots that were divided by 100 are brought back to
#: within half of 10,000 shares.
SHARES = {"us": 100.0, "cn": 5001.0}
#: The host that tells an index's members, by market.
LISTS = {"us": "en.wikipedia.org", "cn": "oss-ch.csindex.com.cn"}


@dataclass(frozen=True)
class Scenario:
    """A fault, whom it strikes and how long.

    Parameters
    ----------
    fault : str
        A key of `tests.standins.faults.FAULTS`.
    whom : str
        "all", "one" asset, or the "list" of members.
    last_row : bool
        Whether it concerns the session's row alone.
    passes : bool
        Whether it is over before the second fetch.
    """

    fault: str
    whom: str = "all"
    last_row: bool = False
    passes: bool = False

    def __str__(self) -> str:
        more = [self.whom] * (self.whom != "all")
        more += ["its last row"] * self.last_row + ["passes"] * self.passes
        return f"{self.fault} ({', '.join(more)})" if more else self.fault

    def begin(self, alive: LiveMarket, session: date) -> str:
        """Switch the fault on and return whom it strikes."""
        asset = struck(alive.book, session)
        target = {"all": "*", "one": asset, "list": LISTS[alive.name]}[self.whom]
        alive.standin.faults.switch(self.fault, target, session=session if self.last_row else None)
        return target


_FAILING = (
    "429", "500", "404", "html", "reset", "hang", "truncated_json", "huge", "gzip_bomb", "empty",
)  # fmt: skip
_BOTH = (
    *(Scenario(fault) for fault in _FAILING),
    Scenario("500", "one"),
    Scenario("404", "one"),
    Scenario("empty", "one"),
    Scenario("nan_bar"),
    Scenario("nan_bar", "one"),
    Scenario("missing_session"),
    Scenario("missing_session", "one"),
    Scenario("partial_day", passes=True),
    Scenario("partial_day", "one", passes=True),
    Scenario("stale"),
    Scenario("stale", "one", passes=True),
    Scenario("lots_as_shares"),
    Scenario("lots_as_shares", "one"),
    Scenario("lots_as_shares", "one", last_row=True),
    Scenario("shares_as_lots"),
    Scenario("shares_as_lots", "one"),
    Scenario("shares_as_lots", "one", last_row=True),
    Scenario("price_x100"),
    Scenario("price_x100", last_row=True),
    Scenario("price_x100", "one"),
    Scenario("price_x100", "one", last_row=True),
    Scenario("swapped_columns"),
    Scenario("swapped_columns", "one"),
    Scenario("extra_field"),
    Scenario("500", "list"),
    Scenario("html", "list"),
    Scenario("duplicate_constituents", "list"),
    Scenario("short_constituents", "list"),
    Scenario("mass_change", "list"),
)
#: Faults that no second look can tell, because both tell the same: the table shows what they do.
PERSISTENT = (Scenario("partial_day"), Scenario("partial_day", "one"), Scenario("stale", "one"))
SCENARIOS = {
    "us": _BOTH,
    "cn": (*_BOTH, Scenario("dash"), Scenario("dash", "one"), Scenario("negative_qfq")),
}


@dataclass
class Outcome:
    """What came of a scenario.

    Parameters
    ----------
    verdict : str
        Of the gate or of the feed, at the first fetch.
    stored, wrong : int
        Bars of the session stored before the fault was switched off, and those not the truth.
    published, afterwards : list of str
        Statuses while it lasted, and after it.
    alerts : list of str
        Keys of the alerts that were open while it lasted.
    violations : list of str
        Bars that are not the truth and that a publication was computed from that is not
        provisional.
    """

    verdict: str = ""
    stored: int = 0
    wrong: int = 0
    published: list[str] = field(default_factory=list)
    afterwards: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run(market: str, *, only: str | None = None) -> bool:
    """Print the table of a market; return whether nothing wrong was published as final."""
    chosen = [each for each in SCENARIOS[market] if only is None or each.fault == only]
    found = {}
    print(
        f"faults {market}: {'fault':<34} {'published':<26} {'after it':<26} stored wrong  seconds"
    )
    for scenario, outcome in lived(market, chosen):
        found[scenario] = outcome
        print(row_of(scenario, outcome), flush=True)
    bad = {each: outcome for each, outcome in found.items() if outcome.violations}
    print(f"{len(found)} faults, wrong bars under a publication that is final: {len(bad)}")
    stuck = [str(each) for each, outcome in found.items() if not settled(outcome)]
    print(f"sessions that ended otherwise than final: {', '.join(stuck) or 'none'}")
    for scenario, outcome in bad.items():
        print(f"  {scenario}: {outcome.violations[:3]}")
    persisted = [each for each in PERSISTENT if only is None or each.fault == only]
    if persisted:
        print("told the same twice, which no second fetch can tell:")
        for scenario, outcome in lived(market, persisted):
            print(row_of(scenario, outcome) + f" {len(outcome.violations)} wrong under final")
    return not bad


def lived(market: str, chosen: list[Scenario] | tuple[Scenario, ...]) -> Iterator[
    tuple[Scenario, Outcome]
]:  # fmt: skip
    """Live through one scenario after the other, a session each, and one sound session between."""
    with tempfile.TemporaryDirectory() as folder:
        book = small_book(market)
        with live_market(Path(folder), book, BEGUN, feed={"request_seconds": 3.0}) as alive:
            alive.lived(BEGUN)
            for number, scenario in enumerate(chosen):
                yield scenario, live_through(alive, BEGUN + 1 + 2 * number, scenario)
                alive.lived(BEGUN + 2 + 2 * number)


def live_through(alive: LiveMarket, number: int, scenario: Scenario) -> Outcome:
    """Live through a session under a fault, and after it."""
    outcome, begun = Outcome(), time.perf_counter()
    n_verdicts = len(alive.verdicts())
    session = alive.until(number)
    scenario.begin(alive, session)
    _tick(alive, session, outcome, outcome.published)
    outcome.verdict = _verdict(alive, n_verdicts)
    outcome.alerts = sorted(alive.alerts())
    if scenario.passes:
        alive.standin.faults.clear()
    alive.later(minutes=31)
    _tick(alive, session, outcome, outcome.published)
    outcome.alerts = sorted({*outcome.alerts, *alive.alerts()})
    there, wrong = stored_bars(alive, session, session)
    outcome.stored, outcome.wrong = there, len(wrong)
    alive.standin.faults.clear()
    for minutes in (31, 31, 31, 240):
        if settled(outcome):
            break
        alive.later(minutes=minutes)
        _tick(alive, session, outcome, outcome.afterwards)
    outcome.seconds = time.perf_counter() - begun
    return outcome


def settled(outcome: Outcome) -> bool:
    """Say whether the session's last publication is more than provisional."""
    every = [*outcome.published, *outcome.afterwards]
    return bool(every) and every[-1] != "provisional"


def struck(book: MarketBook, session: date) -> str:
    """Return a member that has a bar on a session and no event around it."""
    row = book.days.index(session)
    around = slice(row - 5, row + 3)
    for asset in book.members(session):
        column = book.columns[asset]
        calm = (book.adjustment[around, column] == 1.0).all()
        if calm and book.present[around, column].all() and not book.suspended[around, column].any():
            return asset
    raise ValueError(f"every asset has an event about {session}")


def stored_bars(alive: LiveMarket, first: date, last: date) -> tuple[int, list[str]]:
    """Return how many bars are stored, and those that are not the truth."""
    book, when = alive.book, alive.clock.now()
    table = alive.context.bars.bars(alive.name, as_of=when, first=first, last=last)
    table = table.filter(~np.asarray(table["suspended"]))
    stored = dense(book, table)
    there = np.isfinite(stored["close"])
    wrong = np.zeros_like(there)
    for name in PRICES:
        wrong |= np.abs(stored[name] - book.values[name]) > PRICE * book.values[name]
    volume = book.values["volume"]
    wrong |= np.abs(stored["volume"] - volume) > VOLUME * volume + SHARES[book.market]
    event = np.abs(np.log(stored["adjustment"] / book.adjustment)) > FACTOR
    event[np.argmax(there, axis=0), np.arange(there.shape[1])] = False
    wrong = there & (wrong | event | ~book.present)
    rows, columns = np.nonzero(wrong)
    cells = [f"{book.days[r]} {book.assets[c]}" for r, c in zip(rows, columns, strict=True)]
    return int(there.sum()), cells


def row_of(scenario: Scenario, outcome: Outcome) -> str:
    """Return a line of the table and the two that explain it."""
    told = ", ".join(outcome.published) or "nothing"
    after = ", ".join(outcome.afterwards) or "–"
    return (
        f"{scenario!s:<34} {told:<26} {after:<26} {outcome.stored:>6} {outcome.wrong:>5} "
        f"{outcome.seconds:>8.1f}\n    verdict: {outcome.verdict}\n"
        f"    alerts: {', '.join(outcome.alerts) or 'none'}"
    )


def _tick(alive: LiveMarket, session: date, outcome: Outcome, statuses: list[str]) -> None:
    """Let the loop come round; judge what was published."""
    before = len(alive.publications())
    alive.tick()
    for record in alive.publications()[before:]:
        if record.session != session:
            continue
        statuses.append(str(record.status_text))
        if record.status_text != "provisional":
            outcome.violations += stored_bars(alive, alive.book.days[0], session)[1]


def _verdict(alive: LiveMarket, known: int) -> str:
    """Return what the gate said of the first fetch, or why there was none."""
    run = max(alive.runs(), key=lambda each: (each.session, each.revision))
    if run.error:
        return run.error.splitlines()[0][:160]
    said = Counter(
        f"{outcome} {'' if rule == '' else rule}".strip()
        for outcome, _, rule in alive.verdicts()[known:]
    )
    facts = alive.facts()
    more = [f"members: {facts['membership']}"] if facts.get("membership") not in (
        "unchanged", None) else []  # fmt: skip
    return "; ".join([*(f"{n} × {each}" for each, n in said.most_common(3)), *more])
