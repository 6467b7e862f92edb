"""The rows of one asset that a provider has at some moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.standins.exchange import SessionArray

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PRICES = ("open", "high", "low", "close")
#: Arrays of a book and of a `Series`.
FIELDS = (*PRICES, "volume", "amount")


@dataclass(frozen=True, eq=False)
class Series:
    """Rows of one asset that a provider has at some moment, as traded.

    `later_splits` and `later_adjustment` are products over the events after each row that are
    known at that moment, `past_adjustment` over the events up to each row. A suspended row has the
    previous close and volume 0. Arrays have shape (n_rows,).
    """

    asset: str
    sessions: SessionArray
    values: Mapping[str, FloatArray]
    suspended: BoolArray
    split: FloatArray
    dividend: FloatArray
    later_splits: FloatArray
    later_adjustment: FloatArray
    past_adjustment: FloatArray

    def rows(self, chosen: Any) -> Series:
        """Return some of the rows: a mask, a slice or row numbers."""
        parts = {
            name: getattr(self, name)[chosen]
            for name in self.__dataclass_fields__
            if name not in ("asset", "values")
        }
        values = {name: column[chosen] for name, column in self.values.items()}
        return Series(asset=self.asset, values=values, **parts)

    def __len__(self) -> int:
        return len(self.sessions)
