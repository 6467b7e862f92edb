"""Suspensions, risk warnings and price limits in what is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.feeds.protocol import Request
from daemon.replay import drive
from daemon.stages.published import load_published
from signals.panel import FLAGS
from storage.bars import BAR_SCHEMA
from tests.daemon.small import (
    FIRST,
    MARKET,
    N_ASSETS,
    SESSIONS,
    Living,
    TroubledFeed,
    living,
)

#: Assets with a flag on a session.
Flagged = Mapping[date, Mapping[str, str]]


class FlaggedFeed(TroubledFeed):
    """A feed whose bars have flags on some sessions."""

    def __init__(self, flagged: Flagged) -> None:
        super().__init__()
        self.flagged = flagged

    def fetch(self, request: Request) -> Any:
        rows = super().fetch(request).to_pylist()
        for row in rows:
            flag = self.flagged.get(row["session"], {}).get(row["asset"])
            if flag is not None:
                row[flag] = True
        return pa.Table.from_pylist(rows, schema=BAR_SCHEMA)


def draw(seed: int) -> dict[str, str]:
    """Return about half of the assets with one flag each."""
    rng = np.random.default_rng(seed)
    names = [f"SIM{number:04d}" for number in range(N_ASSETS)]
    return {name: str(rng.choice(FLAGS)) for name in names if rng.random() < 0.5}


def lived(path: Path, flagged: Flagged, last: int = FIRST, **tables: Any) -> dict[int, Any]:
    """Return the scores and the manifest of the sessions from FIRST to `last`."""
    with living(path, FlaggedFeed(flagged), **tables) as alive:
        sessions = SESSIONS[FIRST : last + 1]
        drive(alive.context, alive.market, sessions, alive.clock, lambda *_: None, None)
        return {number: published(alive, number) for number in range(FIRST, last + 1)}


def published(alive: Living, number: int) -> tuple[dict[str, float], dict[str, Any], bytes]:
    found = load_published(alive.context, alive.market, SESSIONS[number])
    assert found is not None
    home = alive.context.publisher.root / MARKET / "v1" / "sessions" / f"{SESSIONS[number]}"
    [folder] = home.iterdir()
    scores = dict(zip(found.instruments, found.score.tolist(), strict=True))
    signals = (folder / "signals.parquet").read_bytes()
    return scores, json.loads((folder / "manifest.json").read_text())["universe"], signals


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_score_is_published_that_nobody_could_act_on(tmp_path: Path, seed: int) -> None:
    """Of the flagged, the published ones have the direction that is open, and all are named."""
    flags = draw(seed)
    plain, _, _ = lived(tmp_path / "plain", {})[FIRST]
    scores, universe, _ = lived(tmp_path / "flagged", {SESSIONS[FIRST]: flags})[FIRST]
    for asset, flag in flags.items():
        score = scores.get(asset, np.nan)
        assert flag not in ("suspended", "st") or asset not in scores
        assert flag != "limit_up" or not score > 0
        assert flag != "limit_down" or not score < 0
    named = {asset for assets in universe["excluded"].values() for asset in assets}
    assert named == set(plain) - set(scores)
    assert universe["n"] == sum(flags.get(name) not in ("suspended", "st") for name in plain)


def test_a_limit_leaves_the_scores_of_all_others_alone(tmp_path: Path) -> None:
    """Scores are standardised before any is withheld: those that stay are the very same."""
    limits = {"SIM0003": "limit_up", "SIM0004": "limit_up", "SIM0005": "limit_down"}
    plain, _, _ = lived(tmp_path / "plain", {})[FIRST]
    scores, _, _ = lived(tmp_path / "flagged", {SESSIONS[FIRST]: limits})[FIRST]
    assert {name: plain[name] for name in scores} == scores


def test_flags_of_a_later_session_change_nothing(tmp_path: Path) -> None:
    """The first session is published byte for byte the same, whatever the second is flagged."""
    first = {SESSIONS[FIRST]: draw(4)}
    one = lived(tmp_path / "one", first)[FIRST]
    other = lived(tmp_path / "other", {**first, SESSIONS[FIRST + 1]: draw(5)}, FIRST + 1)[FIRST]
    assert one[2] == other[2]


def test_bars_without_flags_are_published_as_ever(tmp_path: Path) -> None:
    """The manifest says nothing of exclusions where there are none."""
    _, universe, _ = lived(tmp_path, {})[FIRST]
    assert "excluded" not in universe


def test_risk_warnings_take_part_where_the_setting_says_so(tmp_path: Path) -> None:
    """`universe.exclude_st` off: the asset has its score, and is not named."""
    warned = {SESSIONS[FIRST]: {"SIM0007": "st"}}
    scores, universe, _ = lived(tmp_path, warned, universe={"exclude_st": False})[FIRST]
    assert "SIM0007" in scores
    assert "excluded" not in universe
