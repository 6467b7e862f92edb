"""docs/faults.md names tests and benches that there are, for every fault."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, flags=re.MULTILINE)


def test_every_fault_has_a_row() -> None:
    """The 36 faults are listed in order, each with a test or a bench and its invariants."""
    assert [int(number) for number, _ in ROWS] == list(range(1, 37))
    for _, row in ROWS:
        cells = row.split(" | ")
        assert len(cells) == 5
        assert re.search(r"`(tests/\S+::\w+|bench\.\w+)", cells[2])
        assert re.fullmatch(r"I\d+([-,] ?I\d+)*", cells[4]), cells[4]


def test_every_named_test_is_there() -> None:
    """Each `file::name` is a function of that file."""
    named = set(re.findall(r"`(tests/[\w/.]+)::(\w+)`", PAGE))
    assert len(named) > 60
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_named_bench_is_there_and_is_run() -> None:
    """Each `bench.…` is a module that `make faults` or `make bench` runs."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for module in set(re.findall(r"`(?:python -m )?(bench\.\w+)", PAGE)):
        assert find_spec(module) is not None, module
        assert f"-m {module}" in makefile, module
