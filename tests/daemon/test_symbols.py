from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.symbols import SPELLINGS, exchange, from_provider, to_provider
from signals.errors import DataError

US = st.from_regex(r"[A-Z]{1,6}(\.[A-Z]{1,2})?", fullmatch=True)
CN = st.from_regex(re.compile(r"(60[0135]|68[89]|00[0-4]|30[0-9])[0-9]{3}"), fullmatch=True)
AMERICAN = [name for name, spelling in SPELLINGS.items() if spelling.separator is not None]
CHINESE = [name for name, spelling in SPELLINGS.items() if spelling.template is not None]


@pytest.mark.parametrize(
    ("asset", "provider", "symbol"),
    [
        ("BRK.B", "yahoo", "BRK-B"),
        ("BRK.B", "tiingo", "BRK-B"),
        ("BRK.B", "wikipedia", "BRK.B"),
        ("A", "yahoo", "A"),
        ("600000", "yahoo", "600000.SS"),
        ("000001", "yahoo", "000001.SZ"),
        ("600000", "akshare", "600000"),
        ("000001", "eastmoney", "000001"),
        ("600000", "secid", "1.600000"),
        ("300750", "secid", "0.300750"),
        ("920001", "secid", "0.920001"),
        ("600000", "csindex", "600000"),
        ("688981", "baostock", "sh.688981"),
        ("000001", "baostock", "sz.000001"),
        ("600000", "sina", "sh600000"),
        ("002001", "sina", "sz002001"),
        ("830799", "sina", "bj830799"),
    ],
)
def test_spellings(asset: str, provider: str, symbol: str) -> None:
    """Each provider's spelling is what its own addresses and tables show, in both directions."""
    assert to_provider(asset, provider) == symbol
    assert from_provider(symbol, provider) == asset


@given(asset=US)
@pytest.mark.parametrize("provider", AMERICAN)
def test_us_names_come_back(provider: str, asset: str) -> None:
    """Spelling a US ticker and reading it again gives the same asset."""
    assert from_provider(to_provider(asset, provider), provider) == asset


@given(asset=CN)
@pytest.mark.parametrize("provider", CHINESE)
def test_chinese_codes_come_back(provider: str, asset: str) -> None:
    """Spelling a Chinese code and reading it again gives the same asset."""
    assert from_provider(to_provider(asset, provider), provider) == asset


@given(assets=st.lists(st.one_of(US, CN), min_size=2, max_size=2, unique=True))
def test_no_two_assets_share_a_spelling(assets: list[str]) -> None:
    """Yahoo serves both markets, and two assets never become one symbol there."""
    assert to_provider(assets[0], "yahoo") != to_provider(assets[1], "yahoo")


@pytest.mark.parametrize(
    ("name", "column", "spelt_as", "providers"),
    [
        ("sp500_intervals.csv", "symbol", "yahoo", ("yahoo", "tiingo", "wikipedia")),
        ("csi500_intervals.csv", "code", "csindex", ("akshare", "baostock", "sina", "secid")),
    ],
)
def test_every_past_member_has_a_spelling(
    shared_data: Path, name: str, column: str, spelt_as: str, providers: tuple[str, ...]
) -> None:
    """Nobody who ever was in the index is without a symbol."""
    with (shared_data / name).open(encoding="utf-8") as file:
        assets = {from_provider(row[column], spelt_as) for row in csv.DictReader(file)}
    for asset in assets:
        for provider in providers:
            assert from_provider(to_provider(asset, provider), provider) == asset


@pytest.mark.parametrize(
    ("asset", "provider", "fact"),
    [
        ("BRK-B", "yahoo", "no asset's name"),
        ("brk.b", "yahoo", "no asset's name"),
        ("", "yahoo", "no asset's name"),
        ("A B", "yahoo", "no asset's name"),
        ("1", "akshare", "code of no A share"),
        ("200011", "akshare", "code of no A share"),
        ("٦٠٠٠٠٠", "akshare", "code of no A share"),
        ("600000", "tiingo", "tiingo does not serve 600000"),
        ("BRK.B", "baostock", "baostock does not serve BRK.B"),
        ("920001", "yahoo", "yahoo does not serve 920001"),
        ("AAPL", "stooq", "no provider 'stooq'"),
    ],
)
def test_what_is_no_asset_is_refused(asset: str, provider: str, fact: str) -> None:
    """A name that is not canonical, or not served there, is an error and never passed on."""
    with pytest.raises(DataError, match=fact):
        to_provider(asset, provider)


@pytest.mark.parametrize(
    ("symbol", "provider"),
    [
        ("BRK.B", "yahoo"),
        ("BRK--B", "yahoo"),
        ("-B", "yahoo"),
        ("^GSPC", "yahoo"),
        ("600000.SZ", "yahoo"),
        ("600000.ss", "yahoo"),
        ("sz600000", "sina"),
        ("sh.000001", "baostock"),
        ("0.600000", "secid"),
        ("600000 ", "akshare"),
        ("1", "csindex"),
    ],
)
def test_symbol_of_no_asset_is_refused(symbol: str, provider: str) -> None:
    """Another spelling, an index, or a code under another exchange's name is never guessed at."""
    with pytest.raises(DataError):
        from_provider(symbol, provider)


def test_exchange_follows_from_the_code() -> None:
    """Shanghai, Shenzhen and Beijing are told apart by the first digits."""
    assert [exchange(code) for code in ("605001", "301001", "920002")] == ["SH", "SZ", "BJ"]
