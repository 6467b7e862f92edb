"""What can be switched to go wrong, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from threading import Lock

import numpy as np
import numpy.typing as npt

from tests.standins.series import FIELDS, PRICES, Series

#: Every switch and what it does. "the row" is that of the fault's session, else the last.
FAULTS: Mapping[str, str] = {
    "429": "the status of too many requests, in the provider's own words",
    "500": "an internal server error, in the provider's own words",
    "404": "not found, in the provider's own words",
    "html": "status 200 and a page of HTML",
    "reset": "the connection is reset instead of an answer",
    "hang": "the request is read and never answered",
    "drip": "the answer comes at one byte each half second",
    "truncated_json": "the first half of the body, as if it were the whole",
    "huge": "the answer, followed by 200 MB of blanks",
    "gzip_bomb": "4 MB of gzip that unpack to 4 GB of blanks",
    "empty": "a well-formed answer without a row",
    "nan_bar": "the row has a volume and no prices",
    "missing_session": "the row is absent",
    "partial_day": "the last session that has begun is told as it stood 40 % through",
    "stale": "the row repeats the values of the row before",
    "lots_as_shares": "volumes are divided by 100",
    "shares_as_lots": "volumes are multiplied by 100",
    "price_x100": "prices are 100 times what they are",
    "swapped_columns": "Eastmoney: open, high, low, close in this order; Yahoo: high is low",
    "extra_field": "each row has a field more",
    "dash": "Eastmoney: every value of the row is a dash",
    "negative_qfq": "Eastmoney: forward-adjusted prices of all but 20 rows are below 0",
    "duplicate_constituents": "20 members stand there twice, in place of 20 others",
    "short_constituents": "the last two fifths of the members are absent",
    "mass_change": "40 members, or half of fewer than 80, are names nobody knows",
}
#: Which concern the connection rather than what is said.
TRANSPORT = ("reset", "hang", "drip", "truncated_json", "huge", "gzip_bomb")
#: Which replace what is said by a failure.
FAILURES = ("429", "500", "404", "html")
#: The target that stands for every request.
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """A switch that is on.

    Parameters
    ----------
    name : str
        A key of `FAULTS`.
    targets : frozenset of str
        Assets (canonical or as the provider writes them), hosts, or "*" for every request.
    session : date or None
        The row that is meant; None means the last one there is, whatever window is asked for. For
        `price_x100`, `lots_as_shares` and `shares_as_lots` None means every row.
    times : int or None
        Requests it is still good for; None means for ever.
    """

    name: str
    targets: frozenset[str]
    session: date | None = None
    times: int | None = None


class Faults:
    """The switches of a stand-in: `faults["429"] = "AAPL"` and `del faults["429"]`."""

    def __init__(self) -> None:
        self._on: dict[str, Fault] = {}
        self._lock = Lock()

    def __setitem__(self, name: str, targets: str | Iterable[str]) -> None:
        self.switch(name, *([targets] if isinstance(targets, str) else targets))

    def __getitem__(self, name: str) -> Fault:
        return self._on[name]

    def __delitem__(self, name: str) -> None:
        with self._lock:
            del self._on[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._on))

    def switch(
        self,
        name: str,
        *targets: str,
        session: date | None = None,
        times: int | None = None,
    ) -> None:
        """Switch a fault on for some targets in place of those it had; see `Fault`.

        Raises
        ------
        ValueError
            There is no fault of that name, or no target.
        """
        if name not in FAULTS:
            raise ValueError(f"there is no fault {name!r}; there are {', '.join(FAULTS)}")
        if not targets:
            raise ValueError(f"the fault {name} needs an asset, a host or {EVERYTHING!r}")
        with self._lock:
            self._on[name] = Fault(name, frozenset(targets), session, times)

    def clear(self) -> None:
        """Switch every fault off."""
        with self._lock:
            self._on.clear()

    def striking(self, *labels: str) -> dict[str, Fault]:
        """Return the faults on for any of these labels, and count this as one request."""
        found = {}
        with self._lock:
            for name, fault in tuple(self._on.items()):
                if not fault.targets & {EVERYTHING, *labels}:
                    continue
                found[name] = fault
                if fault.times is not None:
                    self._on[name] = replace(fault, times=fault.times - 1)
                    if fault.times <= 1:
                        del self._on[name]
        return found

    def naming(self, asset: str) -> dict[str, Fault]:
        """Return the faults that name an asset itself; this counts as no request."""
        return {name: fault for name, fault in tuple(self._on.items()) if asset in fault.targets}


def distort(series: Series, faults: Mapping[str, Fault]) -> Series:
    """Return the rows of an asset with the faults that concern rows of any provider."""
    for name, fault in faults.items():
        if name in _DISTORTIONS and len(series):
            series = _DISTORTIONS[name](series, fault)
    return series


def struck_row(series: Series, fault: Fault) -> int | None:
    """Return the number of the fault's row; None when its session is not among them."""
    if fault.session is None:
        return len(series) - 1 if len(series) else None
    found = np.flatnonzero(series.sessions == np.datetime64(fault.session, "D"))
    return int(found[0]) if len(found) else None


def _changed(series: Series, **values: npt.NDArray[np.float64]) -> Series:
    return replace(series, values={**series.values, **values})


def _nan_bar(series: Series, fault: Fault) -> Series:
    row = struck_row(series, fault)
    changed = {name: series.values[name].copy() for name in PRICES}
    for array in changed.values():
        array[slice(0, 0) if row is None else row] = np.nan
    return _changed(series, **changed)


def _missing_session(series: Series, fault: Fault) -> Series:
    row = struck_row(series, fault)
    return series if row is None else series.rows(np.arange(len(series)) != row)


def _partial_day(series: Series, _fault: Fault) -> Series:
    last = {name: float(series.values[name][-1]) for name in FIELDS}
    now = last["open"] + round(0.4 * (last["close"] - last["open"]), 2)
    told = {
        "close": now,
        "high": max(last["open"], now),
        "low": min(last["open"], now),
        "volume": float(np.rint(0.4 * last["volume"] / 100.0) * 100.0),
        "amount": round(0.4 * last["amount"], 2),
    }
    changed = {name: series.values[name].copy() for name in told}
    for name, value in told.items():
        changed[name][-1] = value
    return _changed(series, **changed)


def _stale(series: Series, fault: Fault) -> Series:
    row = struck_row(series, fault)
    changed = {name: series.values[name].copy() for name in FIELDS}
    if row:
        for array in changed.values():
            array[row] = array[row - 1]
    return _changed(series, **changed)


def _scaled(series: Series, fault: Fault, names: tuple[str, ...], factor: float) -> Series:
    row = struck_row(series, fault)
    chosen = slice(None) if fault.session is None else slice(0, 0) if row is None else row
    changed = {name: series.values[name].copy() for name in names}
    for array in changed.values():
        array[chosen] *= factor
    return _changed(series, **changed)


_DISTORTIONS: Mapping[str, Callable[[Series, Fault], Series]] = {
    "partial_day": _partial_day,
    "stale": _stale,
    "nan_bar": _nan_bar,
    "missing_session": _missing_session,
    "lots_as_shares": lambda series, fault: _scaled(series, fault, ("volume",), 0.01),
    "shares_as_lots": lambda series, fault: _scaled(series, fault, ("volume",), 100.0),
    "price_x100": lambda series, fault: _scaled(series, fault, PRICES, 100.0),
}
