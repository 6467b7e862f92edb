"""What a book holds: a market that could have been, and the one that lay in a file."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from storage.bars import BAR_SCHEMA
from tests.standins import MarketBook
from tests.standins.members import changes

PRICES = ("open", "high", "low", "close")


@pytest.fixture(params=["us", "cn"])
def book(request: pytest.FixtureRequest, us_book: MarketBook, cn_book: MarketBook) -> MarketBook:
    return us_book if request.param == "us" else cn_book


def test_bars_are_what_a_feed_returns(book: MarketBook) -> None:
    """The bars are in the store's schema, sorted, each asset and session once, no price missing."""
    bars = book.bars
    assert bars.schema == BAR_SCHEMA
    keys = bars.select(["session", "asset"])
    assert keys.equals(keys.sort_by([("session", "ascending"), ("asset", "ascending")]))
    assert keys.group_by(["session", "asset"]).aggregate([]).num_rows == bars.num_rows
    assert all(bars[name].null_count == 0 for name in BAR_SCHEMA.names if name != "amount")


def test_prices_are_cents_in_order(book: MarketBook) -> None:
    """Prices are whole cents, the low is the lowest and the high the highest."""
    open_, high, low, close = (book.bars[name].to_numpy() for name in PRICES)
    assert (low <= np.minimum(open_, close)).all()
    assert (high >= np.maximum(open_, close)).all()
    assert (low > 0).all()
    assert np.array_equal(np.round(close, 2), close)


def test_same_seed_same_market(book: MarketBook) -> None:
    """A market is a function of its seed."""
    again, other = (
        MarketBook.synthetic(book.market, 5, date(2023, 1, 3), date(2023, 3, 1), seed)
        for seed in (1, 2)
    )
    first = MarketBook.synthetic(book.market, 5, date(2023, 1, 3), date(2023, 3, 1), 1)
    assert first.bars.equals(again.bars)
    assert not first.bars.equals(other.bars)


def test_events_explain_jumps(book: MarketBook) -> None:
    """Across a split or a dividend the adjusted return is a day's, whatever the price does."""
    bars = book.bars.to_pandas()
    bars["before"] = bars.groupby("asset")["close"].shift()
    events = bars[(bars["adjustment"] != 1.0) & bars["before"].notna()]
    held = events["close"] * events["adjustment"] / events["before"]
    assert len(events) > 50
    assert (events["split"] != 1.0).any()
    assert np.abs(np.log(held)).max() < 0.25
    cash = events["dividend"] / events["before"]
    assert np.allclose(events["adjustment"], events["split"] / (1.0 - cash), rtol=1e-12)


def test_events_lie_apart(book: MarketBook) -> None:
    """Two events of an asset are a month of sessions apart or more."""
    for column in range(len(book.assets)):
        rows = np.flatnonzero(book.adjustment[:, column] != 1.0)
        assert (np.diff(rows) > 20).all()


def test_chinese_closes_stay_within_limits(cn_book: MarketBook) -> None:
    """Limits are flagged where the close is at ±10 % or ±20 %, and nothing goes beyond 20 %."""
    bars = cn_book.bars.to_pandas()
    bars["before"] = bars.groupby("asset")["close"].shift()
    quiet = bars[(bars["adjustment"] == 1.0) & bars["before"].notna()]
    move = quiet["close"] / quiet["before"] - 1.0
    main = ~quiet["asset"].str.match("30|68") & ~quiet["st"]
    slack = 0.006 / quiet["before"]
    assert (move.abs() < 0.2 + slack).all()
    assert (move.abs() < 0.1 + slack)[main].all()
    assert quiet["limit_up"][main].sum() > 10
    at_limit = main & quiet["limit_up"]
    assert ((move - 0.1).abs() < slack)[at_limit].all()


def test_suspended_rows_stand_still(cn_book: MarketBook) -> None:
    """A suspended session has the close before as its prices and no volume."""
    bars = cn_book.bars.to_pandas()
    bars["before"] = bars.groupby("asset")["close"].shift()
    halted = bars[bars["suspended"]]
    assert len(halted) > 50
    assert (halted[list(PRICES)].sub(halted["before"], axis=0) == 0.0).all(axis=None)
    assert (halted["volume"] == 0.0).all()


def test_members_number_the_same_after_each_change(book: MarketBook) -> None:
    """Each change of the index takes one name in and one out."""
    told = changes(book, book.days[-1])
    assert told
    assert all(change.added and change.removed for change in told)
    assert {len(book.members(day)) for day in book.days} == {len(book.members(book.days[0]))}


def test_a_split_put_in_leaves_returns(us_book: MarketBook) -> None:
    """A split divides the prices after it and multiplies volumes; adjusted returns stay."""
    day, column = us_book.days[300], us_book.columns["AAD"]
    after = us_book.with_event("AAD", day, split=4.0)
    series = us_book.values["close"][:, column], after.values["close"][:, column]
    assert series[0][299] == series[1][299]
    assert series[1][300] == pytest.approx(series[0][300] / 4.0, abs=0.005)
    total = series[1][300] * after.adjustment[300, column] / series[1][299]
    assert total == pytest.approx(series[0][300] / series[0][299], abs=0.001)
    assert after.bars.num_rows == us_book.bars.num_rows


def test_a_value_is_corrected(us_book: MarketBook) -> None:
    """One value of one bar can be another; nothing else is."""
    day = us_book.days[40]
    after = us_book.with_value("AAD", day, "close", 12.34)
    differing = pc.not_equal(after.bars["close"], us_book.bars["close"])
    assert after.bars.filter(differing).select(["asset", "session", "close"]).to_pylist() == [
        {"asset": "AAD", "session": day, "close": 12.34}
    ]


def test_adjusted_file_becomes_as_traded(tmp_path: Path) -> None:
    """Total returns of the book are the file's within the rounding of prices and dividends."""
    source = MarketBook.synthetic("us", 3, date(2020, 1, 2), date(2021, 12, 31), 5).bars
    asset = source.filter(pc.equal(source["asset"], "AAA"))
    walk = 50.0 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, asset.num_rows)))
    columns = {"date": asset["session"], "symbol": asset["asset"], "volume": asset["volume"]}
    columns |= dict.fromkeys(PRICES, pa.array(walk))
    pq.write_table(pa.table(columns), tmp_path / "bars.parquet")
    book = MarketBook.from_parquet(tmp_path / "bars.parquet", "us", seed=2)
    total = book.values["close"][:, 0] * np.cumprod(book.adjustment[:, 0])
    assert (book.split != 1.0).any()
    assert (book.dividend > 0.0).sum() > 3
    slack = 0.011 / book.values["close"][1:, 0]
    assert (np.abs(np.diff(np.log(total)) - np.diff(np.log(walk))) < slack).all()


@pytest.mark.parametrize(
    ("name", "market", "membership"),
    [
        ("us_2010_2022.parquet", "us", "sp500_intervals.csv"),
        ("cn_2013_2019.parquet", "cn", "csi500_intervals.csv"),
    ],
)
def test_real_bars_become_a_market(
    shared_data: Path, name: str, market: str, membership: str
) -> None:
    """Real bars of a few names and years make a book with members, events and sound units."""
    book = MarketBook.from_parquet(
        shared_data / name,
        market,
        first=date(2015, 1, 1),
        last=date(2016, 12, 31),
        n_assets=60,
        membership=shared_data / membership,
    )
    last = datetime(2016, 12, 30, 23, tzinfo=UTC)
    assert book.finished(last) == len(book.days) == (504 if market == "us" else 488)
    assert 10 < len(book.members(date(2016, 6, 1))) <= 60
    assert (book.adjustment != 1.0).sum() > 40
    if market == "cn":
        traded = book.bars.filter(pc.greater(book.bars["volume"], 0.0)).to_pandas()
        unit = traded["amount"] / (traded["close"] * traded["volume"])
        assert unit.between(0.8, 1.25).all()
