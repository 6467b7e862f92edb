"""How often each mechanism is drawn: what has survived counts, and what has decayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

from miner.causes import Mechanism
from miner.memory import Memory, Tally

T = TypeVar("T")

#: Share of all draws that every mechanism gets a like part of, whatever became of it.
FLOOR = 0.4
#: Candidates a tally counts for at most, so that no verdict is final.
EVIDENCE = 50.0


def mechanism_weights(
    mechanisms: Sequence[Mechanism], memory: Memory, rng: Generator
) -> tuple[float, ...]:
    """Return the chance of each mechanism to be drawn; they add up to 1.

    A mechanism's rate of survivors is drawn from what its tally leaves open (a beta distribution:
    Thompson sampling) and divided by 1 + the number of its factors that have decayed.
    """
    deaths = Counter(decayed.mechanism for decayed in memory.decayed)
    rates = [
        _rate(memory.tallies.get(mechanism.name, Tally()), rng) / (1 + deaths[mechanism.name])
        for mechanism in mechanisms
    ]
    even = FLOOR / len(mechanisms)
    return tuple(even + (1.0 - FLOOR) * rate / sum(rates) for rate in rates)


def weighted(items: Sequence[tuple[T, float]], rng: Generator) -> T:
    """Return one item at random by weight."""
    point = rng.random() * sum(weight for _, weight in items)
    for item, weight in items:
        point -= weight
        if point < 0:
            return item
    return items[-1][0]


def _rate(tally: Tally, rng: Generator) -> float:
    """Return a draw of the share that survives, given a tally."""
    trust = min(1.0, EVIDENCE / max(tally.measured, 1))
    lived = trust * tally.survived
    return float(rng.beta(1.0 + lived, 4.0 + trust * tally.measured - lived))
