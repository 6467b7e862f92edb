"""The real akshare, unmodified, is told what the book says as Eastmoney and csindex tell it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from tests.standins import MarketBook, StandIn
from tests.standins.asked import Asked
from tests.standins.conftest import after, traded

PRICES = ["open", "high", "low", "close"]


class TestEastmoney:
    def history(self, asked: Asked, adjust: str = "", asset: str = "600000") -> Any:
        return asked.ask("stock_zh_a_hist", symbol=asset, adjust=adjust, timeout=5)

    def test_unadjusted_history(self, cn: StandIn, akshare_client: Asked) -> None:
        """Prices are as traded, volumes lots of 100, amounts yuan; suspended days have no row."""
        asset = next(
            name for name in cn.book.assets if cn.book.suspended[:, cn.book.columns[name]].any()
        )
        frame = self.history(akshare_client, asset=asset)
        bars = traded(cn.book, asset)
        assert list(frame["日期"]) == list(bars.index)
        assert (frame[["开盘", "最高", "最低", "收盘"]].to_numpy() == bars[PRICES].to_numpy()).all()
        assert list(frame["成交量"] * 100) == list(bars["volume"])
        assert np.allclose(frame["成交额"], bars["amount"], rtol=0, atol=0.005)

    def test_hfq_multiplies(self, cn: StandIn, akshare_client: Asked) -> None:
        """Backward-adjusted prices are as traded times the factors so far, rounded to 0.01."""
        close = self.history(akshare_client, "hfq")["收盘"]
        bars = traded(cn.book, "600000")
        factor = bars["adjustment"].cumprod()
        assert factor.iloc[-1] > 1.5
        assert np.abs(close.to_numpy() - bars["close"] * factor).max() < 0.005 + 1e-6

    def test_qfq_divides(self, cn: StandIn, akshare_client: Asked) -> None:
        """Forward-adjusted prices are as traded over the factors to come."""
        close = self.history(akshare_client, "qfq")["收盘"]
        bars = traded(cn.book, "600000")
        told = bars["close"] / after(bars["adjustment"])
        assert np.abs(close.to_numpy() - told).max() < 0.005 + 1e-6

    @pytest.mark.usefixtures("cn")
    def test_window_is_asked_for(self, akshare_client: Asked) -> None:
        """Both ends of the window are included."""
        frame = akshare_client.ask(
            "stock_zh_a_hist", symbol="600000", start_date="20230104", end_date="20230106"
        )
        assert list(frame["日期"]) == [date(2023, 1, day) for day in (4, 5, 6)]

    def test_index_history(self, cn: StandIn, akshare_client: Asked) -> None:
        """The CSI 500 has a history under market 1."""
        frame = akshare_client.ask("stock_zh_index_daily_em", symbol="sh000905")
        assert np.allclose(frame["close"], cn.book.index.values["close"], rtol=0, atol=0.0051)

    def test_spot_lists_every_share(self, cn: StandIn, akshare_client: Asked) -> None:
        """The snapshot has each listed share once, over several pages, in lots."""
        frame = akshare_client.ask("stock_zh_a_spot_em").set_index("代码")
        last = cn.book.bars.to_pandas().groupby("session").get_group(date(2023, 12, 29))
        last = last.set_index("asset")
        assert frame.index.is_unique
        assert set(frame.index) == set(last.index)
        assert [entry.path for entry in cn.log] == ["/api/qt/clist/get"] * 2
        moving = last[~last["suspended"]]
        assert (frame.loc[moving.index, "最新价"] == moving["close"]).all()
        assert (frame.loc[moving.index, "成交量"] * 100 == moving["volume"]).all()
        assert frame.loc[last.index[last["suspended"]], "最新价"].isna().all()

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("429", "JSONDecodeError"),
            ("500", "KeyError"),
            ("html", "JSONDecodeError"),
            ("truncated_json", "JSONDecodeError"),
            ("reset", "ProxyError"),
            ("hang", "ReadTimeout"),
            ("extra_field", "ValueError"),
        ],
    )
    def test_failures_raise(
        self, cn: StandIn, akshare_client: Asked, fault: str, error: str
    ) -> None:
        """Each failure is the exception noted for it; a reset is a ProxyError behind a proxy."""
        cn.faults[fault] = "600000"
        told = akshare_client.ask("stock_zh_a_hist", symbol="600000", timeout=0.5)
        assert told == error

    def test_empty_and_unknown_look_alike(self, cn: StandIn, akshare_client: Asked) -> None:
        """No rows and an unknown share are both a frame without columns."""
        cn.faults["empty"] = "600000"
        assert self.history(akshare_client).columns.empty
        assert self.history(akshare_client, asset="601999").columns.empty

    def test_dash_is_silently_nan(self, cn: StandIn, akshare_client: Asked) -> None:
        """A row of dashes becomes NaN and turns volumes into floats."""
        cn.faults["dash"] = "600000"
        frame = self.history(akshare_client)
        assert frame.iloc[-1][["开盘", "收盘", "成交量"]].isna().all()
        assert frame["成交量"].dtype == np.float64

    def test_swapped_columns_are_accepted(self, cn: StandIn, akshare_client: Asked) -> None:
        """Columns in another order pass: what is called close is the high."""
        cn.faults["swapped_columns"] = "600000"
        frame = self.history(akshare_client)
        assert list(frame["收盘"]) == list(traded(cn.book, "600000")["high"])

    def test_shares_as_lots(self, cn: StandIn, akshare_client: Asked) -> None:
        """Volumes can come in shares where lots are meant."""
        cn.faults["shares_as_lots"] = "push2his.eastmoney.com"
        frame = self.history(akshare_client)
        assert list(frame["成交量"]) == list(traded(cn.book, "600000")["volume"])

    def test_negative_qfq(self, cn: StandIn, akshare_client: Asked) -> None:
        """Forward-adjusted prices can be below 0; the others are not touched."""
        cn.faults["negative_qfq"] = "600000"
        assert (self.history(akshare_client, "qfq")["收盘"] < 0).sum() > 100
        assert (self.history(akshare_client, "hfq")["收盘"] > 0).all()

    def test_beyond_the_calendar_there_are_weekdays(self) -> None:
        """A book of 2027 has sessions, though nobody knows that year's holidays yet."""
        book = MarketBook.synthetic("cn", 5, date(2026, 12, 28), date(2027, 1, 8))
        assert book.days[-6:] == tuple(date(2027, 1, day) for day in (1, 4, 5, 6, 7, 8))
        assert book.finished(datetime(2027, 1, 8, 7, tzinfo=UTC)) == len(book.days)


class TestCsindex:
    def cons(self, asked: Asked) -> Any:
        return asked.ask("index_stock_cons_csindex", "000905")

    def test_the_members_are_listed(self, cn: StandIn, akshare_client: Asked) -> None:
        """The workbook holds the members of the last session, codes with their zeros."""
        frame = self.cons(akshare_client)
        assert tuple(frame["成分券代码"]) == cn.book.members(date(2023, 12, 29))
        assert set(frame["日期"]) == {date(2023, 12, 29)}

    def test_members_move_with_time(self, cn: StandIn, akshare_client: Asked) -> None:
        """A year before, the members were others."""
        cn.now -= timedelta(days=365)
        assert tuple(self.cons(akshare_client)["成分券代码"]) == cn.book.members(date(2022, 12, 29))

    def test_weights_sum_to_a_hundred(self, cn: StandIn, akshare_client: Asked) -> None:
        """The second workbook has weights in percent."""
        weights = akshare_client.ask("index_stock_cons_weight_csindex", "000905")["权重"]
        assert len(weights) == len(cn.book.members(date(2023, 12, 29)))
        assert weights.sum() == pytest.approx(100.0, abs=0.1)

    @pytest.mark.parametrize(
        ("fault", "rows", "distinct", "known"),
        [
            ("duplicate_constituents", 116, 96, 96),
            ("short_constituents", 69, 69, 69),
            ("mass_change", 116, 116, 76),
        ],
    )
    def test_faults(
        self,
        cn: StandIn,
        akshare_client: Asked,
        fault: str,
        rows: int,
        distinct: int,
        known: int,
    ) -> None:
        """The list can hold names twice, too few names, or many that nobody knows."""
        cn.faults[fault] = "000905"
        codes = self.cons(akshare_client)["成分券代码"]
        assert (len(codes), codes.nunique()) == (rows, distinct)
        assert len(set(codes) & set(cn.book.assets)) == known

    def test_html(self, cn: StandIn, akshare_client: Asked) -> None:
        """A page in place of the workbook is a ValueError."""
        cn.faults["html"] = "oss-ch.csindex.com.cn"
        assert self.cons(akshare_client) == "ValueError"
