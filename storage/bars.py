"""Bars as append-only vintages: one immutable Parquet file and one database row each.

The row is the truth; a file without a row is swept. A panel is read as of a time: last writer
wins in the order in which the vintages became known.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from sqlalchemy import ColumnElement, Connection, and_, func, insert, not_, or_, select

from signals.errors import BarsError, IntegrityError
from signals.panel import Panel
from storage.assembly import FIELDS, assemble
from storage.cache import Cached, PanelCache
from storage.database import Database
from storage.files import disk_errors, remove, sha256, sweep_temporary, write_atomic
from storage.recent import ROWS, Recent
from storage.steps import Passing, tell_nobody
from storage.tables import Vintage, record, table

#: Bars as traded. `adjustment` multiplies prices and `split` divides volumes from their session on;
#: both are 1 where nothing happened. `amount` may be null. `dividend` is cash per share as traded,
#: on its ex-date; `adjustment` holds its effect already.
BAR_SCHEMA = pa.schema(
    [
        ("session", pa.date32()),
        ("asset", pa.string()),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("amount", pa.float64()),
        ("adjustment", pa.float64()),
        ("split", pa.float64()),
        ("suspended", pa.bool_()),
        ("dividend", pa.float64()),
        ("st", pa.bool_()),
        ("limit_up", pa.bool_()),
        ("limit_down", pa.bool_()),
    ]
)
#: What a column that a source does not have stands for.
ABSENT: Mapping[str, float | bool | None] = {
    "amount": None,
    "adjustment": 1.0,
    "split": 1.0,
    "suspended": False,
    "dividend": 0.0,
    "st": False,
    "limit_up": False,
    "limit_down": False,
}
_NEVER_NULL = ("session", "asset", *(name for name, value in ABSENT.items() if value is not None))

#: As of no earlier time: all that was told so far, also by a clock that has been set back since.
NOW = datetime.max.replace(tzinfo=UTC)

_VINTAGES = table(Vintage)


class BarStore:
    """The bars of every market under one state directory.

    Parameters
    ----------
    root : Path
        The state directory: vintages lie in `bars/<market>/`, the cache in `cache/<market>/`.
    database : Database
        Holds the row of each vintage.
    passing : callable, optional
        Told of the steps of a write.
    looking : bool
        Whether nothing may be written: a cache that is behind is then left so.
    """

    def __init__(
        self,
        root: Path,
        database: Database,
        *,
        passing: Passing = tell_nobody,
        looking: bool = False,
    ) -> None:
        self.root = root
        self.database = database
        self._passing = passing
        self._looking = looking
        self._caches: dict[str, PanelCache] = {}
        self._recent = Recent()

    def append(
        self,
        market: str,
        bars: Any,
        *,
        source: str,
        known_at: datetime,
        reconstructed: bool,
        cause: str,
    ) -> Vintage:
        """Write bars to an immutable file; `record` makes them count.

        Parameters
        ----------
        bars : pyarrow.Table
            In `BAR_SCHEMA`, in any order.
        known_at : datetime
            When these bars were received; aware UTC.
        reconstructed : bool
            Whether each row counts as known at its own session's finality, as in a backfill.

        Raises
        ------
        BarsError
            Another schema, no row, a null key or factor, a factor not above 0, a key twice.
        """
        bars = _checked(market, bars)
        buffer = BytesIO()
        pq.write_table(bars, buffer, compression="zstd", write_statistics=False)
        data = buffer.getvalue()
        digest = sha256(data)
        first, last = bars["session"][0].as_py(), bars["session"][-1].as_py()
        path = f"bars/{market}/{first}_{last}_{digest[:16]}.parquet"
        self._passing("ingest.before_write")
        write_atomic(self.root / path, data)
        self._passing("ingest.after_vintage")
        self._recent.keep(digest, self.root / path, bars)
        return Vintage(
            market=market,
            source=source,
            known_at=known_at,
            reconstructed=reconstructed,
            cause=cause,
            first_session=first,
            last_session=last,
            n_rows=len(bars),
            n_assets=pc.count_distinct(bars["asset"]).as_py(),
            sha256=digest,
            path=path,
        )

    def record(self, connection: Connection, vintage: Vintage) -> Vintage:
        """Give a vintage its number, insert its row and return it as it stands there."""
        last = last_vintage(connection, vintage.market)
        values = vintage.model_dump()
        values["number"] = 1 if last is None else last.number + 1
        facts = (
            "" if last is None else last.chain,
            vintage.sha256,
            vintage.known_at.isoformat(),
            str(vintage.reconstructed),
        )
        values["chain"] = sha256("|".join(facts).encode())
        connection.execute(insert(_VINTAGES), values)
        return Vintage(**values)

    def sweep(self, market: str) -> list[Path]:
        """Remove files no row names, and temporaries; for the start, when no fetch is running."""
        folder = self.root / "bars" / market
        swept = sweep_temporary(folder)
        with self.database.read() as connection:
            kept = {vintage.path for vintage in vintages(connection, market)}
        with disk_errors(f"sweeping {folder}"):
            for path in sorted(folder.glob("*.parquet")):
                if f"bars/{market}/{path.name}" not in kept:
                    remove(path)
                    swept.append(path)
        return swept

    def read(self, vintage: Vintage) -> Any:
        """Return the bars of a vintage as a pyarrow.Table.

        Raises
        ------
        IntegrityError
            The file is missing, or is not what was written.
        """
        path = self.root / vintage.path
        known = self._recent.get(vintage.sha256, path)
        if known is not None:
            return known
        try:
            data = path.read_bytes()
        except OSError as exc:
            raise IntegrityError(
                f"vintage {vintage.number} of {vintage.market} cannot be read: {exc}",
                rule="a vintage is kept for ever",
                hint=f"restore {path} from a copy",
            ) from exc
        if sha256(data) != vintage.sha256:
            raise IntegrityError(
                f"vintage {vintage.number} of {vintage.market} has changed: {path}",
                rule="a vintage never changes",
                hint="restore the file from a copy; its sha256 is in the table `vintages`",
            )
        table = in_schema(pq.ParquetFile(BytesIO(data)).read(use_threads=False))
        if table.num_rows <= ROWS // 4:  # a backfill would drive the others out
            self._recent.keep(vintage.sha256, path, table)
        return table

    def bars(
        self,
        market: str,
        *,
        as_of: datetime,
        first: date,
        last: date,
        assets: Collection[str] | None = None,
    ) -> Any:
        """Return the bars as traded of some sessions as they were known at a time.

        Parameters
        ----------
        as_of : datetime
            As in `panel`; of a bar that was told more than once the last told counts.
        first, last : date
            Both included.
        assets : collection of str, optional
            All when not given.

        Returns
        -------
        pyarrow.Table
            In `BAR_SCHEMA`, sorted by session and asset; empty when nothing was known.
        """
        query = select(_VINTAGES).where(
            _VINTAGES.c.market == market,
            _VINTAGES.c.last_session >= first,
            not_(_hides(as_of, last)),
        )
        with self.database.read() as connection:
            known = [record(Vintage, row) for row in connection.execute(query).mappings().all()]
        low, high = pa.scalar(first, pa.date32()), pa.scalar(last, pa.date32())
        named = None if assets is None else pa.array(sorted(assets), pa.string())
        parts = []
        for _, bars in self._tables(known):
            days = bars["session"]
            wanted = pc.and_(pc.greater_equal(days, low), pc.less_equal(days, high))
            if named is not None:
                wanted = pc.and_(wanted, pc.is_in(bars["asset"], value_set=named))
            parts.append(bars.filter(wanted))
        return last_told(parts)

    def assets(self, market: str, *, as_of: datetime, last_session: date) -> tuple[str, ...]:
        """Return every asset of which a bar was known, none where no bar was."""
        if self._cached(market) is None:
            return ()
        try:
            return self.panel(market, as_of=as_of, last_session=last_session).assets
        except BarsError:
            return ()

    def panel(self, market: str, *, as_of: datetime, last_session: date) -> Panel:
        """Return the panel of a market as it was known at a time.

        Parameters
        ----------
        as_of : datetime
            Vintages known later are left out, except reconstructed ones, whose rows count as
            known at their own session's finality.
        last_session : date
            The last session that was final at `as_of`; later rows are left out.

        Returns
        -------
        Panel
            Adjusted forward, `universe` true where there is a close, `origin` 0. Its arrays are
            views of the cache; copy what is changed or computed on at length.

        Raises
        ------
        BarsError
            No bar was known.
        IntegrityError
            A vintage is damaged.
        """
        cached = self._cached(market)
        if cached is None and self._looking:
            return self._as_of(market, as_of, last_session)
        if cached is None:
            raise _no_bars(market, last_session)
        wanted = np.datetime64(last_session, "D")
        if as_of >= cached.known_until and cached.sessions[-1] <= wanted:
            return _cut(market, cached, cached.number, last_session)
        hidden = select(
            func.count(), func.min(_VINTAGES.c.number), func.min(_VINTAGES.c.first_session)
        ).where(
            _VINTAGES.c.market == market,
            _VINTAGES.c.number <= cached.number,
            _hides(as_of, last_session),
        )
        with self.database.read() as connection:
            count, since, first = connection.execute(hidden).one()
        if count == 0:
            return _cut(market, cached, cached.number, last_session)
        if count == cached.number - since + 1 and first > last_session:
            return _cut(market, cached, since - 1, last_session)
        return self._as_of(market, as_of, last_session)

    def _as_of(self, market: str, as_of: datetime, last_session: date) -> Panel:
        """Build a panel of the past from the vintages themselves."""
        with self.database.read() as connection:
            query = select(_VINTAGES).where(
                _VINTAGES.c.market == market, not_(_hides(as_of, last_session))
            )
            known = [record(Vintage, row) for row in connection.execute(query).mappings().all()]
        rows = assemble(self._tables(known))
        stop = int(np.searchsorted(rows.sessions, np.datetime64(last_session, "D"), side="right"))
        if stop == 0:
            raise _no_bars(market, last_session)
        return Panel(
            sessions=rows.sessions[:stop],
            assets=tuple(rows.columns),
            fields={name: rows.values[:stop, plane] for plane, name in enumerate(FIELDS)},
            universe=rows.present[:stop],
            flags=rows.flags[:stop],
        )

    def _tables(self, chosen: list[Vintage]) -> list[tuple[int, Any]]:
        ordered = sorted(chosen, key=lambda vintage: (vintage.known_at, vintage.number))
        return [(vintage.number, self.read(vintage)) for vintage in ordered]

    def _cached(self, market: str) -> Cached | None:
        """Return the cache, brought up to the last vintage; None when there is no vintage."""
        cache = self._caches.setdefault(market, PanelCache(self.root / "cache" / market))
        held = cache.load()
        missing = self._beyond(market, held)
        if missing == []:
            return held
        if self._looking:
            return None
        with cache.locked():
            held = cache.load()
            missing = self._beyond(market, held)
            if missing is None:  # of another history, or none: from the beginning
                held, missing = None, self._beyond(market, None)
            return self._extended(market, cache, held, missing) if missing else held

    def _beyond(self, market: str, held: Cached | None) -> list[Vintage] | None:
        """Return the vintages after the cached ones; None when the cache is of another history."""
        after = 0 if held is None else held.number
        query = (
            select(_VINTAGES)
            .where(_VINTAGES.c.market == market, _VINTAGES.c.number >= after)
            .order_by(_VINTAGES.c.number)
        )
        with self.database.read() as connection:
            found = [record(Vintage, row) for row in connection.execute(query).mappings().all()]
        if held is None:
            return found
        if not found or (found[0].number, found[0].chain) != (held.number, held.chain):
            return None
        return found[1:]

    def _extended(
        self, market: str, cache: PanelCache, held: Cached | None, missing: list[Vintage]
    ) -> Cached:
        """Write the rows that the missing vintages add or change, and those after them."""
        first = min(vintage.first_session for vintage in missing)
        chosen, kept = missing, 0
        if held is not None:
            kept = int(np.searchsorted(held.sessions, np.datetime64(first, "D")))
            if kept < len(held.sessions):
                with self.database.read() as connection:
                    chosen = vintages(connection, market, touching=first)
                    chosen = [vintage for vintage in chosen if vintage.number <= missing[-1].number]
        rows = assemble(
            self._tables(chosen),
            None if held is None else held.columns,
            None if held is None else held.carry(kept),
            first,
        )
        received = [vintage.known_at for vintage in missing if not vintage.reconstructed]
        if held is not None:
            received.append(held.known_until)
        return cache.store(
            held,
            kept,
            rows,
            number=missing[-1].number,
            chain=missing[-1].chain,
            known_until=max(
                received, default=datetime.min.replace(tzinfo=missing[0].known_at.tzinfo)
            ),
        )


def vintages(connection: Connection, market: str, *, touching: date | None = None) -> list[Vintage]:
    """Return the vintages of a market by number, or those with a session at `touching` or later."""
    query = select(_VINTAGES).where(_VINTAGES.c.market == market)
    if touching is not None:
        query = query.where(_VINTAGES.c.last_session >= touching)
    rows = connection.execute(query.order_by(_VINTAGES.c.number)).mappings()
    return [record(Vintage, row) for row in rows]


def last_vintage(connection: Connection, market: str) -> Vintage | None:
    """Return the vintage recorded last, None when the market has none."""
    query = (
        select(_VINTAGES)
        .where(_VINTAGES.c.market == market)
        .order_by(_VINTAGES.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return None if row is None else record(Vintage, row)


def in_schema(table: Any) -> Any:
    """Return rows in `BAR_SCHEMA`: columns cast, absent and null ones filled in by `ABSENT`."""
    columns = []
    for field in BAR_SCHEMA:
        default = ABSENT.get(field.name)
        if field.name in table.column_names:
            column = table.column(field.name).cast(field.type)
            columns.append(column if default is None else pc.fill_null(column, default))
        else:
            columns.append(pa.repeat(pa.scalar(default, field.type), table.num_rows))
    return pa.table(columns, schema=BAR_SCHEMA)


def last_told(parts: list[Any]) -> Any:
    """Return rows of several tables as one, of each key the one in the last table."""
    if not parts:
        return BAR_SCHEMA.empty_table()
    whole = pa.concat_tables(parts).combine_chunks()
    asset = np.asarray(whole["asset"].combine_chunks().dictionary_encode().indices)
    days = whole["session"].cast(pa.int32()).to_numpy().astype(np.int64)
    keys = (days << 32) | asset.astype(np.int64)
    _, last = np.unique(keys[::-1], return_index=True)
    if len(last) < len(keys):
        whole = whole.take(pa.array(len(keys) - 1 - last))
    return whole.sort_by([("session", "ascending"), ("asset", "ascending")]).combine_chunks()


def _hides(as_of: datetime, last_session: date) -> ColumnElement[bool]:
    """Say which vintages a panel of the past does not know."""
    received_later = and_(_VINTAGES.c.reconstructed.is_(False), _VINTAGES.c.known_at > as_of)
    return or_(received_later, _VINTAGES.c.first_session > last_session)


def _cut(market: str, cached: Cached, number: int, last_session: date) -> Panel:
    """Return the rows up to a session, with the columns that vintages up to `number` brought."""
    width = cached.n_assets
    if number < cached.number:
        width = sum(brought <= number for brought in cached.columns.values())
    stop = int(np.searchsorted(cached.sessions, np.datetime64(last_session, "D"), side="right"))
    if stop == 0:
        raise _no_bars(market, last_session)
    values = cached.rows["values"]
    return Panel(
        sessions=cached.sessions[:stop],
        assets=tuple(cached.columns)[:width],
        fields={name: values[:stop, plane, :width] for plane, name in enumerate(FIELDS)},
        universe=cached.rows["present"][:stop, :width],
        flags=cached.rows["flags"][:stop, :width],
    )


def _no_bars(market: str, last_session: date) -> BarsError:
    return BarsError(
        f"market {market} has no bar up to {last_session} that was known",
        rule="a panel has at least one session",
        hint="ingest bars first",
    )


def _checked(market: str, bars: Any) -> Any:
    """Return the bars sorted by session and asset, or raise what is wrong with them."""
    if not bars.schema.equals(BAR_SCHEMA):
        expected = {field.name: str(field.type) for field in BAR_SCHEMA}
        given = {field.name: str(field.type) for field in bars.schema}
        if expected != given:
            odd = sorted(set(expected.items()) ^ set(given.items()))
            raise BarsError(
                f"bars of {market} have another schema: {odd}",
                rule="bars come in storage.bars.BAR_SCHEMA",
            )
        bars = bars.select(BAR_SCHEMA.names).cast(BAR_SCHEMA)
    if len(bars) == 0:
        raise BarsError(f"a vintage of {market} has no row", rule="a vintage has at least one bar")
    for name in _NEVER_NULL:
        if bars[name].null_count:
            raise BarsError(
                f"{bars[name].null_count} bars of {market} have no {name}",
                rule=f"{', '.join(_NEVER_NULL)} are never null",
            )
    for name in ("adjustment", "split"):
        factor = bars[name].to_numpy()
        if not (np.isfinite(factor) & (factor > 0)).all():
            raise BarsError(
                f"bars of {market} have a {name} that is not positive",
                rule="a factor is finite and above 0; 1 means no event",
            )
    bars = bars.sort_by([("session", "ascending"), ("asset", "ascending")]).combine_chunks()
    session, asset = bars["session"], bars["asset"]
    twice = pc.and_(pc.equal(session[1:], session[:-1]), pc.equal(asset[1:], asset[:-1]))
    if pc.any(twice).as_py():
        row = pc.index(twice, True).as_py()
        raise BarsError(
            f"{asset[row]} has two bars of {market} at {session[row]}",
            rule="one bar for each asset and session in a vintage",
            hint="remove the duplicate from the source",
        )
    return bars
