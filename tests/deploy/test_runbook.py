"""The runbook has a section for whatever may be told, and what is told points at its section."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from daemon.standing import STOPPED

ROOT = Path(__file__).resolve().parents[2]
RUNBOOK = ROOT / "docs" / "operations.md"
#: Keys that are the values of an enumeration, by the file that raises them.
MADE = {"standing.py": [state.value for state in STOPPED]}
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"


@cache
def sections() -> dict[str, str]:
    """Return the text of each section of the runbook by the anchor of its heading."""
    parts = re.split(r"^## (.+)$", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in parts[1::2]]
    return dict(zip(slugs, parts[2::2], strict=True))


def alerting_rules() -> list[dict[str, str]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


@cache
def raised_keys() -> dict[str, str]:
    """Return every key that the code raises an alert with, and a place that does so."""
    found = {}
    for room in ("daemon", "storage"):
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                if name_of(call.func) == "raise_alert" and not forwards(call):
                    place = f"{path.relative_to(ROOT)}:{call.lineno}"
                    keys = MADE.get(path.name) or list(texts(call.args[2], tree))
                    assert keys, f"{place}: which key is raised here?"
                    found.update(dict.fromkeys(keys, place))
    return found


def name_of(function: ast.expr) -> str | None:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def forwards(call: ast.Call) -> bool:
    """Say whether this is the wrapper that passes on what it was given."""
    return isinstance(call.args[2], ast.Name) and call.args[2].id == "key" and len(call.args) == 6


def texts(key: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Yield what a key may be, up to the name it may carry behind a colon."""
    if isinstance(key, ast.Constant):
        yield str(key.value).partition(":")[0]
    elif isinstance(key, ast.JoinedStr) and isinstance(key.values[0], ast.Constant):
        yield str(key.values[0].value).partition(":")[0]
    elif isinstance(key, ast.Name):
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                yield from assigned(node, key.id, tree)


def assigned(node: ast.Assign, name: str, tree: ast.Module) -> Iterator[str]:
    """Yield what an assignment gives a name, alone or as one of several."""
    for target in node.targets:
        if isinstance(target, ast.Name) and target.id == name:
            yield from texts(node.value, tree)
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            for each, value in zip(target.elts, node.value.elts, strict=True):
                if isinstance(each, ast.Name) and each.id == name:
                    yield from texts(value, tree)


def test_every_alert_of_the_daemon_has_a_section() -> None:
    """Each key that the code may raise is a heading of the runbook."""
    missing = {key: place for key, place in raised_keys().items() if key not in sections()}
    assert not missing


def test_the_keys_are_found() -> None:
    """The reader of the sources finds keys that are written out, assembled and named."""
    assert {"stage-failed", "decayed", "silent", "disk-low", "published-damaged"} <= set(
        raised_keys()
    )


def test_every_rule_points_at_its_section() -> None:
    """Each alert of Prometheus links to the heading that has its name."""
    for rule in alerting_rules():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")  # type: ignore[index]
        assert (page, anchor) == ("docs/operations.md", rule["alert"].lower())
        assert anchor in sections(), rule["alert"]


def test_every_section_says_what_to_do() -> None:
    """The section of an alert tells meaning, risk, where to look and what to do."""
    told = {rule["alert"].lower() for rule in alerting_rules()} | set(raised_keys())
    for anchor in told & set(sections()):
        for part in ("**Means.**", "**At risk.**", "**Look.**", "**Do.**"):
            assert part in sections()[anchor], f"{anchor} lacks {part}"


def test_every_command_of_the_runbook_exists() -> None:
    """The commands it tells people to run are commands of the command line."""
    from daemon.cli import build_parser

    (actions,) = (a for a in build_parser()._actions if a.dest == "command" or a.choices)
    named = set(re.findall(r"`alphad ([a-z][a-z-]+)", RUNBOOK.read_text(encoding="utf-8")))
    assert actions.choices is not None
    assert named <= set(actions.choices)
