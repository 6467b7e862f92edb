"""The container files, read as they stand: no engine is asked."""

from __future__ import annotations

import fnmatch
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.cli import build_parser
from daemon.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(word.upper(), rest) for word, rest in words]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(i for i, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def is_ignored(path: str) -> bool:
    """Say whether .dockerignore keeps a path out: the last pattern that fits decides."""
    ignored = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").strip()
        if not pattern or pattern.startswith("#"):
            continue
        parts = [path, *(str(parent) for parent in Path(path).parents)]
        if any(fnmatch.fnmatch(part, pattern.removeprefix("**/")) for part in parts) or (
            pattern.startswith("**/") and fnmatch.fnmatch(Path(path).name, pattern[3:])
        ):
            ignored = not line.startswith("!")
    return ignored


def test_the_image_runs_as_a_number_that_is_not_root() -> None:
    """The last user is numeric and above the system's."""
    user = [rest for word, rest in last_stage() if word == "USER"][-1]
    assert re.fullmatch(r"\d+:\d+", user)
    assert int(user.split(":")[0]) >= 10_000


def test_what_the_image_copies_is_there_and_gets_in() -> None:
    """Each COPY of the checkout names something that exists and that .dockerignore lets in."""
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in [part for part in shlex.split(rest) if part[:2] != "--"][:-1]:
                assert (ROOT / source).exists(), source
                assert not is_ignored(source), source


@pytest.mark.parametrize("path", [".git", ".venv", "out", "deploy/secrets/web", "tests", "x.env"])
def test_nothing_else_gets_into_the_image(path: str) -> None:
    """State, secrets and history of the checkout stay outside."""
    assert is_ignored(path)


def test_the_image_can_check_certificates_and_knows_the_zones() -> None:
    """The trust store and the time zones are installed in the image that runs."""
    told = " ".join(rest for word, rest in last_stage() if word == "RUN")
    assert {"ca-certificates", "tzdata"} <= set(told.split())


def test_the_health_check_is_a_command_there_is() -> None:
    """What the engine asks every half minute is understood by `alphad`."""
    check = next(rest for word, rest in last_stage() if word == "HEALTHCHECK")
    program, *arguments = json.loads(check[check.index("[") :])
    options = build_parser().parse_args(arguments)
    assert program == "alphad"
    assert options.state == Path("state")  # of the sample settings, from the working directory


def test_every_image_is_pinned_and_names_no_registry() -> None:
    """Images are named and versioned, and come from wherever the engine takes its own."""
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    for image in [*bases, *images]:
        assert ":" in image, image
        assert not image.endswith(":latest")
        assert "." not in image.split("/")[0].split(":")[0], image


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_may_write_its_volumes_only(name: str) -> None:
    """A read-only root, no capability, no new privilege, nobody is root."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "build" in service or not service["user"].startswith("0")
    assert not {"privileged", "cap_add", "network_mode", "pid", "devices"} & set(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_mounts_is_there(name: str) -> None:
    """Files come from the checkout, read-only; folders that are written are named volumes."""
    for mount in SERVICES[name]["volumes"]:
        source, _, *mode = mount.split(":")
        if source.startswith("."):
            assert (DEPLOY / source).exists(), mount
            assert mode == ["ro"], mount
        else:
            assert source in COMPOSE["volumes"], mount


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_port_is_published_on_loopback_only(name: str) -> None:
    """Nobody but this machine reaches a port."""
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


def test_secrets_are_files_outside_the_image_and_the_history() -> None:
    """Each secret that a service names is a file of a folder that is neither copied nor kept."""
    named = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert named == set(COMPOSE["secrets"])
    assert all(each["file"].startswith("./secrets/") for each in COMPOSE["secrets"].values())
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_the_daemon_understands_its_environment(tmp_path: Path) -> None:
    """The variables that compose sets are settings, with a secret beside them."""
    (tmp_path / "alphad_web__token").write_text("0123456789abcdef\n", encoding="utf-8")
    environment = SERVICES["alphad"]["environment"] | {"ALPHAD_CREDENTIALS": str(tmp_path)}
    settings = load_settings(DEPLOY / "alphad.toml", environment)
    assert settings.web.host == "0.0.0.0"  # noqa: S104 - of the container
    assert settings.web.allowed_hosts == ("alphad",)
    assert settings.web.token is not None


def runtime_lock(*extras: str) -> str:
    command = [sys.executable, str(DEPLOY / "runtime_lock.py"), *extras]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def names(lock: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", lock, flags=re.MULTILINE))


def test_a_server_gets_what_the_daemon_needs_and_no_more() -> None:
    """Every dependency and what it needs in turn, with hashes; nothing of development."""
    lock = runtime_lock()
    assert {"numba", "llvmlite", "pandas", "sqlmodel", "sqlalchemy", "setuptools"} <= names(lock)
    assert not {"pytest", "mypy", "ruff", "psycopg", "openai", "distributed"} & names(lock)
    assert {"psycopg", "openai"} <= names(runtime_lock("postgres", "llm"))
    whole = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert set(lock.splitlines()) <= set(whole.splitlines())
    assert "--hash=sha256:" in lock


def test_an_extra_that_is_none_is_refused() -> None:
    """A misspelt extra is told, with those there are."""
    command = [sys.executable, str(DEPLOY / "runtime_lock.py"), "postgress"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there are: baostock" in done.stderr
