"""Print the part of requirements.lock that a server needs, hashes and all.

python deploy/runtime_lock.py llm postgres > runtime.lock

requirements.lock also holds what development needs. The names given are extras of alphad to keep.
setuptools is kept too, because it builds the package. What needs what is told by the comments of
the lock itself.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
#: Builds the package where nothing may be fetched without a hash.
BUILDER = "setuptools"


def normal(requirement: str) -> str:
    """Return the name in a requirement, spelt as the lock spells it."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement.strip())
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


class Locked(NamedTuple):
    """One version of a package; another Python may have another one."""

    name: str
    lines: str
    parents: frozenset[str]


def entries(lock: str) -> list[Locked]:
    """Return what is locked: the lines without comments, and the packages that need it."""
    found = []
    for block in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE):
        lines = block.splitlines()
        if not lines:
            continue
        told = (line.strip().removeprefix("#").strip() for line in lines if line[:5] == "    #")
        parents = frozenset(normal(line.removeprefix("via").strip()) for line in told)
        kept = "\n".join(line for line in lines if line[:5] != "    #")
        found.append(Locked(normal(lines[0]), kept, parents))
    return found


def roots(project: Mapping[str, object], extras: Iterable[str]) -> set[str]:
    """Return the names of the project's own dependencies and of those of some extras."""
    known = project["optional-dependencies"]
    stated = project["dependencies"]
    assert isinstance(known, dict)  # noqa: S101 - pyproject.toml is ours
    assert isinstance(stated, list)  # noqa: S101
    unknown = sorted(set(extras) - set(known))
    if unknown:
        sys.exit(f"no extra of alphad: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return {normal(name) for name in [*stated, *(n for extra in extras for n in known[extra])]}


def needed(locked: list[Locked], wanted: set[str]) -> list[str]:
    """Return the lines of the packages that are wanted, and of what they need in turn."""
    kept: set[str] = set()
    while wanted - kept:
        kept |= wanted
        wanted = {each.name for each in locked if each.parents & kept}
    return [each.lines for each in locked if each.name in kept]


def main() -> None:
    """Print the lock for the extras named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    locked = entries((ROOT / "requirements.lock").read_text(encoding="utf-8"))
    wanted = roots(project, sys.argv[1:]) | {BUILDER}
    missing = sorted(wanted - {each.name for each in locked})
    if missing:
        sys.exit(f"requirements.lock does not have {', '.join(missing)}: run `make lock`")
    sys.stdout.write("\n".join(needed(locked, wanted)) + "\n")


if __name__ == "__main__":
    main()
