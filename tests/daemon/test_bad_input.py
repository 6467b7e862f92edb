"""Whatever is wrong with what a user gives: a clear error, and the last publication untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from daemon.feeds.parquet import ParquetFeed
from daemon.reconcile import Reconciler
from daemon.reminers import InlineReminer
from storage import alerts, integrity, ledger
from storage.lock import StateLock
from tests.daemon.small import (
    BOOK,
    CALENDAR,
    FIRST,
    MARKET,
    N_ASSETS,
    SESSIONS,
    Finished,
    Home,
    alphad,
    changed,
    living,
    market_bars,
    rows_of,
)

#: The first session that is not published yet.
NEXT = FIRST + 5
DAY = SESSIONS[NEXT]
Spoil = Callable[[Any], Any]


def broken(column: str, value: Any, n_assets: int = 3) -> Spoil:
    return lambda table: changed(table, DAY, column, value, n_assets)


def doubled(table: Any) -> Any:
    return pa.concat_tables([table, rows_of(table, NEXT, NEXT + 1).slice(7, 1)])


def on_a_saturday(table: Any) -> Any:
    row = rows_of(table, NEXT, NEXT + 1).slice(0, 1).to_pylist()[0]
    row["session"] = row["session"].replace(year=2023, month=6, day=3)
    return pa.concat_tables([table, pa.Table.from_pylist([row], schema=table.schema)])


def few(table: Any) -> Any:
    there = rows_of(table, NEXT, NEXT + 1).slice(0, 15)
    return pa.concat_tables([rows_of(table, 0, NEXT), there, rows_of(table, NEXT + 1, 150)])


def untouched(home: Home, before: dict[str, bytes]) -> None:
    """Check that everything published is still there as it was, and whole."""
    assert home.files() == before
    verified = alphad("verify", "--config", home.config)
    assert (verified.code, verified.out) == (0, "whole\n")


def told(finished: Finished, code: int, fact: str) -> None:
    """Check that an error names fact, rule and way out, and nothing but them."""
    assert finished.code == code, finished.err
    assert fact in finished.err
    assert "\n  Rule: " in finished.err
    assert "\n  Way out: " in finished.err
    assert "Traceback" not in finished.err


BAD_SESSIONS = {
    "nan": (broken("close", float("nan")), f"3 of 40 bars of {DAY} are broken"),
    "negative": (broken("close", -1.0), "not “prices are above zero”"),
    "zero": (broken("open", 0.0), "3 not “prices are above zero”"),
    "envelope": (broken("high", 0.01), "3 not “low ≤ open, close ≤ high”"),
    "volume": (broken("volume", -5.0), "3 not “volume is there and not negative”"),
    "few-assets": (few, f"{DAY} has good bars of 15 assets"),
    "missing-session": (lambda table: rows_of(table, 0, NEXT), f"there are no bars of {DAY}"),
}
BAD_FILES = {
    "duplicate": (doubled, f"SIM0007 has more than one bar on {DAY}"),
    "unknown-column": (
        lambda table: table.append_column("mood", table["close"]),
        "the unknown column mood",
    ),
    "missing-column": (
        lambda table: table.drop_columns(["volume"]),
        "has no column for volume",
    ),
    "no-session": (on_a_saturday, "bars on 2023-06-03, which is no session"),
}


BAD_BARS = BAD_SESSIONS | BAD_FILES


@pytest.mark.parametrize(("spoil", "fact"), BAD_BARS.values(), ids=BAD_BARS)
def test_bad_bars_stop_the_replay(home: Home, spoil: Spoil, fact: str) -> None:
    """Bad bars of the next session: exit code 65, and nothing published changes."""
    before = home.files()
    pq.write_table(spoil(market_bars()), home.bars)
    told(home.replay(FIRST, NEXT + 2), 65, fact)
    untouched(home, before)


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["empty", "half"])
def test_torn_file_stops_the_replay(home: Home, share: float) -> None:
    """An empty or half-written file is told from bars that are wrong, and says what to do."""
    before = home.files()
    data = home.bars.read_bytes()
    home.bars.write_bytes(data[: int(len(data) * share)])
    finished = home.replay(FIRST, NEXT + 2)
    told(finished, 65, f"{home.bars} cannot be read as bars")
    assert "rename it here" in finished.err
    untouched(home, before)


def test_corrected_bars_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    """After the file is corrected the same command ends in the bytes of an undisturbed run."""
    home = Home(tmp_path).write(few(market_bars()))
    assert home.replay(FIRST, NEXT + 1).code == 65
    pq.write_table(market_bars(), home.bars)
    assert home.replay(FIRST, NEXT + 1).code == 0
    corrected = home.files()
    shutil.rmtree(home.out)
    assert home.replay(FIRST, NEXT + 1).code == 0
    assert corrected == home.files()


@pytest.mark.parametrize(("spoil", "fact"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_refused_before_anything(tmp_path: Path, spoil: Spoil, fact: str) -> None:
    """What is wrong with a file as a whole is told at its first session; nothing is published."""
    home = Home(tmp_path).write(spoil(market_bars()))
    told(home.replay(FIRST, NEXT), 65, fact)
    assert home.files() == {}


def test_torn_csv_is_refused_before_anything(tmp_path: Path) -> None:
    """A CSV that ends within a row is refused too."""
    home = Home(tmp_path).write(market_bars())
    table = market_bars().select(["session", "asset", "open", "high", "low", "close", "volume"])
    file = tmp_path / "bars.csv"
    pa.csv.write_csv(table, file)
    file.write_bytes(file.read_bytes()[:-30])
    finished = home.replay(FIRST, NEXT, "--bars", file)
    told(finished, 65, str(file))
    assert home.files() == {}


@pytest.mark.parametrize("name", ["nan", "few-assets", "duplicate"])
def test_bad_bars_of_a_living_market(tmp_path: Path, name: str) -> None:
    """A file that turns bad is alerted and nothing changes; corrected, the market goes on."""
    spoil, fact = BAD_BARS[name]
    file = tmp_path / "bars.parquet"
    pq.write_table(market_bars(), file)
    with living(tmp_path / "alive", ParquetFeed(file, CALENDAR)) as alive:
        loop = Reconciler(alive.context, InlineReminer(alive.context))
        loop.tick(alive.market)
        root = alive.context.publisher.root
        before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
        alive.until(NEXT)
        pq.write_table(spoil(market_bars()), file)
        for _ in range(2):
            loop.tick(alive.market)
        with alive.context.database.read() as conn:
            failed = [row for row in alerts.open_alerts(conn, MARKET) if row.key == "stage-failed"]
            last = ledger.last_session(conn, MARKET, "publish")
        assert len(failed) == 1
        assert fact in failed[0].message
        assert last is not None
        assert last < DAY
        assert all(
            path.read_bytes() == data for path, data in before.items() if path.name != "latest.json"
        )
        assert integrity.verify(root) == []
        pq.write_table(market_bars(), file)
        loop.tick(alive.market)
        assert loop.due(alive.market) is None


def test_one_broken_bar_is_set_aside(tmp_path: Path) -> None:
    """Within the budget a broken row costs its own asset only, and is told."""
    bars = changed(market_bars(), SESSIONS[FIRST + 1], "close", float("nan"), 1)
    home = Home(tmp_path).write(bars)
    assert home.replay(FIRST, FIRST + 1).code == 0
    day = SESSIONS[FIRST + 1].isoformat()
    explained = alphad("explain", day, "--config", home.config).out
    assert "SIM0000: prices are there and finite" in explained
    [row] = alphad("status", "--config", home.config, "--json").json()
    assert row["session"] == day
    assert row["reasons"][-1] == "coverage 0.975 below 0.980"


def membership_of(home: Home, *rows: str) -> Path:
    file = home.path / "members.csv"
    whole = [f"SIM{number:04d},2020-01-01," for number in range(N_ASSETS)]
    file.write_text("\n".join(["asset,start_date,end_date", *whole, *rows]) + "\n")
    return file


def test_overlapping_membership_from_the_start(tmp_path: Path) -> None:
    """Two spells of one asset that overlap: nothing is even begun."""
    home = Home(tmp_path).write(market_bars())
    file = membership_of(home, "SIM0003,2023-02-01,2023-03-01")
    finished = home.replay(FIRST, FIRST + 1, "--membership", file)
    told(finished, 65, "SIM0003 2020-01-01…open overlaps SIM0003 2023-02-01…2023-03-01")
    assert home.files() == {}


def test_overlapping_membership_later(tmp_path: Path) -> None:
    """A membership that was good when the replay began and is not any more stops its resumption."""
    home = Home(tmp_path).write(market_bars())
    assert home.replay(FIRST, FIRST + 1, "--membership", membership_of(home)).code == 0
    before = home.files()
    file = membership_of(home, "SIM0003,2023-02-01,2023-03-01")
    told(home.replay(FIRST, FIRST + 2, "--membership", file), 65, "overlaps")
    untouched(home, before)


@pytest.mark.parametrize(
    ("text", "code", "fact"),
    [
        (BOOK.replace("TS_PCTCHANGE($close, 6)", "TS_PCTCHANGE($close,"), 65, "TS_PCTCHANGE"),
        (BOOK.replace("TS_PCTCHANGE($close, 6)", "MAGIC($close)"), 65, "MAGIC"),
        (BOOK.replace("TS_PCTCHANGE($close, 6)", "$sentiment"), 65, "sentiment"),
        (BOOK.replace("observation", "remark"), 78, "observation"),
        ("factors = ", 78, "cannot be read"),
    ],
    ids=["torn", "operator", "field", "key", "toml"],
)
def test_malformed_seed_book(home: Home, text: str, code: int, fact: str) -> None:
    """A user's own book that cannot be used is named with what is wrong in it, at the start."""
    before = home.files()
    home.book.write_text(text)
    finished = home.replay(FIRST, NEXT)
    told(finished, code, fact)
    assert str(home.book) in finished.err
    untouched(home, before)


def test_seed_book_that_is_no_text(home: Home) -> None:
    """A binary file for a book is a configuration error and not a traceback."""
    home.book.write_bytes(b"\xff\xfe\x00factors")
    told(home.replay(FIRST, NEXT), 78, str(home.book))


def test_missing_seed_book(home: Home) -> None:
    """A book that is neither packaged nor a file names those that are packaged."""
    home.book.unlink()
    finished = home.replay(FIRST, NEXT)
    told(finished, 78, str(home.book))
    assert "packaged are us, cn, sim" in finished.err


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("[markets.us.ingestt]\nmin_assets = 20", "markets.us.ingestt is no setting"),
        ("[markets.us.label]\nlagg = 1", "markets.us.label.lagg is no setting"),
        ("[markets.us.label]\nhorizon = 0", "markets.us.label.horizon = 0 is refused"),
        ("[markets.eu.book]\nshadow_min = 300", "shadow_min 300 is above shadow_max 250"),
        ("tick_seconds = [", "is no TOML"),
    ],
)
def test_bad_settings(home: Home, line: str, fact: str) -> None:
    """A key that is unknown, out of range or contradicts another: exit code 78."""
    before = home.files()
    home.settings.write_text(home.settings.read_text() + line + "\n")
    told(home.replay(FIRST, NEXT), 78, fact)
    told(alphad("run", "--config", home.settings), 78, fact)
    untouched(home, before)


@pytest.mark.parametrize("command", ["run", "status", "replay"])
def test_unknown_environment_name(
    home: Home, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """A misspelt ALPHAD_ name stops every command, with the name that was meant."""
    before = home.files()
    with monkeypatch.context() as patched:
        patched.setenv("ALPHAD_STATE_DRI", "elsewhere")
        patched.delenv("ALPHAD_CONFIG", raising=False)
        patched.chdir(home.path)
        arguments: list[str | Path] = [command]
        if command == "replay":  # without a settings file
            arguments += ["--market", "us", "--bars", home.bars, "--out", home.out]
            arguments += ["--from", SESSIONS[FIRST].isoformat(), "--to", SESSIONS[NEXT].isoformat()]
        finished = alphad(*arguments)
    told(finished, 78, "environment variable ALPHAD_STATE_DRI is no setting")
    assert "did you mean ALPHAD_STATE_DIR?" in finished.err
    untouched(home, before)


def test_other_settings_than_those_of_the_output(home: Home) -> None:
    """A replay goes on only under the settings it began with."""
    before = home.files()
    home.settings.write_text(
        home.settings.read_text().replace("min_assets = 20", "min_assets = 21")
    )
    told(home.replay(FIRST, NEXT), 78, f"{home.out} holds the output of other settings")
    untouched(home, before)


@pytest.mark.parametrize(("first", "last"), [(FIRST - 5, NEXT), (NEXT + 3, NEXT + 4)])
def test_span_that_would_leave_a_gap(home: Home, first: int, last: int) -> None:
    """A span that begins before the published ones, or beyond the next, is refused."""
    before = home.files()
    finished = home.replay(first, last)
    told(finished, 78, "would leave a gap")
    assert f"give --from {SESSIONS[FIRST]}" in finished.err
    untouched(home, before)


def test_second_instance(home: Home) -> None:
    """A state directory in use: exit code 75, with the process that holds it."""
    before = home.files()
    with StateLock(home.out / "state"):
        finished = home.replay(FIRST, NEXT)
    told(finished, 75, "is in use by process")
    untouched(home, before)


def test_output_that_is_a_file(home: Home) -> None:
    """An --out that is a file is refused before anything is read."""
    file = home.path / "file"
    file.touch()
    for command in (
        ("demo", "--out", file),
        ("replay", "--market", "us", "--bars", home.bars, "--out", file,
         "--from", "2023-05-26", "--to", "2023-05-26"),
    ):  # fmt: skip
        told(alphad(*command), 78, f"{file} is a file")


@pytest.mark.parametrize(
    ("arguments", "fact"),
    [
        (("--market", "us", "--bars", "absent.parquet"), "absent.parquet does not exist"),
        (("--market", "eu", "--bars", "bars.parquet"), "calendar of market 'eu' is not known"),
        (("--market", "us", "--bars", "bars.parquet", "--calendar", "XNYSS"), "no calendar"),
        (("--market", "U S", "--bars", "bars.parquet", "--calendar", "XNYS"), "markets.U S"),
        (
            ("--market", "us", "--bars", "bars.parquet", "--from", "2023-01-01", "--to",
             "2023-01-02"),
            "no session from 2023-01-01 to 2023-01-02",
        ),
        (
            ("--market", "us", "--bars", "bars.parquet", "--to", "2093-01-03"),
            "2093-01-03 is outside the calendar of XNYS",
        ),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_meant(
    home: Home, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], fact: str
) -> None:
    """A missing file, an unknown exchange, a span without sessions: each says the way out."""
    monkeypatch.chdir(home.path)
    span = ("--from", "2023-05-26", "--to", "2023-05-31", "--out", "fresh")
    finished = alphad("replay", *span, *arguments)
    told(finished, 65 if "outside" in fact else 78, fact)
    assert not Path("fresh/published").exists()
