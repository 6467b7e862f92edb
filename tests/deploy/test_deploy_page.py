"""docs/deploy.md: few steps, with files and commands that there are."""

from __future__ import annotations

import re
from pathlib import Path

from tests.test_docs import commands

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
#: Most commands from a checkout to a running service.
MOST_STEPS = 12


def blocks() -> list[list[str]]:
    """Return the lines of each block of shell."""
    found = re.findall(r"^```sh\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return [block.strip().splitlines() for block in found]


def test_a_service_runs_after_a_dozen_commands() -> None:
    """From a checkout to `alphadctl status` it is at most twelve."""
    first = blocks()[0]
    assert len(first) <= MOST_STEPS
    assert not any("&&" in line or ";" in line for line in first)
    assert first[-1] == "sudo alphadctl status"


def test_every_file_it_names_is_there() -> None:
    """Paths of the checkout in its commands and sentences exist."""
    named = set(re.findall(r"\b(?:deploy|docs|tests|storage)/[\w./-]*\w", PAGE))
    made = {"deploy/secrets", "deploy/secrets/alphad_web__token", "deploy/secrets/grafana_password"}
    assert {name for name in named - made if not (ROOT / name).exists()} == set()
    assert "deploy/systemd/alphad.service" in named


def test_every_command_it_names_is_one() -> None:
    """What follows `alphad` or `alphadctl` is a command of the program."""
    said = re.findall(r"\balphad(?:ctl)? ([a-z][a-z-]*)", "\n".join(map("\n".join, blocks())))
    told = re.findall(r"`(?:sudo )?alphad(?:ctl)? ([a-z][a-z-]*)", PAGE)
    words = {*said, *told} - {"alphad"}  # compose: the service, then the program
    assert words <= set(commands())


def test_the_exposure_it_tells_is_low() -> None:
    """The page says in figures what the unit exposes."""
    found = re.search(r"an exposure of ([0-9.]+) of\s+10", PAGE)
    assert found is not None
    assert float(found[1]) <= 2.0
