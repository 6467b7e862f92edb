"""What a feed is: something that returns bars of the sessions it is asked for.

A feed over the network is a provider between two pure steps: a request becomes queries, each query
is one call of the provider's client in a child process, and the answers become bars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

#: Outcomes of a query that are the provider's fault or the network's, not the asset's.
FAILURES = ("limited", "failed", "timeout")


@dataclass(frozen=True, slots=True)
class Request:
    """Bars that are wanted.

    Parameters
    ----------
    market : str
        For messages; a feed serves one market.
    sessions : tuple of date
        Ascending.
    assets : tuple of str or None
        None asks for every asset the source has.
    index : bool
        Whether the levels of the market's index are wanted as well, where a feed knows one.
    """

    market: str
    sessions: tuple[date, ...]
    assets: tuple[str, ...] | None = None
    index: bool = False


class Feed(Protocol):
    """A source of bars. It maps names and units; judging the bars is `daemon.validation`'s."""

    @property
    def name(self) -> str:
        """Short name, kept with every vintage."""
        ...

    @property
    def reconstructed(self) -> bool:
        """Whether past bars are as they are told today, not as they were known then."""
        ...

    def history(self, last: date) -> date | None:
        """Return the first session there are bars of, or None if none is at or before `last`."""
        ...

    def fetch(self, request: Request) -> Any:
        """Return the bars there are, a pyarrow.Table in `storage.bars.BAR_SCHEMA`.

        Sessions without bars are simply absent. Rows are sorted by session, then asset.

        Raises
        ------
        BarsError
            The source holds something that cannot be bars.
        FeedError
            The source did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Query:
    """One call of a provider's client, in plain values.

    Parameters
    ----------
    kind : str
        Which call of the client: "history", "spot", "constituents", …
    symbol : str
        In the provider's own spelling; empty where the call is about no symbol.
    first, last : date or None
        Both included; None leaves that end open, and an open `last` is the present.
    options : tuple of (str, str)
        What else the call is given.
    """

    kind: str
    symbol: str = ""
    first: date | None = None
    last: date | None = None
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a query.

    Parameters
    ----------
    query : Query
        The question.
    outcome : str
        "ok", "empty" (there is nothing to tell) or one of `FAILURES`.
    payload : bytes
        When ok, the client's table as an Arrow IPC stream under its own column names; else empty.
    error : str
        Empty when ok; else one line of at most 500 characters.
    received_at : datetime
        Aware UTC.
    """

    query: Query
    outcome: str
    payload: bytes
    error: str
    received_at: datetime

    @property
    def sha256(self) -> str:
        """Return the sha256 of the payload."""
        return sha256(self.payload).hexdigest()

    @property
    def reason(self) -> str:
        """Return why there are no bars: the outcome, and the error where there is one."""
        return f"{self.outcome}: {self.error}" if self.error else self.outcome


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """Bars made of answers, and what is to be known about them.

    Parameters
    ----------
    table : pyarrow.Table
        In `storage.bars.BAR_SCHEMA`, sorted by session, then asset.
    missing : mapping of str to str
        Each asset without bars, and why: a reason that begins with the outcome.
    sources : mapping of str to str
        Each asset with bars, and the sha256 of the payload they came from.
    warnings : tuple of str
        What was left out or is doubtful.
    index : mapping of date to float
        Closes of the market's index, if they were wanted and were to be had.
    """

    table: Any
    missing: Mapping[str, str]
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    index: Mapping[date, float] = field(default_factory=dict)


@runtime_checkable
class LiveFeed(Feed, Protocol):
    """A feed that asks a provider and can tell more than the bars; see `Feed` for the rest."""

    def fetch_parsed(self, request: Request) -> Parsed:
        """Return the bars there are, and what is missing or doubtful."""
        ...


class Provider(Protocol):
    """What is particular to one provider, and pure: how to ask it and how to read its answers."""

    @property
    def name(self) -> str:
        """Short name, kept with every vintage."""
        ...

    @property
    def client(self) -> str:
        """Dotted name of the module that `daemon.feeds.worker` makes the calls of."""
        ...

    def queries(self, request: Request) -> Sequence[Query]:
        """Return the queries that a request with its assets named takes, in the order to ask."""
        ...

    def parse(self, request: Request, answers: Sequence[Answer]) -> Parsed:
        """Return the bars of the sessions and assets asked for; every asset is there or missing."""
        ...


@runtime_checkable
class IndexProvider(Protocol):
    """What a provider has that tells levels of an index as well; pure, too."""

    def index_query(self, index: str, request: Request) -> Query | None:
        """Return the query for an index over the sessions of a request, None where it has none."""
        ...

    def read_index(self, answer: Answer) -> Mapping[date, float]:
        """Return the index's closes of sessions that were final when it was told.

        Raises
        ------
        ValueError, BarsError
            The answer is not ok or cannot be closes.
        """
        ...
