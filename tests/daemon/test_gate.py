from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon import units
from daemon.gate import Judged, Verdict, judge
from daemon.plausibility import JUMPED
from tests.daemon.traded import changed, day, traded

ASSETS = [f"A{number:03}" for number in range(40)]
SOURCES = {name: f"{number:064x}" for number, name in enumerate(ASSETS)}


def session(number: int, changes: dict[str, float] | None = None) -> Any:
    closes = {name: 10.0 + place + number / 10 for place, name in enumerate(ASSETS)}
    table = traded({name: [close] for name, close in (closes | (changes or {})).items()}, number)
    return changed(table, amount=table["volume"].to_numpy() * table["close"].to_numpy())


def judged(table: Any, **options: Any) -> Judged:
    chosen: dict[str, Any] = {"sessions": [day(1)], "min_assets": 30, "max_quarantined": 0.02}
    return judge(table, **{**chosen, "before": session(0), "sources": SOURCES, **options})


def test_good_batch_is_accepted() -> None:
    """Good bars come out as they went in; each payload's rows are accepted by a verdict."""
    table = session(1)
    result = judged(table, expected=ASSETS)
    assert result.error is None
    assert result.checked is not None
    assert result.checked.table.equals(table)
    assert result.checked.coverage == {day(1): 1.0}
    assert result.repeated == {day(1): 0.0}
    assert len(result.verdicts) == 40
    first = Verdict("accept", "A000", day(1), day(1), 1, "", "1 asset", SOURCES["A000"])
    assert result.verdicts[0] == first


def test_payload_of_many_assets_is_accepted_once() -> None:
    """One payload for the whole market, or none named, makes one verdict."""
    for sources, payload in ((dict.fromkeys(ASSETS, "f" * 64), "f" * 64), (None, "")):
        (verdict,) = judged(session(1), sources=sources).verdicts
        assert (verdict.asset, verdict.n_rows, verdict.payload) == ("", 40, payload)


def test_quarantined_asset_has_a_verdict_and_no_coverage() -> None:
    """A jump is set aside with its rule and payload, and the asset is no longer covered."""
    result = judged(session(1, {"A007": 99.0}), expected=ASSETS)
    assert result.checked is not None
    assert result.checked.table.num_rows == 39
    assert result.checked.coverage == {day(1): 0.975}
    assert [row.asset for row in result.checked.quarantined] == ["A007"]
    verdict = Verdict("quarantine", "A007", day(1), day(1), 1, JUMPED, "1 bar", SOURCES["A007"])
    assert result.verdicts[-1] == verdict
    assert judged(session(1, {"A007": 99.0})).checked.coverage == {day(1): 0.975}  # type: ignore[union-attr]


def test_broken_row_has_a_verdict() -> None:
    """What a row breaks by itself is told like what it breaks beside others."""
    table = session(1)
    broken = changed(table, close=[-1.0, *table["close"].to_pylist()[1:]])
    verdict = judged(broken).verdicts[-1]
    assert (verdict.outcome, verdict.rule) == ("quarantine", "prices are above zero")


def test_lots_are_brought_to_shares_and_told() -> None:
    """A batch in lots is stored in shares, with a verdict that says so."""
    table = session(1)
    result = judged(changed(table, volume=table["volume"].to_numpy() / 100))
    assert result.checked is not None
    assert np.allclose(result.checked.table["volume"], table["volume"])
    (said,) = [one for one in result.verdicts if one.rule]
    assert (said.outcome, said.rule, said.fact, said.n_rows) == (
        "accept", units.RULE, "volume × 100", 40,
    )  # fmt: skip


def test_adjusted_prices_have_no_unit() -> None:
    """Where prices are not as traded, amounts are not compared with them."""
    table = changed(session(1), amount=[1.0] * 40)
    assert judged(table).error is not None
    result = judged(table, as_traded=False)
    assert result.checked is not None
    assert result.checked.table.equals(table)


@pytest.mark.parametrize(
    ("table", "fact", "retryable"),
    [
        (session(2), "2024-01-03, which is no session", False),
        (session(1).slice(0, 20), "has good bars of 20 assets", True),
        (pa.concat_tables([session(1), session(1).slice(3, 1)]), "A003 has more than one", False),
        (changed(session(0), session=[day(1)] * 40), "repeat those of the session before", True),
        (session(1, dict.fromkeys(ASSETS, 1000.0)), "do not follow", False),
        (changed(session(1), amount=[1.0] * 40), "amount / (close × volume)", False),
    ],
)
def test_refused_batch_is_a_result(table: Any, fact: str, retryable: bool) -> None:
    """A refused batch leaves one verdict with rule and fact, and the error for the stage."""
    result = judged(table)
    assert result.checked is None
    assert result.error is not None
    assert (fact in result.error.fact, result.error.retryable) == (True, retryable)
    (verdict,) = result.verdicts
    assert (verdict.outcome, verdict.n_rows) == ("reject", table.num_rows)
    assert (verdict.rule, verdict.fact) == (result.error.rule, result.error.fact)


def test_too_few_assets_left_are_refused() -> None:
    """Assets set aside for their prices are missing when a session's bars are counted."""
    table = session(1, {"A007": 99.0})
    assert judged(table, min_assets=39).error is None
    error = judged(table, min_assets=40).error
    assert error is not None
    assert "has good bars of 39 assets" in error.fact


def test_verdicts_are_plain_records() -> None:
    """A verdict goes into a table or into JSON as it is."""
    verdict = judged(session(1, {"A007": 99.0})).verdicts[-1]
    assert json.loads(json.dumps(asdict(verdict), default=str))["first"] == "2024-01-02"
