"""Parsing factor text, in our language or in a dialect; text never reaches Python's `eval`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import cast

from lark import Lark, Token, Tree, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError
from lark.visitors import Transformer_NonRecursive

from signals.dialects import BARE, SPELLINGS, UNSUPPORTED, WITH_NUMBER, bare_meaning
from signals.errors import ExpressionError
from signals.expression import (
    Constant,
    Expression,
    Field,
    call,
    constant,
    depth,
    fields,
    lookback,
    negate,
    size,
    windows,
)
from signals.operators import OPERATORS, fault, nearest


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an expression may be.

    Parameters
    ----------
    text : int
        Characters.
    nodes : int
        Nodes of the tree.
    depth : int
        Nodes from the root to the farthest leaf, and nesting of the text.
    window : int
        Sessions in the window of one operator.
    lookback : int
        Sessions behind the current one that the whole expression needs.
    """

    text: int = 4_000
    nodes: int = 200
    depth: int = 40
    window: int = 512
    lookback: int = 1_260


#: The limits where nothing else is said.
LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class _Term:
    """A parsed part, where it starts (column from 0), and how deeply its text nests."""

    expression: Expression
    column: int
    depth: int


def parse(text: str, *, limits: Limits = LIMITS) -> Expression:
    """Return the canonical expression of `text`.

    Spellings of qlib, of Alpha101 and of FASTEXPR are read beside our own: names tell them apart
    (`TS_MEAN`, `Mean`, `ts_mean`), and `signals.dialects` says what each means here. `$return` is
    short for `TS_PCTCHANGE($close, 1)`.

    Parameters
    ----------
    text : str
        For instance `TS_CORR(RANK($close), RANK($volume), 10)`.
    limits : Limits
        How large it may be.

    Raises
    ------
    ExpressionError
        With the column and a caret under it, the rule and the way out.
    """
    if len(text) > limits.text:
        raise ExpressionError(
            f"the expression has {len(text)} characters",
            rule=f"at most {limits.text} are read",
            hint="split it, or look for what generated it",
        )
    try:
        term: _Term = _Builder(text, limits).transform(_parser().parse(text))
    except UnexpectedInput as error:
        raise _refusal(text, error) from None
    except VisitError as error:
        raise error.orig_exc from None
    check_limits(term.expression, limits=limits)
    if not fields(term.expression):
        raise ExpressionError(
            f"{text.strip()!r} reads no field",
            rule="a factor is computed from bars",
            hint="fields are written with a dollar sign, for instance $close",
        )
    return term.expression


def check_limits(expression: Expression, *, limits: Limits = LIMITS) -> None:
    """Raise an ExpressionError if `expression` is larger than `limits` allow."""
    measures = (
        ("nodes", size(expression), limits.nodes, "use fewer operators"),
        ("levels of depth", depth(expression), limits.depth, "nest fewer operators"),
        ("sessions in a window", max(windows(expression), default=0), limits.window, "shorten it"),
        ("sessions of lookback", lookback(expression), limits.lookback, "shorten its windows"),
    )
    for what, value, limit, hint in measures:
        if value > limit:
            raise ExpressionError(
                f"the expression has {value} {what}", rule=f"at most {limit} are allowed", hint=hint
            )


@cache
def _parser() -> Lark:
    grammar = files("signals").joinpath("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", maybe_placeholders=False)


@lru_cache(maxsize=1 << 10)
def _template(meaning: str) -> Tree[Token]:
    return _parser().parse(meaning)


def _located(text: str, column: int, fact: str, rule: str, hint: str) -> ExpressionError:
    """Return the error with its column and a caret under it; long text is cut around the caret."""
    start = max(0, column - 60)
    shown = "".join(" " if c.isspace() else c for c in text[start : column + 40])
    caret = " " * (column - start) + "^"
    return ExpressionError(
        f"{fact}, column {column + 1}\n    {shown}\n    {caret}", rule=rule, hint=hint
    )


def _refusal(text: str, error: UnexpectedInput) -> ExpressionError:
    """Return lark's error as ours."""
    rule = "an expression is made of $fields, numbers, OPERATOR(...), parentheses and + - * / ^"
    rule += " > < >= <= == != && || ! ?:"
    if isinstance(error, UnexpectedCharacters):
        column = cast("int", error.pos_in_stream)  # declared as None
        hint = "remove it"
        if text[column] == "$":
            hint = "a dollar sign is followed by the name of a field, for instance $close"
        return _located(text, column, f"unexpected {text[column]!r}", rule, hint)
    if not isinstance(error, UnexpectedToken):
        return _located(text, len(text), "the expression ends too early", rule, "complete it")
    token = error.token
    ends = token.type == "$END"
    column = len(text.rstrip()) if ends else int(token.start_pos or 0)
    fact = "the expression ends too early" if ends else f"unexpected {token.value!r}"
    hint = "complete it" if ends else "check what stands before it"
    if "RPAR" in error.expected and text.count("(") > text.count(")"):
        hint = "a closing parenthesis is missing"
    elif token.type == "RPAR" and text.count("(") < text.count(")"):
        hint = "there is one closing parenthesis too many"
    return _located(text, column, fact, rule, hint)


@v_args(inline=True)
class _Builder(Transformer_NonRecursive[Token, _Term]):
    """Builds canonical expressions from the leaves up, whatever the nesting of the text.

    With `bound`, the text is the meaning of a dialect's call, and its bare names are arguments.
    """

    def __init__(self, text: str, limits: Limits, bound: Mapping[str, _Term] | None = None) -> None:
        super().__init__()
        self._text = text
        self._limits = limits
        self._bound = bound

    def _call(self, op: str, column: int, *terms: _Term) -> _Term:
        level = 1 + max((term.depth for term in terms), default=0)
        if level > self._limits.depth:
            raise self._error(
                column,
                f"more than {self._limits.depth} levels of nesting",
                "the depth of an expression is limited",
                "nest fewer operators",
            )
        args = tuple(term.expression for term in terms)
        operator = OPERATORS.get(op)
        wrong = None if operator is None else fault(op, operator.complete(args))
        if wrong is not None:
            where = wrong.argument
            at = terms[where].column if where is not None and where < len(terms) else column
            raise self._error(at, wrong.fact, wrong.rule, wrong.hint)
        try:
            term = _Term(call(op, *args), column, level)
        except ExpressionError as error:
            raise self._error(column, error.fact, error.rule, error.hint) from None
        # now, not when all is built: what a dialect's call means may repeat its arguments
        if size(term.expression) > self._limits.nodes:
            raise self._error(
                column,
                f"the expression has {size(term.expression)} nodes",
                f"at most {self._limits.nodes} are allowed",
                "use fewer operators",
            )
        return term

    def _error(self, column: int, fact: str, rule: str, hint: str) -> ExpressionError:
        if self._bound is not None:  # the call this is the meaning of knows its column
            return ExpressionError(fact, rule=rule, hint=hint)
        return _located(self._text, column, fact, rule, hint)

    def _infix(self, op: str, left: _Term, right: _Term) -> _Term:
        return self._call(op, left.column, left, right)

    def where(self, condition: _Term, yes: _Term, no: _Term) -> _Term:
        return self._call("WHERE", condition.column, condition, yes, no)

    def either(self, left: _Term, right: _Term) -> _Term:
        return self._infix("OR", left, right)

    def both(self, left: _Term, right: _Term) -> _Term:
        return self._infix("AND", left, right)

    def compared(self, left: _Term, symbol: Token, right: _Term) -> _Term:
        return self._infix(_COMPARISONS[str(symbol)], left, right)

    def add(self, left: _Term, right: _Term) -> _Term:
        return self._infix("ADD", left, right)

    def subtract(self, left: _Term, right: _Term) -> _Term:
        return self._infix("SUBTRACT", left, right)

    def multiply(self, left: _Term, right: _Term) -> _Term:
        return self._infix("MULTIPLY", left, right)

    def divide(self, left: _Term, right: _Term) -> _Term:
        return self._infix("DIVIDE", left, right)

    def power(self, base: _Term, exponent: _Term) -> _Term:
        return self._infix("POW", base, exponent)

    def negative(self, sign: Token, term: _Term) -> _Term:
        column = int(sign.start_pos or 0)
        try:
            return _Term(negate(term.expression), column, term.depth)
        except ExpressionError as error:
            raise self._error(column, error.fact, error.rule, error.hint) from None

    def negation(self, sign: Token, term: _Term) -> _Term:
        return self._call("EQ", int(sign.start_pos or 0), term, _Term(constant(0.0), 0, 1))

    def number(self, token: Token) -> _Term:
        column = int(token.start_pos or 0)
        try:
            return _Term(constant(float(token)), column, 1)
        except ExpressionError as error:
            raise self._error(column, error.fact, error.rule, error.hint) from None

    def field(self, token: Token) -> _Term:
        name = str(token)[1:]
        column = int(token.start_pos or 0)
        if name == "return":
            return _Term(call("TS_PCTCHANGE", Field("close"), constant(1.0)), column, 2)
        return _Term(Field(name), column, 1)

    def bare(self, token: Token) -> _Term:
        name, column = str(token), int(token.start_pos or 0)
        if self._bound is not None and name in self._bound:
            return self._bound[name]
        meaning = bare_meaning(name)
        if meaning is not None:
            return self._expanded(name, meaning, column, {})
        fact, hint = f"bare name {name!r}", f"a field is written ${name}, an operator NAME(...)"
        if name in OPERATORS:
            fact, hint = f"{name} has no arguments", f"write {OPERATORS[name].signature}"
        rule = f"the bare names are {', '.join(BARE)} and adv followed by sessions"
        raise self._error(column, fact, rule, hint)

    def operator(self, token: Token, *terms: _Term) -> _Term:
        name, column = str(token), int(token.start_pos or 0)
        key = (name, len(terms))
        plain = bool(terms) and isinstance(terms[-1].expression, Constant)
        spelling = (WITH_NUMBER.get(key) if plain else None) or SPELLINGS.get(key)
        if spelling is not None:
            arguments = dict(zip(spelling.parameters, terms, strict=True))
            return self._expanded(name, spelling.meaning, column, arguments)
        if name in OPERATORS:
            return self._call(name, column, *terms)
        if name in ("LT", "LE") and len(terms) == 2:
            return self._call(name, column, *terms)
        if name in UNSUPPORTED:
            fact, rule = f"{name} is not supported", UNSUPPORTED[name]
            raise self._error(column, fact, rule, "say it with operators that are")
        calls = [row.call for (known, _), row in SPELLINGS.items() if known == name]
        if calls:
            fact, rule = f"{name} has {len(terms)} arguments", f"it is read as {' or '.join(calls)}"
            raise self._error(column, fact, rule, f"write {calls[0]}")
        rule = "an operator is one of the table, or of a dialect that is read"
        raise self._error(column, f"unknown operator {name!r}", rule, nearest(name))

    def _expanded(
        self, name: str, meaning: str, column: int, arguments: Mapping[str, _Term]
    ) -> _Term:
        """Return what a dialect's call or bare name means here."""
        try:
            term: _Term = _Builder(meaning, self._limits, arguments).transform(_template(meaning))
        except VisitError as error:
            cause = error.orig_exc
            if not isinstance(cause, ExpressionError):
                raise
            fact = f"{name} means {meaning}: {cause.fact}"
            raise self._error(column, fact, cause.rule, cause.hint) from None
        return _Term(term.expression, column, term.depth)


#: Comparisons as they are written.
_COMPARISONS = {">": "GT", "<": "LT", ">=": "GE", "<=": "LE", "==": "EQ", "!=": "NE"}
