"""The truncation property over the whole path: nothing published at t knows what came after t."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from bench.kills import published_files
from daemon.replay import run_replay
from daemon.summary import Summary
from storage.bars import BAR_SCHEMA
from tests.faults.market import BEGIN, MARKET, SESSIONS, settings_of, write_bars

PRICES = ("open", "high", "low", "close")
#: Files of a publication.
FILES = 5
#: What may happen to the rows after t.
CHANGES = ("prices", "volumes", "missing", "dropped", "new", "events", "suspended")


def replay(config: Path, table: Any, last: int) -> dict[str, bytes]:
    """Replay a table up to session number `last` in a fresh directory; return what is published."""
    with tempfile.TemporaryDirectory() as out:
        bars = write_bars(Path(out) / "bars.parquet", table)
        chosen = settings_of(config, bars, Path(out))
        run_replay(chosen, MARKET, SESSIONS[BEGIN], SESSIONS[last], lambda *_: None)
        return published_files(Path(out))


def up_to(files: dict[str, bytes], number: int) -> dict[str, bytes]:
    """Return the files of sessions up to a number, without the pointer: that is of the last one."""
    days = {session.isoformat() for session in SESSIONS[: number + 1]}
    return {name: data for name, data in files.items() if Path(name).parent.parent.name in days}


def differing(files: dict[str, bytes], others: dict[str, bytes]) -> list[str]:
    """Return the names of the files that are not in both with the same bytes."""
    return sorted(n for n in files.keys() | others.keys() if files.get(n) != others.get(n))


def changed_after(table: Any, number: int, kinds: set[str], seed: int) -> Any:
    """Return a table whose rows after session `number` are changed at random, and no other row."""
    rng = np.random.default_rng(seed)
    rows = table.to_pylist()
    dropped = set(rng.choice(table["asset"].unique().to_pylist(), 8, replace=False).tolist())
    made = []
    for row in rows:
        if row["session"] <= SESSIONS[number]:
            made.append(row)
            continue
        if "missing" in kinds and rng.random() < 0.03:
            continue
        if "dropped" in kinds and row["asset"] in dropped:
            continue
        new = dict(row)
        if "prices" in kinds:
            factor = float(np.exp(rng.normal(0.0, 0.05)))
            new |= {name: row[name] * factor for name in PRICES}
        if "volumes" in kinds:
            new["volume"] = float(np.round(row["volume"] * np.exp(rng.normal(0.0, 1.0))))
        if "events" in kinds and rng.random() < 0.02:
            new["adjustment"], new["split"] = 2.0, 2.0
        if "suspended" in kinds and rng.random() < 0.02:
            new["suspended"] = True
        made.append(new)
        if "new" in kinds and row["asset"] == "SIM0000":
            made += [{**new, "asset": name, "volume": 1e6} for name in ("AAA", "SIM00005", "ZZZ")]
    return pa.Table.from_pylist(made, schema=BAR_SCHEMA)


def test_the_span_is_eventful(undisturbed: Summary) -> None:
    """In the replayed span re-minings run, and what one of them accepts joins and goes live."""
    assert len(undisturbed.jobs) >= 3
    assert sum(len(job.accepted) for job in undisturbed.jobs) >= 1
    assert any(e.kind == "live" and e.subject.startswith("m") for e in undisturbed.events)
    assert any(event.kind == "rejected" for event in undisturbed.events)


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # an example costs seconds: shrinking would not end
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    number=st.integers(BEGIN, len(SESSIONS) - 2),
    kinds=st.sets(st.sampled_from(CHANGES), min_size=1),
    seed=st.integers(0, 2**32 - 1),
)
@example(number=BEGIN + 12, kinds=set(CHANGES), seed=0)
@pytest.mark.timeout(240)
def test_what_comes_after_never_changes_what_was_published(
    bars: Path, config: Path, reference: dict[str, bytes], number: int, kinds: set[str], seed: int
) -> None:
    """Rows after t are changed at random: every file of a session up to t keeps every byte."""
    table = changed_after(pq.read_table(bars), number, kinds, seed)
    assert table != pq.read_table(bars)
    files = replay(config, table, len(SESSIONS) - 1)
    expected = up_to(reference, number)
    assert len(expected) == FILES * (number + 1 - BEGIN)
    assert differing(up_to(files, number), expected) == []


def test_a_market_that_ends_at_t_is_published_the_same(
    bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """With no row after t at all, the sessions up to t are published as they were."""
    number = BEGIN + 20
    table = pq.read_table(bars)
    table = table.filter(pc.less_equal(table["session"], pa.scalar(SESSIONS[number])))
    files = replay(config, table, number)
    assert differing(up_to(files, number), up_to(reference, number)) == []


def test_a_change_at_t_changes_what_is_published_at_t(
    bars: Path, config: Path, reference: dict[str, bytes]
) -> None:
    """The comparison can fail: one close at t changes the signals of t, and none before it."""
    number = BEGIN + 10
    rows = pq.read_table(bars).to_pylist()
    row = next(r for r in rows if r["session"] == SESSIONS[number] and r["asset"] == "SIM0007")
    row["close"] = row["low"] if row["close"] > row["low"] else row["high"]
    files = replay(config, pa.Table.from_pylist(rows, schema=BAR_SCHEMA), number)
    assert differing(up_to(files, number - 1), up_to(reference, number - 1)) == []
    signals = next(
        n for n in files if SESSIONS[number].isoformat() in n and n.endswith("signals.parquet")
    )
    assert files[signals] != reference[signals]
