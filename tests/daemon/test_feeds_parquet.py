from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from daemon.calendar import MarketCalendar, Overlay
from daemon.feeds.open import open_feed
from daemon.feeds.parquet import ParquetFeed
from daemon.feeds.protocol import Request
from daemon.settings import FeedSettings
from daemon.validation import check_bars
from signals.errors import BarsError
from tests.daemon.bars import ASSETS, SESSIONS, make_bars

Write = Callable[[Any, Path], None]
CALENDAR = MarketCalendar("XNYS", Overlay())
RENAMED = {"session": "Date", "asset": "symbol", "volume": "Volume"}


def own(table: Any, **renamed: str) -> Any:
    """Return bars as a user might have them: seven columns under names of their own."""
    names = {**RENAMED, **renamed}
    table = table.select(["session", "asset", "open", "high", "low", "close", "volume"])
    return table.rename_columns([names.get(name, name) for name in table.column_names])


def refusal(path: Path) -> BarsError:
    with pytest.raises(BarsError) as caught:
        ParquetFeed(path, CALENDAR).fetch(Request("us", SESSIONS))
    assert caught.value.rule
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("suffix", "write"), [("parquet", pq.write_table), ("csv", pacsv.write_csv)]
)
class TestEitherFormat:
    """What holds for Parquet and CSV alike."""

    def test_bars_come_back(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A file's rows come back in the schema, sorted, codes with their leading zeros."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars()).sort_by([("symbol", "descending")]), file)
        feed = ParquetFeed(file, CALENDAR)
        assert feed.history(date(2030, 1, 1)) == SESSIONS[0]
        assert feed.history(date(2024, 1, 1)) is None
        assert feed.fetch(Request("us", SESSIONS)).equals(make_bars())

    def test_only_what_is_asked_for(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """Sessions and assets are chosen; sessions that are not there are absent."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars()), file)
        request = Request("us", (SESSIONS[0], SESSIONS[2], date(2024, 12, 2)), ("BRK.B",))
        table = ParquetFeed(file, CALENDAR).fetch(request)
        assert table.equals(make_bars((SESSIONS[0], SESSIONS[2])).take([3, 7]))
        nothing = ParquetFeed(file, CALENDAR).fetch(Request("us", (date(2024, 12, 2),)))
        assert nothing.num_rows == 0

    def test_optional_columns(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """Amounts, events and flags are read; `tradestatus` 0 is suspended, `is_st` 1 is ST."""
        events = {(2, "split"): 2.0, (2, "adjustment"): 0.5, (3, "dividend"): 0.25}
        flags = {(1, "suspended"): True, (4, "st"): True, (5, "limit_up"): True}
        changes = {**events, **flags, (6, "limit_down"): True}
        wanted = make_bars(changes={**changes, (0, "amount"): 5.0})
        status = pa.array([0 if flag else 1 for flag in wanted["suspended"].to_pylist()])
        special = wanted["st"].cast(pa.int8())
        table = wanted.drop_columns(["suspended", "st"]).append_column("tradestatus", status)
        file = tmp_path / f"bars.{suffix}"
        write(table.append_column("is_st", special).append_column("adj_close", status), file)
        assert ParquetFeed(file, CALENDAR).fetch(Request("us", SESSIONS)).equals(wanted)

    def test_flag_that_is_a_price_is_refused(
        self, tmp_path: Path, suffix: str, write: Write
    ) -> None:
        """A `limit_up` that holds the limit's price is no flag."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars()).append_column("limit_up", pa.array([12.1] * 12)), file)
        assert "column limit_up is no limit_up" in refusal(file).fact

    def test_empty_file_is_refused(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A file of no bytes, and one of a header only, are refused; a retry may help."""
        file = tmp_path / f"bars.{suffix}"
        file.touch()
        assert refusal(file).retryable
        write(own(make_bars().slice(0, 0)), file)
        error = refusal(file)
        assert "has no rows" in error.fact
        assert error.retryable

    def test_unknown_column_is_refused(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A column nobody knows is named, never dropped."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars()).append_column("sentiment", pa.array(range(12))), file)
        assert "unknown column sentiment" in refusal(file).fact

    def test_missing_column_is_refused(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A column that is needed is named, and so is what it may be called."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars()).drop_columns(["Volume"]), file)
        assert "no column for volume" in refusal(file).fact

    def test_two_columns_for_one_thing(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """Both `symbol` and `code` is one too many."""
        file = tmp_path / f"bars.{suffix}"
        table = own(make_bars())
        write(table.append_column("code", table["symbol"]), file)
        assert "two columns for asset: symbol, code" in refusal(file).fact

    def test_text_for_a_price_is_refused(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A dash for a price is no number."""
        file = tmp_path / f"bars.{suffix}"
        table = own(make_bars()).drop_columns(["close"])
        write(table.append_column("close", pa.array(["-"] * 12)), file)
        assert str(file) in refusal(file).fact

    def test_duplicate_rows_are_refused(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """Two rows of one asset and session are refused at load."""
        file = tmp_path / f"bars.{suffix}"
        write(own(pa.concat_tables([make_bars(), make_bars().slice(5, 1)])), file)
        assert "600000 has more than one bar on 2024-11-27" in refusal(file).fact

    def test_day_outside_the_calendar(self, tmp_path: Path, suffix: str, write: Write) -> None:
        """A bar on Thanksgiving is refused at load, though nobody asks for that day."""
        file = tmp_path / f"bars.{suffix}"
        write(own(make_bars((*SESSIONS, date(2024, 11, 28)))), file)
        assert "2024-11-28, which is no session" in refusal(file).fact


@pytest.mark.parametrize(
    "dates",
    [
        pa.array([f"{day:%Y-%m-%d}" for day in SESSIONS for _ in ASSETS]),
        pa.array([f"{day:%Y%m%d}" for day in SESSIONS for _ in ASSETS]),
        pa.array([int(f"{day:%Y%m%d}") for day in SESSIONS for _ in ASSETS]),
        make_bars()["session"].cast(pa.timestamp("ns")),
    ],
    ids=["iso", "compact", "integer", "timestamp"],
)
def test_dates_may_be_written_in_several_ways(tmp_path: Path, dates: Any) -> None:
    """Text, compact text, integers and midnight timestamps are all read as sessions."""
    table = own(make_bars()).drop_columns(["Date"]).append_column("datetime", dates)
    pq.write_table(table, tmp_path / "bars.parquet")
    feed = ParquetFeed(tmp_path / "bars.parquet", CALENDAR)
    assert feed.fetch(Request("us", SESSIONS)).equals(make_bars())


@pytest.mark.parametrize(
    "dates",
    [
        pa.array(["yesterday"] * 12),
        pa.array([None] * 12, pa.date32()),
        pa.array([1732579200 + 3600] * 12, pa.timestamp("s")),
        pa.array([1732579200] * 12, pa.timestamp("s", tz="UTC")),
    ],
    ids=["words", "missing", "time of day", "time zone"],
)
def test_what_is_no_date_is_refused(tmp_path: Path, dates: Any) -> None:
    """Words, gaps, times of day and time zones are no sessions."""
    table = own(make_bars()).drop_columns(["Date"]).append_column("date", dates)
    pq.write_table(table, tmp_path / "bars.parquet")
    assert "column date is no session" in refusal(tmp_path / "bars.parquet").fact


def test_codes_as_numbers_are_refused(tmp_path: Path) -> None:
    """Integer codes have lost their leading zeros."""
    table = own(make_bars()).drop_columns(["symbol"]).append_column("code", pa.array(range(12)))
    pq.write_table(table, tmp_path / "bars.parquet")
    assert "leading zeros" in refusal(tmp_path / "bars.parquet").rule


def test_half_written_file_is_refused(tmp_path: Path) -> None:
    """A file cut short is refused; a retry may help."""
    file = tmp_path / "bars.parquet"
    pq.write_table(own(make_bars()), file)
    file.write_bytes(file.read_bytes()[:-100])
    error = refusal(file)
    assert "cannot be read as bars" in error.fact
    assert error.retryable


def test_folder_is_one_set_of_bars(tmp_path: Path) -> None:
    """Files of a folder, Parquet and CSV mixed, are read as one; other files are left alone."""
    pq.write_table(own(make_bars(SESSIONS[1:])), tmp_path / "b.parquet")
    pacsv.write_csv(own(make_bars(SESSIONS[:1]), session="date", asset="code"), tmp_path / "a.csv")
    (tmp_path / "README").write_text("mine")
    table = ParquetFeed(tmp_path, CALENDAR).fetch(Request("us", SESSIONS))
    assert table.equals(make_bars())


@pytest.mark.parametrize("name", ["nothing", "absent.parquet", "bars.xlsx"])
def test_no_file_of_bars_is_refused(tmp_path: Path, name: str) -> None:
    """An empty folder, an absent file and a file of another kind are refused."""
    (tmp_path / "nothing").mkdir()
    (tmp_path / "bars.xlsx").touch()
    assert str(tmp_path / name) in refusal(tmp_path / name).fact


def test_changed_file_is_read_again(tmp_path: Path) -> None:
    """Rows added to a file are seen by the next question."""
    file = tmp_path / "bars.parquet"
    pq.write_table(own(make_bars(SESSIONS[:2])), file)
    feed = open_feed(FeedSettings(kind="parquet", path=file), CALENDAR)
    assert feed.fetch(Request("us", SESSIONS)).num_rows == 8
    pq.write_table(own(make_bars()), file)
    assert feed.fetch(Request("us", SESSIONS)).num_rows == 12


@pytest.mark.parametrize(
    ("name", "exchange", "n_broken"),
    [
        ("cn_2013_2019.parquet", "XSHG", 5),
        ("us_2010_2022.parquet", "XNYS", 4),
        ("us_2012_2022_with_adj_close.parquet", "XNYS", 3),
    ],
)
def test_real_bars_pass_the_gate(
    shared_data: Path, name: str, exchange: str, n_broken: int
) -> None:
    """Real bars of 7 to 13 years hold every session and break only the known envelopes."""
    calendar = MarketCalendar(exchange, Overlay())
    feed = ParquetFeed(shared_data / name, calendar)
    first = feed.history(date(2030, 1, 1))
    assert first is not None
    last = date(2019, 12, 31) if exchange == "XSHG" else date(2022, 12, 30)
    days = calendar.sessions(first, last)
    table = feed.fetch(Request("real", tuple(days)))
    checked = check_bars(table, sessions=days, min_assets=30, max_quarantined=0.02)
    assert len(checked.quarantined) == n_broken
    assert {row.rule for row in checked.quarantined} == {"low ≤ open, close ≤ high"}


def test_one_session_is_served_in_milliseconds(shared_data: Path) -> None:
    """Serving one session of a file of 1.8 million rows touches only that session's rows."""
    feed = ParquetFeed(shared_data / "us_2010_2022.parquet")
    days = CALENDAR.sessions(date(2016, 1, 1), date(2016, 12, 31))
    feed.history(days[0])
    began = perf_counter()
    for day in days:
        feed.fetch(Request("real", (day,)))
    assert (perf_counter() - began) / len(days) < 0.02  # seconds; 0.0003 on an idle machine
