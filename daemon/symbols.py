"""How an asset is spelt at each provider: one table, read in both directions.

An asset's own name is its US ticker with a dot before the share class (BRK.B) or its six-digit
Chinese code as text (600000). The exchange of a code follows from its first digits; A shares only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from signals.errors import DataError


@dataclass(frozen=True, slots=True)
class Spelling:
    """A provider's spelling.

    Parameters
    ----------
    separator : str or None
        What stands before a US ticker's share class; None where US shares are not served.
    template : str or None
        A Chinese code, with {code} and {exchange}; None where Chinese shares are not served.
    exchanges : mapping of str to str
        What the provider calls the exchanges SH, SZ and BJ; one that is absent is not served.
    """

    separator: str | None = None
    template: str | None = None
    exchanges: Mapping[str, str] = field(default_factory=dict)


_PREFIXED = {"SH": "sh", "SZ": "sz", "BJ": "bj"}
_PLAIN = Spelling(template="{code}", exchanges=_PREFIXED)

#: The spellings; `secid` is how Eastmoney's addresses name what akshare takes as a plain code.
SPELLINGS: Mapping[str, Spelling] = {
    "wikipedia": Spelling("."),
    "yahoo": Spelling("-", "{code}.{exchange}", {"SH": "SS", "SZ": "SZ"}),
    "tiingo": Spelling("-"),
    "akshare": _PLAIN,
    "eastmoney": _PLAIN,
    "secid": Spelling(template="{exchange}.{code}", exchanges={"SH": "1", "SZ": "0", "BJ": "0"}),
    "csindex": _PLAIN,
    "baostock": Spelling(template="{exchange}.{code}", exchanges={"SH": "sh", "SZ": "sz"}),
    "sina": Spelling(template="{exchange}{code}", exchanges=_PREFIXED),
}

_US = re.compile(r"([A-Z]{1,6})(?:\.([A-Z]{1,2}))?")
_CN = re.compile(r"\d{6}", re.ASCII)
#: The exchange of a code by its first digits.
_EXCHANGES = (
    (re.compile("60[0135]|68[89]"), "SH"),
    (re.compile("00[0-4]|30[0-9]"), "SZ"),
    (re.compile("43|8[378]|92"), "BJ"),
)


def exchange(code: str) -> str:
    """Return the exchange of a six-digit code of an A share: SH, SZ or BJ.

    Raises
    ------
    DataError
        No six digits, or the code of no A share.
    """
    if _CN.fullmatch(code):
        for prefix, name in _EXCHANGES:
            if prefix.match(code):
                return name
    raise DataError(
        f"{code!r} is the code of no A share",
        rule="a Chinese asset is six digits as text, with the first digits of an exchange's board",
        hint="leading zeros are lost where codes were read as numbers; funds and B shares are no "
        "assets here",
    )


def to_provider(asset: str, provider: str) -> str:
    """Return how `provider` spells `asset`.

    Raises
    ------
    DataError
        The provider is unknown or does not serve such assets, or `asset` is no asset's name.
    """
    spelling = _spelling(provider)
    if asset[:1].isdecimal():
        place = exchange(asset)
        if spelling.template is not None and place in spelling.exchanges:
            return spelling.template.format(code=asset, exchange=spelling.exchanges[place])
    else:
        match = _US.fullmatch(asset)
        if match is None:
            raise DataError(
                f"{asset!r} is no asset's name",
                rule="an asset is an upper-case US ticker with a dot before the share class, or "
                "six digits",
                hint="write BRK.B, not BRK-B, BRK/B or brk.b",
            )
        if spelling.separator is not None:
            return spelling.separator.join(part for part in match.groups() if part)
    raise DataError(
        f"{provider} does not serve {asset}",
        rule="a provider is asked only for shares of exchanges it has",
        hint="take another provider for this market",
    )


def from_provider(symbol: str, provider: str) -> str:
    """Return the asset that `provider` spells `symbol`: the inverse of `to_provider`.

    Raises
    ------
    DataError
        The provider is unknown, or would never spell an asset so.
    """
    spelling = _spelling(provider)
    if spelling.template is not None:
        pattern = re.escape(spelling.template)
        pattern = pattern.replace(r"\{code\}", r"(\d{6})").replace(r"\{exchange\}", "[A-Za-z0-9]+")
        found = re.fullmatch(pattern, symbol, re.ASCII)
        # spelling it again refuses the code of one exchange under the name of another
        if found is not None and to_provider(found[1], provider) == symbol:
            return found[1]
    if spelling.separator is not None:
        parts = symbol.split(spelling.separator)
        asset = ".".join(parts)
        if all(parts) and "." not in "".join(parts) and _US.fullmatch(asset):
            return asset
    raise DataError(
        f"{symbol!r} is no symbol of {provider}",
        rule=f"{provider} spells shares as "
        + " or ".join(
            to_provider(asset, provider)
            for asset, there in (("BRK.B", spelling.separator), ("600000", spelling.template))
            if there is not None
        ),
        hint="the provider's spelling has changed, or this is no common share",
    )


def _spelling(provider: str) -> Spelling:
    if provider not in SPELLINGS:
        raise DataError(
            f"there is no provider {provider!r}",
            rule=f"symbols are known of {', '.join(sorted(SPELLINGS))}",
            hint="add a row to SPELLINGS in daemon/symbols.py",
        )
    return SPELLINGS[provider]
