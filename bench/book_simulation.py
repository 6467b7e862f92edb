"""How often the book's decay monitor is wrong, and how soon it is right, on simulated books.

`python -m bench.book_simulation [--books 60] [--seed 1]` prints, from the shipped code, in some ten
minutes:

- false `weakening` a year, for intact books;
- sessions from the day on which all factors die, half of them, or one, to `weakening`, beside the
  factors' own tests on the same ICs; how many factors are then said to be hit, and whose decay
  their own `decayed` is said to be.

ICs have Student-t noise with common and own volatility that moves, a common shock, labels that
overlap; means that wander, half of it in common; baselines with a winner's curse; missing days.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from signals.book_decay import BookState, BookVerdict, start_book, update_book, with_members
from signals.book_explanation import Attribution, attribution, breadth, explain_book
from signals.decay import (
    MonitorState,
    Verdict,
    false_alarm_threshold,
    start_monitor,
    update,
)
from signals.panel import FloatArray

#: Sessions of a baseline, and of a year.
BASELINE, YEAR = 500, 252
#: What may happen to a book, with the sessions it lasts; see `factors_hit`.
EVENTS = {"nothing": 0, "all": 10**6, "half": 10**6, "one": 10**6, "dip of 40": 40}


@dataclass(frozen=True)
class World:
    """What a simulated book is made of.

    Parameters
    ----------
    factors, horizon : int
        Live factors, and sessions their labels are held.
    correlation : float
        Of the factors' noise.
    curse : float
        Standard errors of its mean by which a baseline is too good.
    wander : float
        Standard deviation of a healthy mean, relative to it; half-life 60 sessions, half common.
    tenancy : float
        Mean sessions after which a factor is replaced by another; 0 is never.
    """

    factors: int = 12
    horizon: int = 1
    correlation: float = 0.3
    curse: float = 1.0
    wander: float = 0.3
    tenancy: float = 0.0


@dataclass
class Life:
    """What was said of one book: `weak` by session, and each own `decayed` by session."""

    weak: list[bool] = field(default_factory=list)
    decayed: dict[int, int] = field(default_factory=dict)
    attributions: list[Attribution] = field(default_factory=list)
    extents: list[str] = field(default_factory=list)


def wandering(rng: np.random.Generator, shape: tuple[int, ...], half_life: float) -> FloatArray:
    """Return standard normal AR(1) series along the last axis."""
    keep = 0.5 ** (1 / half_life)
    series = rng.standard_normal(shape)
    for t in range(1, shape[-1]):
        series[..., t] = keep * series[..., t - 1] + math.sqrt(1 - keep**2) * series[..., t]
    return series


def factors_hit(event: str, n: int) -> int:
    """Return how many of n factors an event hits; all in a dip."""
    return {"nothing": 0, "half": (n + 1) // 2, "one": 1}.get(event, n)


def simulated_ics(
    rng: np.random.Generator, world: World, sessions: int, event: str = "nothing", onset: int = 0
) -> FloatArray:
    """Return ICs of shape (factors, sessions); from `onset` on the event's factors earn nothing."""
    n, h, t = world.factors, world.horizon, sessions + world.horizon - 1
    mean = np.minimum(0.012 + rng.gamma(2.2, 0.010, (n, 1)), 0.09)
    sd = 0.095 * np.exp(0.22 * rng.standard_normal((n, 1)))
    volatility = np.exp(0.3 * wandering(rng, (t,), 15) + 0.2 * wandering(rng, (n, t), 15) - 0.065)
    shocks, own = (rng.standard_t(5, shape) * math.sqrt(3 / 5) for shape in ((t,), (n, t)))
    rho = world.correlation
    noise = sd * volatility * (math.sqrt(rho) * shocks + math.sqrt(1 - rho) * own)
    overlap = rng.uniform(0.5, 1.0) ** np.arange(h)
    overlap /= math.sqrt(float(overlap @ overlap))
    ics = np.stack([np.convolve(row, overlap, "valid") for row in noise])
    swing = wandering(rng, (sessions,), 60) + wandering(rng, (n, sessions), 60)
    level = 1 + world.wander / math.sqrt(2) * swing
    level[: factors_hit(event, n), onset : onset + EVENTS[event]] = 0
    ics += mean * level
    ics[:, :BASELINE] += world.curse * sd * overlap.sum() / math.sqrt(BASELINE)
    ics[rng.random(ics.shape) < 0.015] = np.nan
    return ics


def live(
    rng: np.random.Generator, world: World, sessions: int, event: str = "nothing", onset: int = 0
) -> Life:
    """Let the monitors of a book live through `sessions` after the baselines."""
    said, n = Life(), world.factors
    ics = simulated_ics(rng, world, BASELINE + sessions, event, BASELINE + onset)
    threshold = false_alarm_threshold(n)

    def started(baseline: FloatArray) -> MonitorState:
        return start_monitor(baseline, horizon=world.horizon, threshold=threshold)

    monitors = [started(row[:BASELINE]) for row in ics]
    book = start_book(ics[:, :BASELINE].T, monitors)
    for t in range(BASELINE, BASELINE + sessions):
        if world.tenancy and rng.random() < n / world.tenancy:
            seat = int(rng.integers(n))
            ics[seat] = simulated_ics(rng, World(1, world.horizon), BASELINE + sessions)[0]
            # the newcomer's baseline, with its luck, are the sessions before it
            ics[seat] = np.roll(ics[seat], t - BASELINE)
            monitors[seat] = started(ics[seat, t - BASELINE : t])
            book = with_members(book, ics[:, t - BASELINE : t].T, monitors)
        today = ics[:, t].tolist()
        book = update_book(book, list(zip(monitors, today, strict=True)))
        said.weak.append(book.verdict is BookVerdict.WEAKENING)
        for i, (monitor, ic) in enumerate(zip(monitors, today, strict=True)):
            monitors[i] = update(monitor, ic)
            fell = monitor.verdict is not monitors[i].verdict is Verdict.DECAYED
            if fell and t >= BASELINE + onset:
                said.decayed.setdefault(i, t - BASELINE - onset + 1)
        _listen(said, book, ics[:, BASELINE : t + 1], monitors, t - BASELINE - onset)
    return said


def _listen(
    said: Life, book: BookState, ics: FloatArray, monitors: list[MonitorState], since: int
) -> None:
    """Note what is said of the extent 20 sessions into a weakening, and of each own decay."""
    if since < 0:
        return
    if len(said.weak) > 20 and said.weak[-21:] == [False] + [True] * 20:
        said.extents.append(explain_book(book, ics.T, monitors).extent.value)
    late = [i for i, day in said.decayed.items() if day + 20 == since + 1]
    if late:
        found = breadth(book, ics.T, monitors)
        said.attributions += [attribution(monitors[i], book, found) for i in late]


def false_alarms(n_books: int, world: World, *, years: int = 2, seed: int = 1) -> float:
    """Return false `weakening` per year of an intact book that is not weakening."""
    alarms = healthy = 0
    for k in range(n_books):
        weak = live(np.random.default_rng([seed, k]), world, years * YEAR).weak
        alarms += sum(now and not before for before, now in zip([False, *weak], weak, strict=False))
        healthy += weak.count(False)
    return YEAR * alarms / max(healthy, 1)


@dataclass(frozen=True)
class Delays:
    """Sessions from an event to what was said of it; infinite where nothing was.

    Parameters
    ----------
    book, first, half : list of float
        To `weakening`, to the first own `decayed` of those hit, and to that of half of them; books
        that were weakening on the eve are left out.
    extents, attributions : Counter
        How many factors the book said are hit, 20 sessions into a weakening; whose decay each
        factor's own was said to be, 20 sessions after it.
    """

    book: list[float]
    first: list[float]
    half: list[float]
    extents: Counter[str]
    attributions: Counter[str]


def delays(n_books: int, world: World, event: str, *, within: int = 200, seed: int = 1) -> Delays:
    """Return the delays of `n_books` hit by one of `EVENTS` 60 to 149 sessions after the start."""
    found = Delays([], [], [], Counter(), Counter())
    hit = factors_hit(event, world.factors)
    for k in range(n_books):
        onset = 60 + 37 * k % 90
        said = live(np.random.default_rng([seed, k]), world, onset + within, event, onset)
        if said.weak[onset - 1]:
            continue
        after = said.weak[onset:]
        found.book.append(after.index(True) + 1 if True in after else math.inf)
        own = sorted(said.decayed.get(i, math.inf) for i in range(hit)) or [math.inf]
        found.first.append(own[0])
        found.half.append(own[(len(own) - 1) // 2])
        found.extents.update(said.extents[:1])
        found.attributions.update(a.value for a in said.attributions)
    return found


def _spread(values: list[float]) -> str:
    """Median / 90 % point."""
    ninth = sorted(values)[math.ceil(0.9 * len(values)) - 1]
    return "/".join("-" if math.isinf(x) else f"{x:.0f}" for x in (median(values), ninth))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--books", type=int, default=60, help="books a cell, of two years")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sizes = (3, 5, 12, 20)
    print("false weakening a year    ", *(f"{n:>7}" for n in sizes), " factors (budget 1.00)")
    usual = World()
    for name, world in {
        "as usual": usual,
        "correlation 0": replace(usual, correlation=0.0),
        "correlation 0.6": replace(usual, correlation=0.6),
        "horizon 5": replace(usual, horizon=5),
        "horizon 10": replace(usual, horizon=10),
        "winner's curse of 2 SE": replace(usual, curse=2.0),
        "replaced every 250": replace(usual, tenancy=250.0),
    }.items():
        rates = [false_alarms(args.books, replace(world, factors=n), seed=args.seed) for n in sizes]
        print(f"{name:26}", *(f"{rate:7.2f}" for rate in rates), flush=True)
    for event in EVENTS:
        print(f"\n{event}: sessions, median / 90 %")
        for n in sizes:
            found = delays(args.books // 2, World(n), event, seed=args.seed)
            share = sum(map(math.isfinite, found.book)) / len(found.book)
            print(
                f"{n:4} factors: weakening {_spread(found.book)} ({share:.0%}), own first "
                f"{_spread(found.first)}, own half {_spread(found.half)}; "
                f"{dict(found.extents)} {dict(found.attributions)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
