"""Templates of hypotheses: what people compare, with slots for fields, windows and lags.

A template is an expression in which `$level` stands for a price or a volume, `$near` for another of
the same unit, `$ratio` and `$other` for pure numbers, `$any` for any of them and `$asked` for a
question. Its numbers above 2 are windows: equal ones stay equal, and the larger of two is drawn the
larger. What stands twice in a template is drawn once, which random trees hardly ever do.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

from numpy.random import Generator

from miner.sampling import Vocabulary, one, question, sample, spoken
from miner.units import RATIO, Unit
from signals.expression import Call, Constant, Expression, Field, call, fields, walk
from signals.grammar import parse
from signals.operators import OPERATORS

#: A series against its own past, its dispersion, its path, another series, and part of itself.
TEMPLATES = (
    "$level / TS_MEAN($level, 20)",
    "($level - TS_MEAN($level, 20)) / TS_STD($level, 20)",
    "TS_MEAN($level, 5) / TS_MEAN($level, 20)",
    "TS_MEDIAN($level, 5) / TS_MEDIAN($level, 20)",
    "TS_STD($level, 20) / TS_MEAN($level, 20)",
    "TS_MAX($level, 20) / TS_MIN($near, 20)",
    "($level - TS_MIN($near, 20)) / (TS_MAX($level, 20) - TS_MIN($near, 20))",
    "TS_QUANTILE($level, 20, 0.8) / TS_QUANTILE($level, 20, 0.2)",
    "DELTA($level, 5) / TS_STD($level, 20)",
    "DELTA($level, 5) / TS_SUM(ABS(DELTA($level, 1)), 5)",
    "REGBETA($level, SEQUENCE(20), 20) / $level",
    "REGRESI($level, SEQUENCE(20), 20) / $level",
    "TS_PCTCHANGE(TS_MEAN($level, 5), 5)",
    "TS_SUM(MAX(DELTA($level, 1), 0), 20) / TS_SUM(ABS(DELTA($level, 1)), 20)",
    "TS_SUM($asked ? $level : 0, 20) / TS_SUM($level, 20)",
    "TS_MEAN($asked, 20)",
    "TS_MEAN($asked ? $ratio : 0, 20)",
    "TS_MEAN($ratio, 5) - TS_MEAN($ratio, 20)",
    "TS_STD($ratio, 5) / TS_STD($ratio, 20)",
    "TS_MEAN($ratio, 20) / TS_STD($ratio, 20)",
    "TS_MAX($ratio, 20) + TS_MIN($ratio, 20)",
    "TS_MEAN(ABS($ratio), 5) / TS_MEAN(ABS($ratio), 20)",
    "TS_CORR($ratio, DELAY($other, 1), 20)",
    "TS_CORR($ratio, DELAY($ratio, 1), 20)",
    "TS_CORR(TS_RANK($any, 5), TS_RANK($ratio, 5), 20)",
    "TS_CORR(DELTA($any, 1), DELTA($ratio, 1), 20)",
    "TS_RANK($any, 20) - TS_RANK($ratio, 20)",
    "TS_ARGMAX($level, 20) - TS_ARGMIN($near, 20)",
    "TS_RANK(TS_STD($ratio, 5), 20)",
    "SIGN(DELTA($level, 5)) * $ratio",
    "$asked ? $ratio : 0",
)
#: Statistics of one series that are pure numbers of a price or a volume too.
SINGLE = ("TS_SKEW", "TS_KURT", "TS_ARGMAX", "TS_ARGMIN", "TS_RANK", "TS_ZSCORE")
#: Those that are pure numbers of a pure number only.
SINGLE_OF_RATIO = ("TS_MEAN", "TS_STD", "TS_MAD", "TS_MAX", "TS_MIN", "TS_MEDIAN")
#: How often a statistic of a statistic is drawn instead.
STACKED = 0.4
#: Numbers up to this one are part of the template.
_FIXED = 2
#: Levels of operators of a slot.
_SLOT_DEPTH = 2


@cache
def templates() -> tuple[Expression, ...]:
    """Return `TEMPLATES` as expressions."""
    return tuple(parse(text) for text in TEMPLATES)


def single(words: Vocabulary, rng: Generator) -> Expression:
    """Return one statistic of one feature or field, any as likely as the others, or one of that.

    There are so few of the first that a search sees most of them: wherever a factor is a function
    of one of these, it finds a beginning.
    """
    ratios = spoken(words.names)
    series = one((*ratios, *map(Field, sorted(words.names))), rng)
    ops = (*SINGLE, *SINGLE_OF_RATIO)
    first = _statistic(series, ops if series in ratios else SINGLE, words, rng)
    if rng.random() < STACKED:
        return _statistic(first, ops, words, rng)
    return first


def _statistic(
    series: Expression, ops: Sequence[str], words: Vocabulary, rng: Generator
) -> Expression:
    op = one(ops, rng)
    return call(op, series, Constant(float(one(words.ladder(op), rng))))


def from_template(words: Vocabulary, rng: Generator) -> Expression:
    """Return a random template with its slots filled from `words`; it is scale-free."""
    return drawn_from(one(templates(), rng), words, rng)


@lru_cache(maxsize=256)
def forms(texts: tuple[str, ...], names: frozenset[str]) -> tuple[Expression, ...]:
    """Return the expressions that read no other fields than `names`."""
    return tuple(form for form in map(parse, texts) if fields(form) <= names)


def from_form(form: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Return an expression with its windows drawn anew."""
    return filled(form, _windows(form, words, rng))


def drawn_from(template: Expression, words: Vocabulary, rng: Generator) -> Expression:
    """Return `template` with slots and windows drawn from `words`."""
    level = one(words.units, rng)
    slots: dict[Expression, Expression] = {
        node: _drawn(node.name, level, words, rng)
        for node in walk(template)
        if isinstance(node, Field)
    }
    return filled(template, slots | _windows(template, words, rng))


def filled(template: Expression, slots: dict[Expression, Expression]) -> Expression:
    """Return `template` with every slot, a field or a number, replaced by what `slots` has."""
    if isinstance(template, Call):
        return call(template.op, *(filled(arg, slots) for arg in template.args))
    return slots.get(template, template)


def _drawn(name: str, level: Unit, words: Vocabulary, rng: Generator) -> Expression:
    """Return what stands in the slot `name`."""
    match name:
        case "level":
            return sample(level, _SLOT_DEPTH, words, rng)
        case "near":
            return Field(one(words.alike(level), rng))
        case "asked":
            return question(words, rng)
        case "any":
            return sample(one((RATIO, *words.units), rng), _SLOT_DEPTH, words, rng)
    return sample(RATIO, _SLOT_DEPTH, words, rng)


def _windows(
    template: Expression, words: Vocabulary, rng: Generator
) -> dict[Expression, Expression]:
    """Return a window of the ladder for each number that is one, in their order."""
    users: dict[float, list[str]] = {}
    for node in walk(template):
        if isinstance(node, Call):
            for kind, arg in zip(OPERATORS[node.op].arguments, node.args, strict=True):
                if kind == "window" and isinstance(arg, Constant) and arg.value > _FIXED:
                    users.setdefault(arg.value, []).append(node.op)
    ladders = [_common(users[value], words) for value in sorted(users)]
    drawn = [one(ladder, rng) for ladder in ladders]
    if len(drawn) > 1 and len(set(drawn)) < len(drawn):
        drawn = [ladder[i] for i, ladder in enumerate(ladders)]
    return {
        Constant(value): Constant(float(window))
        for value, window in zip(sorted(users), sorted(drawn), strict=True)
    }


def _common(ops: list[str], words: Vocabulary) -> tuple[int, ...]:
    """Return the windows that suit all of `ops`; those of the first where none does."""
    shared = set.intersection(*(set(words.ladder(op)) for op in ops))
    return tuple(sorted(shared)) or words.ladder(ops[0])
