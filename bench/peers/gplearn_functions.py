"""gplearn: its protected functions on flat float64 arrays; it has elementwise ones only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import gplearn
import numpy as np
from gplearn.functions import _function_map as functions

from bench.peers.base import TreeEngine
from signals.expression import Call, Constant, Expression, walk
from signals.panel import FloatArray


def _power(x: Any, p: float) -> Any:
    """Return a small whole power as a program would write it: by products."""
    product = functions["mul"]
    square = product(x, x)
    return {2: square, 3: product(square, x), 5: product(product(square, square), x)}[int(p)]


class GplearnFunctions(TreeEngine):
    """The functions of a symbolic program."""

    name = "gplearn"
    about = f"{gplearn.__version__}, float64, protected division, logarithm and root"
    operators: ClassVar[Mapping[str, Callable[..., Any]]] = {
        "ADD": functions["add"],
        "SUBTRACT": functions["sub"],
        "MULTIPLY": functions["mul"],
        "DIVIDE": functions["div"],
        "ABS": functions["abs"],
        "LOG": functions["log"],
        "SQRT": functions["sqrt"],
        "MAX": functions["max"],
        "MIN": functions["min"],
        "POW": _power,
    }

    def unsupported(self, expression: Expression) -> str:
        """Return why `expression` cannot be computed; powers are small and whole."""
        for node in walk(expression):
            if isinstance(node, Call) and node.op == "POW":
                power = node.args[1]
                if not (isinstance(power, Constant) and power.value in {2, 3, 5}):
                    return "no POW but by products"
        return super().unsupported(expression)

    def load(self, values: FloatArray) -> FloatArray:
        """Return the field as one column."""
        return values.astype(np.float64).reshape(-1)

    def unload(self, values: Any) -> FloatArray:
        """Return it in its shape."""
        array: FloatArray = values.reshape(self.fields["close"].shape)
        return array
