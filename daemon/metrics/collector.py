"""The collector: asks every subject in turn, in one consistent reading of the database."""

from __future__ import annotations

from collections.abc import Iterator

import structlog
from prometheus_client.core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import Connection

from daemon.context import Context, Market
from daemon.metrics.book import Books
from daemon.metrics.data import add_data, add_providers
from daemon.metrics.market import add_market
from daemon.metrics.remining import add_model, add_remining
from daemon.metrics.service import add_process, add_stored
from daemon.metrics.sheet import Sheet
from signals.errors import StorageError
from storage import tallies

log = structlog.get_logger()


class DatabaseCollector(Collector):
    """Builds every series from what is stored."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.books = Books()

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families; without a database those that tell of that."""
        try:
            sheet = self._read()
        except StorageError as error:
            log.error("the database does not answer a scrape", error=str(error))
            sheet = self._unread()
            sheet.add("database_readable", 0)
        yield from sheet

    def _read(self) -> Sheet:
        sheet = self._unread()
        with self.context.database.read() as conn:
            add_stored(self.context, conn, sheet)
            for market in self.context.markets.values():
                self._read_market(conn, market, sheet)
        sheet.add("database_readable", 1)
        return sheet

    def _read_market(self, conn: Connection, market: Market, sheet: Sheet) -> None:
        stages = tallies.stages(conn, market.name)
        add_market(self.context, conn, market, stages, sheet)
        add_data(conn, market, stages.get("ingest"), sheet)
        observed = stages["observe"].last_result if "observe" in stages else None
        self.books.add(conn, market, observed, sheet)
        add_remining(conn, market, sheet)
        add_model(conn, market, sheet)

    def _unread(self) -> Sheet:
        sheet = Sheet()
        add_process(self.context, sheet)
        for market in self.context.markets.values():
            add_providers(market, sheet)
        return sheet


def build_registry(context: Context) -> CollectorRegistry:
    """Return a registry of its own, so that tests and instances do not share one."""
    registry = CollectorRegistry()
    registry.register(DatabaseCollector(context))
    return registry
