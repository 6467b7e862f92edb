"""Random expressions from a grammar typed by units: every one of them is scale-free."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import TypeAlias, TypeVar

from numpy.random import Generator

from miner.units import FIELD_UNITS, GROUPS, RATIO, Unit
from signals.expression import Constant, Expression, Field, call, fields
from signals.grammar import parse

T = TypeVar("T")

#: Windows a search knows; a ladder, so that a neighbour is a real change.
WINDOWS = (2, 3, 5, 10, 15, 20, 30, 40, 60)
#: Lags in sessions.
LAGS = (1, 2, 3, 5, 10, 20)
#: Quantiles.
SHARES = (0.2, 0.8)
#: Smallest window of a statistic that needs some values to mean anything.
MIN_STATISTIC_WINDOW = 5

#: How often a shallow pure number is one of `FEATURES`.
FEATURE_SHARE = 0.5
#: An exponential average looks ten spans back.
MAX_SPAN = 10

#: Operator, kinds of its arguments, weight.
Rule: TypeAlias = tuple[str, tuple[str, ...], float]

#: What a bar says in one number; the search's own words for returns, ranges and activity.
FEATURES = (
    "TS_PCTCHANGE($close, 1)",
    "$close / $open",
    "$open / DELAY($close, 1)",
    "$high / $low",
    "($close - $low) / ($high - $low)",
    "($high - MAX($open, $close)) / $close",
    "(MIN($open, $close) - $low) / $close",
    "TS_PCTCHANGE($volume, 1)",
    "$volume / TS_MEAN($volume, 20)",
    "TS_PCTCHANGE($close, 1) * ($volume / TS_MEAN($volume, 20))",
    "$close / TS_MEAN($close, 20)",
    "$amount / TS_MEAN($amount, 20)",
)

#: What a pure number is made of where the tree may still grow by one level only.
_FLAT: tuple[Rule, ...] = (
    ("TS_PCTCHANGE", ("level", "lag"), 2.0),
    ("DIVIDE", ("level", "level"), 4.0),
    ("DIVIDE", ("spread", "level"), 4.0),
    ("DIVIDE", ("spread", "spread"), 4.0),
    ("TS_CORR", ("any", "any", "window"), 4.0),
    ("TS_ZSCORE", ("any", "window"), 2.0),
    ("TS_RANK", ("any", "window"), 2.0),
    ("TS_SKEW", ("any", "window"), 1.5),
    ("TS_KURT", ("any", "window"), 0.7),
    ("TS_ARGMAX", ("any", "window"), 0.7),
    ("TS_ARGMIN", ("any", "window"), 0.7),
    ("SIGN", ("change",), 0.3),
)
#: What a pure number is made of besides, where the tree may grow by two levels.
_DEEP: tuple[Rule, ...] = (
    ("TS_MEAN", ("ratio", "window"), 4.0),
    ("TS_STD", ("ratio", "window"), 2.5),
    ("TS_MEDIAN", ("ratio", "window"), 0.7),
    ("TS_MAD", ("ratio", "window"), 0.7),
    ("TS_QUANTILE", ("ratio", "window", "share"), 0.7),
    ("TS_SKEW", ("ratio", "window"), 1.5),
    ("DELTA", ("ratio", "lag"), 1.0),
    ("DELAY", ("ratio", "lag"), 0.7),
    ("TS_MAX", ("ratio", "window"), 1.0),
    ("TS_MIN", ("ratio", "window"), 1.0),
    ("TS_ZSCORE", ("ratio", "window"), 1.0),
    ("TS_RANK", ("ratio", "window"), 1.0),
    ("DECAYLINEAR", ("ratio", "window"), 1.0),
    ("EMA", ("ratio", "window"), 1.0),
    ("TS_COVARIANCE", ("ratio", "ratio", "window"), 1.0),
    ("TS_CORR", ("ratio", "any", "window"), 4.0),
    ("TS_CORR", ("ranked", "ranked", "window"), 1.0),
    ("REGBETA", ("ratio", "ratio", "window"), 1.5),
    ("REGRESI", ("ratio", "ratio", "window"), 0.5),
    ("ABS", ("ratio",), 0.5),
    ("SIGN", ("ratio",), 0.3),
    ("MULTIPLY", ("ratio", "ratio"), 3.0),
    ("DIVIDE", ("ratio", "ratio"), 1.0),
    ("SUBTRACT", ("ratio", "ratio"), 1.0),
    ("ADD", ("ranked", "ranked"), 1.5),
    ("SUBTRACT", ("ranked", "ranked"), 1.5),
    ("MULTIPLY", ("ranked", "ranked"), 1.0),
    ("MAX", ("ranked", "ranked"), 0.3),
    ("MIN", ("ranked", "ranked"), 0.3),
    ("TS_MEAN", ("condition", "window"), 0.7),
    ("WHERE", ("condition", "ratio", "ratio or none"), 1.0),
)
#: What is added where the panel tells groups of assets apart.
_GROUPED: tuple[Rule, ...] = (
    ("GROUP_RANK", ("ratio", "group"), 2.0),
    ("GROUP_ZSCORE", ("ratio", "group"), 1.0),
    ("GROUP_MEAN", ("ratio", "group"), 1.0),
)
#: What a price, a number of shares or of money is made of; `same` is the unit itself.
_LEVEL: tuple[Rule, ...] = (
    ("TS_MEAN", ("same", "window"), 3.0),
    ("DELAY", ("same", "lag"), 3.0),
    ("TS_MAX", ("same", "window"), 1.5),
    ("TS_MIN", ("same", "window"), 1.5),
    ("EMA", ("same", "window"), 0.7),
    ("DECAYLINEAR", ("same", "window"), 0.7),
    ("TS_MEDIAN", ("same", "window"), 0.7),
    ("TS_QUANTILE", ("same", "window", "share"), 0.7),
    ("TS_STD", ("same", "window"), 1.0),
    ("TS_MAD", ("same", "window"), 0.5),
    ("DELTA", ("same", "lag"), 0.7),
    ("ADD", ("same", "same"), 0.3),
    ("MAX", ("same", "same"), 0.5),
    ("MIN", ("same", "same"), 0.5),
    ("WHERE", ("condition", "same", "none"), 0.3),
)
#: Questions: whether a price or a volume went up, or one series is above another.
_CONDITIONS: tuple[Rule, ...] = (
    ("GT", ("change", "none"), 3.0),
    ("GT", ("same", "same"), 1.5),
    ("GT", ("same", "usual"), 1.5),
    ("GT", ("ratio", "ratio"), 0.5),
)
_LAGGED = frozenset({"DELAY", "DELTA", "TS_PCTCHANGE"})
_STATISTICS = frozenset(
    ("TS_STD", "TS_MAD", "TS_SKEW", "TS_KURT", "TS_CORR", "TS_COVARIANCE", "TS_ZSCORE", "TS_RANK")
) | {"REGBETA", "REGRESI", "TS_QUANTILE", "TS_MEDIAN"}


@cache
def features() -> tuple[Expression, ...]:
    """Return `FEATURES` as expressions."""
    return tuple(parse(text) for text in FEATURES)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words a grammar may use.

    Parameters
    ----------
    fields : tuple of (unit, tuple of str)
        Fields by unit.
    windows, lags : tuple of int
        In sessions.
    groups : tuple of str
        Fields that tell groups of assets apart; they are never values.
    """

    fields: tuple[tuple[Unit, tuple[str, ...]], ...]
    windows: tuple[int, ...] = WINDOWS
    lags: tuple[int, ...] = LAGS
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Collection[str], windows: Sequence[int] = WINDOWS) -> Vocabulary:
        """Return the vocabulary of the fields whose unit is known; other fields are left out."""
        alike: dict[Unit, list[str]] = {}
        for name in sorted(names):
            if name in FIELD_UNITS:
                alike.setdefault(FIELD_UNITS[name], []).append(name)
        units = tuple((u, tuple(g)) for u, g in sorted(alike.items()))
        return cls(units, tuple(windows), groups=tuple(sorted(GROUPS & set(names))))

    def only(self, names: Collection[str], windows: Sequence[int]) -> Vocabulary:
        """Return the part that speaks of `names`, groups kept; all of it where that is empty."""
        kept = self.names & set(names)
        return replace(Vocabulary.of(kept, windows), groups=self.groups) if kept else self

    @property
    def names(self) -> frozenset[str]:
        """Return all fields that are values."""
        return frozenset(name for _, group in self.fields for name in group)

    @property
    def units(self) -> tuple[Unit, ...]:
        """Units that have a field."""
        return tuple(u for u, _ in self.fields)

    def ladder(self, op: str) -> tuple[int, ...]:
        """Return the windows or lags that make sense for operator `op`."""
        if op in _LAGGED:
            return self.lags
        least = MIN_STATISTIC_WINDOW if op in _STATISTICS else 2
        most = MAX_SPAN if op == "EMA" else max(WINDOWS)
        return tuple(w for w in self.windows if least <= w <= most) or (least,)

    def alike(self, wanted: Unit) -> tuple[str, ...]:
        """Return the fields of one unit."""
        return next((group for u, group in self.fields if u == wanted), ())


def pick(items: Sequence[Rule], rng: Generator) -> Rule:
    """Return one rule at random by weight."""
    point = rng.random() * sum(weight for *_, weight in items)
    for item in items:
        point -= item[2]
        if point < 0:
            return item
    return items[-1]


def one(items: Sequence[T], rng: Generator) -> T:
    """Return one item at random."""
    return items[int(rng.integers(len(items)))]


def sample(unit: Unit, depth: int, words: Vocabulary, rng: Generator) -> Expression:
    """Return a random expression of `unit`.

    Parameters
    ----------
    unit : Unit
        (0, 0), or one that `words` has a field of.
    depth : int
        Levels of operators wanted at most; a difference over a difference, a question or a feature
        may add one.
    words : Vocabulary
        Fields, windows and groups.
    rng : Generator
        Chance.
    """
    return _Sampler(words, rng).draw(unit, depth)


def question(words: Vocabulary, rng: Generator) -> Expression:
    """Return a random comparison: 1 where it holds, else 0."""
    return _Sampler(words, rng).asked(2)


@lru_cache(maxsize=64)
def spoken(names: frozenset[str]) -> tuple[Expression, ...]:
    """Return the features that need no other fields than `names`."""
    return tuple(f for f in features() if fields(f) <= names)


class _Sampler:
    """Draws expressions from one vocabulary."""

    def __init__(self, words: Vocabulary, rng: Generator) -> None:
        self._words = words
        self._rng = rng
        self._features = spoken(words.names)
        self._deep = (*_FLAT, *_DEEP, *_GROUPED) if words.groups else (*_FLAT, *_DEEP)

    def draw(self, unit: Unit, depth: int) -> Expression:
        """Return an expression of `unit`."""
        if unit != RATIO:
            if depth <= 1 or self._rng.random() < 0.6:
                return self._field(unit)
            return self._built(pick(_LEVEL, self._rng), unit, depth)
        if depth <= 2 and self._features and self._rng.random() < FEATURE_SHARE:
            return one(self._features, self._rng)
        rules = _FLAT if depth <= 2 else self._deep
        return self._built(pick(rules, self._rng), one(self._words.units, self._rng), depth)

    def asked(self, depth: int) -> Expression:
        """Return a comparison."""
        return self._built(pick(_CONDITIONS, self._rng), one(self._words.units, self._rng), depth)

    def _built(self, rule: Rule, level: Unit, depth: int) -> Expression:
        """Return the call `rule` describes; a call of one thing with itself is drawn again."""
        op, kinds, _ = rule
        for _ in range(8):
            args = [self._argument(kind, op, level, depth - 1) for kind in kinds]
            series = [arg for arg in args if not isinstance(arg, Constant)]
            if len(set(series)) == len(series):
                return call(op, *args)
        if op == "GT":
            return call("GT", self._argument("change", "DELTA", level, depth), Constant(0.0))
        if "same" in kinds:
            return self._field(level)
        lag = Constant(float(one(self._words.lags, self._rng)))
        return call("TS_PCTCHANGE", self._field(level), lag)

    def _argument(  # noqa: PLR0911 - one line a kind
        self, kind: str, op: str, level: Unit, depth: int
    ) -> Expression:
        rng, words = self._rng, self._words
        match kind:
            case "window" | "lag":
                return Constant(float(one(words.ladder(op), rng)))
            case "share":
                return Constant(one(SHARES, rng))
            case "none":
                return Constant(0.0)
            case "ratio or none":
                return self.draw(RATIO, depth) if rng.random() < 0.5 else Constant(0.0)
            case "group":
                return Field(one(words.groups, rng))
            case "ranked":
                return call("RANK", self.draw(RATIO, max(depth - 1, 2)))
            case "change":
                return call("DELTA", self._field(level), Constant(float(one(words.lags, rng))))
            case "usual":
                window = Constant(float(one(words.ladder("TS_MEAN"), rng)))
                return call("TS_MEAN", self._field(level), window)
            case "condition":
                return self.asked(min(depth, 2))
            case "spread":
                # with few fields of a unit, a difference of two needs an operator on one of them
                grown = max(depth, 2) if len(words.alike(level)) < 3 else depth
                return self._built(("SUBTRACT", ("same", "same"), 1.0), level, grown + 1)
            case "any":
                deep = depth >= 2 and rng.random() < 0.4
                return self.draw(RATIO if deep else one(words.units, rng), depth)
        return self.draw(RATIO if kind == "ratio" else level, depth)

    def _field(self, unit: Unit) -> Expression:
        return Field(one(self._words.alike(unit), self._rng))
