"""Watches for tests: both tests in one state."""

from __future__ import annotations

from dataclasses import replace

from signals.decay import MonitorState
from signals.residual import Basis
from signals.watch import RAW_FACTOR, Watch


def watch_of(state: MonitorState) -> Watch:
    """Return a watch over a raw RankIC: its two tests are `state`, thresholds apart."""
    return Watch(state, replace(state, threshold=RAW_FACTOR * state.threshold), Basis())
