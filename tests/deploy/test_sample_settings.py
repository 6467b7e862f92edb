"""deploy/alphad.toml: loads, is complete, and its comments are settings too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from daemon.settings import Settings, load_settings
from daemon.settings_table import describe_settings

SAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "alphad.toml"


def text() -> str:
    return SAMPLE.read_text(encoding="utf-8")


def settings_of(prefix: str) -> set[str]:
    """Return the settings directly in a group, as the documentation lists them."""
    names = re.findall(r"^\| `([^`]+)`", describe_settings(), flags=re.MULTILINE)
    return {name.rpartition(".")[2] for name in names if name.rpartition(".")[0] == prefix}


def groups() -> set[str]:
    names = re.findall(r"^\| `([^`]+)`", describe_settings(), flags=re.MULTILINE)
    return {name.rpartition(".")[0] for name in names} - {""}


def test_it_loads() -> None:
    """The sample is accepted as it stands."""
    settings = load_settings(SAMPLE, {})
    assert sorted(settings.markets) == ["us"]
    assert settings.markets["us"].feed.kind == "yahoo"


def test_it_has_every_group() -> None:
    """Each group of settings stands there, so that nothing has to be looked for."""
    tables = {name.replace("markets.us", "markets.<name>") for name in tables_of(text())}
    assert groups() <= tables


def tables_of(said: str) -> list[str]:
    return re.findall(r"^\[([a-z_.]+)\]", said, flags=re.MULTILINE)


def test_what_is_on_is_the_default() -> None:
    """Whoever copies the sample changes nothing but what it plainly decides."""
    stated = load_settings(SAMPLE, {}).model_dump(exclude_defaults=True)
    assert set(stated) == {"state_dir", "publish_dir", "markets"}
    changed = {(group, name) for group, m in stated["markets"]["us"].items() for name in m}
    assert changed == {("feed", "kind"), ("universe", "index")}
    assert Settings().markets == {}


def test_what_is_commented_out_is_spelt_as_a_setting() -> None:
    """Each commented assignment is TOML, and a setting of the group it stands in."""
    group = ""
    for line in text().splitlines():
        if found := re.match(r"(?:# )?\[([a-z_.]+)\]$", line):
            group = re.sub(r"^markets\.[a-z]+", "markets.<name>", found[1])
        elif found := re.match(r"# ([a-z_]+) = ", line):
            tomllib.loads(line.removeprefix("# "))
            assert found[1] in settings_of(group), line


def test_the_second_market_loads_too(tmp_path: Path) -> None:
    """The commented market is a market once it is uncommented."""
    said = text()
    start = said.index("# [markets.cn]")
    path = tmp_path / "alphad.toml"
    path.write_text(said[:start] + re.sub(r"^# ", "", said[start:], flags=re.MULTILINE))
    assert sorted(load_settings(path, {}).markets) == ["cn", "us"]


@pytest.mark.parametrize("name", ["api_key", "token", "dead_man_url"])
def test_it_sets_no_secret(name: str) -> None:
    """No secret is invited into a file."""
    assert not re.search(rf"^#?\s*{name}\s*=", text(), flags=re.MULTILINE)
