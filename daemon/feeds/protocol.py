"""What a feed is: something that returns bars of the sessions it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol


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
    """

    market: str
    sessions: tuple[date, ...]
    assets: tuple[str, ...] | None = None


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
