"""The documentation says what the code does: every command, setting and metric is in it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from daemon.cli import build_parser
from daemon.metrics.sheet import FAMILIES
from daemon.settings_table import describe_settings
from signals.operators_table import describe_operators, describe_spellings

DOCS = Path(__file__).resolve().parents[1] / "docs"
README = DOCS.parent / "README.md"


def commands() -> dict[str, argparse.ArgumentParser]:
    (actions,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name: sub for name, sub in actions.choices.items() if name != "remine"}


def test_every_command_and_option_is_documented() -> None:
    """docs/commands.md has a row for each command, with its options."""
    text = (DOCS / "commands.md").read_text(encoding="utf-8")
    for name, sub in commands().items():
        (row,) = (line for line in text.splitlines() if re.match(rf"\| `alphad {name}[ `]", line))
        for action in sub._actions:
            for option in action.option_strings:
                if option not in {"-h", "--help", "--config"}:
                    assert option in row, f"{name} {option}"


def test_the_settings_page_is_what_the_code_declares() -> None:
    """docs/settings.md holds the table that the settings make of themselves."""
    assert describe_settings() in (DOCS / "settings.md").read_text(encoding="utf-8")


def test_the_operators_page_is_what_the_tables_say() -> None:
    """docs/operators.md holds the operators and the other spellings as their tables have them."""
    text = (DOCS / "operators.md").read_text(encoding="utf-8")
    assert describe_operators() in text
    assert describe_spellings() in text


def test_every_metric_is_documented() -> None:
    """docs/metrics.md names each metric family with its labels, and no other."""
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `alphad_(\w+)` \| ([\w, ]*) ?\|", text, flags=re.MULTILINE)
    named = {name: tuple(labels.strip().split(", ")) for name, labels in rows}
    assert named == {each.name: each.labels or ("",) for each in FAMILIES}


def test_every_readme_command_exists() -> None:
    """Each `make` target and `alphad` command of the README is one there is."""
    text = README.read_text(encoding="utf-8")
    makefile = (README.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", text):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    assert set(re.findall(r"\.venv/bin/alphad (\w+)", text)) <= set(commands())


def test_every_feature_names_what_is_there() -> None:
    """docs/features.md has 25 rows; each names a test, and all it names exists."""
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \| (.*) \|$", text, flags=re.MULTILINE)
    assert [number for number, _, _ in rows] == [str(number) for number in range(1, 26)]
    for number, _, proof in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", proof)
        assert named, number
        for path, test in named:
            source = (DOCS.parent / path).read_text(encoding="utf-8")
            assert re.search(rf"^ *def {test}\(", source, flags=re.MULTILINE), f"{path}::{test}"
    means = " ".join(means for _, means, _ in rows)
    assert set(re.findall(r"`alphad ([\w-]+)", means)) <= set(commands())
    settings = (DOCS / "settings.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:markets|notify|housekeeping|disk)\.[\w.<>]+)`", means):
        assert f"| `{name}" in settings, name
    metrics = (DOCS / "metrics.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(alphad_\w+)`", means):
        assert f"| `{name}` |" in metrics, name


def test_no_page_points_at_a_page_that_is_not_there() -> None:
    """Links between README and docs resolve."""
    for page in (README, *DOCS.glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} → {target}"
