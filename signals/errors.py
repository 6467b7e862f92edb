"""The error tree of the whole project; every folder raises from here, nobody starts a second tree.

::

    AlphadError                     exit 70  a fact, the rule it breaks, the way out
    ├── ConfigError                 exit 78  settings: unknown, contradictory or missing
    ├── ExpressionError             exit 65  factor text that is no valid expression
    ├── DataError                   exit 65  what was given to us cannot be used
    │   ├── BarsError                        bars
    │   └── MembershipError                  constituents
    ├── FeedError                   exit 69  a source did not deliver
    ├── ModelError                  exit 69  a language model did not help
    ├── StorageError                exit 74  disk or database failed us
    │   ├── IntegrityError                   what was stored is not what was written
    │   └── ReservationError                 a ledger rule (exactly once) would be broken
    └── AlreadyRunningError         exit 75  another instance holds the state directory

Exit codes are those of sysexits.h.
"""

from __future__ import annotations

from typing import ClassVar


class AlphadError(Exception):
    """An error an operator can act on.

    Parameters
    ----------
    fact : str
        What was found, with its asset, session, path or value.
    rule : str
        The rule it breaks.
    hint : str
        The way out.
    retryable : bool
        Whether the same call may succeed later without anybody changing anything; the raiser knows.
    """

    exit_code: ClassVar[int] = 70

    def __init__(
        self, fact: str, *, rule: str = "", hint: str = "", retryable: bool = False
    ) -> None:
        super().__init__(fact)
        self.fact = fact
        self.rule = rule
        self.hint = hint
        self.retryable = retryable

    def __str__(self) -> str:
        parts = [self.fact]
        if self.rule:
            parts.append(f"Rule: {self.rule}")
        if self.hint:
            parts.append(f"Way out: {self.hint}")
        return "\n  ".join(parts)


class ConfigError(AlphadError):
    """Settings that are unknown, contradictory or missing."""

    exit_code = 78


class ExpressionError(AlphadError):
    """Factor text that is no valid expression."""

    exit_code = 65


class DataError(AlphadError):
    """Input that cannot be used."""

    exit_code = 65


class BarsError(DataError):
    """Bars that break a rule."""


class MembershipError(DataError):
    """Constituents that break a rule."""


class FeedError(AlphadError):
    """A source that did not deliver."""

    exit_code = 69


class ModelError(AlphadError):
    """A language model that did not help.

    Parameters
    ----------
    fact, rule, hint, retryable
        As of every error.
    answered : bool
        Whether it answered, but with nothing that can be used: another question may fare better.
    over_budget : bool
        Whether a budget forbids to ask, so that nothing was sent.
    """

    exit_code = 69

    def __init__(
        self,
        fact: str,
        *,
        rule: str = "",
        hint: str = "",
        retryable: bool = False,
        answered: bool = False,
        over_budget: bool = False,
    ) -> None:
        super().__init__(fact, rule=rule, hint=hint, retryable=retryable)
        self.answered = answered
        self.over_budget = over_budget


class StorageError(AlphadError):
    """Disk or database failed."""

    exit_code = 74


class IntegrityError(StorageError):
    """Something stored is not what was written."""


class ReservationError(StorageError):
    """The ledger's exactly-once rule would be broken."""


class AlreadyRunningError(AlphadError):
    """Another instance holds the state directory."""

    exit_code = 75
