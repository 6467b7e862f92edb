"""The engines that are compared, one file each; none is imported before it is asked for."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import cast

from bench.peers.base import Engine


@dataclass(frozen=True)
class Peer:
    """Where an engine is found.

    Parameters
    ----------
    module, cls : str
        Of its class.
    requires : str
        The module that must be installed, and the distribution it is in, "" for our own.
    """

    module: str
    cls: str
    requires: str = ""
    distribution: str = ""


#: Every engine by the name that selects it.
PEERS = {
    "ours": Peer("bench.peers.ours", "Ours"),
    "ours64": Peer("bench.peers.ours", "Ours64"),
    "kunquant": Peer("bench.peers.kunquant_graph", "KunQuantGraph", "KunQuant", "KunQuant"),
    "bottleneck": Peer(
        "bench.peers.bottleneck_arrays", "BottleneckArrays", "bottleneck", "Bottleneck"
    ),
    "polars": Peer("bench.peers.polars_frames", "PolarsFrames", "polars", "polars"),
    "pandas": Peer("bench.peers.pandas_frames", "PandasFrames", "pandas", "pandas"),
    "gplearn": Peer("bench.peers.gplearn_functions", "GplearnFunctions", "gplearn", "gplearn"),
    "qlib": Peer("bench.peers.qlib_series", "QlibSeries", "qlib", "pyqlib"),
}


def engine_class(key: str) -> type[Engine]:
    """Import an engine."""
    peer = PEERS[key]
    return cast("type[Engine]", getattr(importlib.import_module(peer.module), peer.cls))
