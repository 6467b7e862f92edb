"""The walls of the house: which folder may import which, read from the source."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("signals", "miner", "storage", "daemon")

#: The five arrows.
ALLOWED = {
    "signals": set[str](),
    "miner": {"signals"},
    "storage": {"signals"},
    "daemon": {"signals", "miner", "storage"},
}


def imports(path: Path) -> set[str]:
    """Return the top-level packages a file imports, wherever in the file it does so."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute, so that arrows can be read"
            found.add((node.module or "").split(".")[0])
    return found


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_along_its_arrows(room: str) -> None:
    """`signals` imports nothing of ours; `miner` and `storage` only `signals`; nobody `daemon`."""
    for path in sources(room):
        ours = imports(path) & {*ROOMS, "tests", "bench"}
        assert ours - {room} <= ALLOWED[room], f"{path} imports {ours - {room}}"


def test_every_room_has_sources() -> None:
    """The arrow test reads something: each room holds modules."""
    assert all(len(sources(room)) > 3 for room in ROOMS)


@pytest.mark.parametrize("room", ["signals", "miner"])
def test_the_pure_rooms_reach_for_no_effect(room: str) -> None:
    """No clock, environment, network, subprocess or logging in `signals` and `miner`."""
    effects = {"logging", "structlog", "os", "time", "socket", "subprocess", "requests", "random"}
    for path in sources(room):
        assert not imports(path) & effects, f"{path} imports {imports(path) & effects}"


def test_the_reader_needs_only_the_standard_library() -> None:
    """A consumer can copy `storage/reader.py` alone."""
    assert imports(ROOT / "storage" / "reader.py") <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("room", ROOMS)
def test_inside_a_room_no_import_runs_in_a_circle(room: str) -> None:
    """Modules of one room import each other one way."""
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in sources(room)}
    graph = {name: modules(path) & set(names) for name, path in names.items()}
    assert list(TopologicalSorter(graph).static_order())


def modules(path: Path) -> set[str]:
    """Return the dotted modules a file imports, `from package import module` included."""
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found
