"""Where the lists of an index's members come from: one fetch in a child process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from daemon.constituents import CLIENT, Constituents, Index, parse_constituents, query
from daemon.feeds.child import Child, Limits
from daemon.universe_overrides import Override, load_overrides
from signals.errors import FeedError


@dataclass(frozen=True)
class IndexLists:
    """The fetched list of one index and the operator's corrections of it.

    Parameters
    ----------
    index : Index
        Whose members.
    overrides_path : Path or None
        See `daemon.universe_overrides.load_overrides`.
    request_seconds : float
        Deadline of the fetch.
    folder : Path or None
        What the client may keep things in; None gives every fetch a new one.
    environment : mapping of str to str
        Given to the child beside this process's own.
    """

    index: Index
    overrides_path: Path | None = None
    request_seconds: float = 30.0
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)

    def overrides(self) -> tuple[Override, ...]:
        """Return the operator's corrections as the file has them now; a ConfigError if broken."""
        if self.overrides_path is None:
            return ()
        return load_overrides(self.overrides_path, self.index.provider)

    def fetch(self) -> Constituents:
        """Return the list as its source tells it now.

        Raises
        ------
        FeedError
            No answer, or an empty one (retryable).
        MembershipError
            An answer that cannot be the index's list.
        """
        limits = Limits(request_seconds=self.request_seconds)
        with TemporaryDirectory() as spare:
            folder = self.folder or Path(spare)
            with Child(CLIENT, limits, folder, self.environment) as child:
                reply = child.ask(query(self.index))
        if reply.outcome != "ok":
            why = f"{reply.outcome}: {reply.error}" if reply.error else reply.outcome
            raise FeedError(
                f"the list of the {self.index.title} was not to be had: {why}",
                rule="members are fetched once a session",
                hint="wait, or give a file of constituent spells by the setting `membership` in "
                "place of universe.index",
                retryable=True,
            )
        with pa.ipc.open_stream(reply.payload) as stream:
            return parse_constituents(self.index, stream.read_all())
