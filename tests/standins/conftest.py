"""One stand-in and one client process a market, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import pytest

from tests.standins import MarketBook, StandIn
from tests.standins.asked import Asked

#: The evening after the last session of both books.
EVENING = datetime(2023, 12, 29, 23, tzinfo=UTC)
FIRST, LAST = date(2022, 1, 4), date(2023, 12, 29)


@pytest.fixture(scope="session")
def us_book() -> MarketBook:
    return MarketBook.synthetic("us", 30, FIRST, LAST, seed=3)


@pytest.fixture(scope="session")
def cn_book() -> MarketBook:
    return MarketBook.synthetic("cn", 120, FIRST, LAST, seed=3)


@pytest.fixture(scope="session")
def us_running(us_book: MarketBook) -> Iterator[StandIn]:
    with StandIn(us_book, EVENING) as standin:
        yield standin


@pytest.fixture(scope="session")
def cn_running(cn_book: MarketBook) -> Iterator[StandIn]:
    with StandIn(cn_book, EVENING) as standin:
        yield standin


def rewound(standin: StandIn, book: MarketBook) -> StandIn:
    standin.book, standin.now = book, EVENING
    standin.faults.clear()
    standin.log.clear()
    return standin


@pytest.fixture
def us(us_running: StandIn, us_book: MarketBook) -> StandIn:
    """Return the US stand-in on its last evening, with nothing wrong and an empty log."""
    return rewound(us_running, us_book)


@pytest.fixture
def cn(cn_running: StandIn, cn_book: MarketBook) -> StandIn:
    """Return the Chinese stand-in on its last evening, with nothing wrong and an empty log."""
    return rewound(cn_running, cn_book)


@pytest.fixture(scope="session")
def yahoo_client(us_running: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with Asked(us_running.environment, tmp_path_factory.mktemp("yfinance")) as asked:
        yield asked


@pytest.fixture(scope="session")
def akshare_client(
    cn_running: StandIn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Asked]:
    with Asked(cn_running.environment, tmp_path_factory.mktemp("akshare")) as asked:
        yield asked


def traded(book: MarketBook, asset: str) -> Any:
    """Return an asset's bars as a pandas.DataFrame by session, without suspended ones."""
    bars = book.bars.to_pandas()
    bars = bars[(bars["asset"] == asset) & ~bars["suspended"]]
    return bars.set_index("session")


def after(factors: Any) -> Any:
    """Return for each row the product of the factors after it."""
    return factors[::-1].cumprod()[::-1] / factors
