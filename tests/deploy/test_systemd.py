"""The systemd unit: what systemd says of it, and the daemon under what it allows."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

import signals
from tests.deploy.confined import NOBODY, allowed_calls, directives
from tests.tools import tool

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "alphad.service"
#: Largest exposure that `systemd-analyze security` may find, of 10.
LARGEST_EXPOSURE = 2.0

SETTINGS = """
tick_seconds = 1
[web]
port = 0
[markets.sim.feed]
kind = "simulated"
assets = 40
start = "{start}"
[markets.sim.monitor]
baseline_sessions = 60
"""


def stated() -> dict[str, str]:
    return dict(directives(UNIT))


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return the unit as if the program lay where this one does."""
    path = tmp_path / UNIT.name
    program = str(Path(sys.executable).with_name("alphad"))
    path.write_text(UNIT.read_text(encoding="utf-8").replace("/opt/alphad/bin/alphad", program))
    return path


def test_systemd_accepts_the_unit(installed: Path) -> None:
    """`systemd-analyze verify` finds nothing to say."""
    command = [str(tool("systemd-analyze")), "verify", "--man=no", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_exposes_little(installed: Path) -> None:
    """`systemd-analyze security` finds an exposure of at most 2.0 of 10."""
    program = str(tool("systemd-analyze"))
    command = [program, "security", "--offline=true", "--no-pager", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", done.stdout)
    assert found is not None
    assert float(found[1]) <= LARGEST_EXPOSURE


def test_the_unit_keeps_the_daemon_running() -> None:
    """Watched, started again after every failure but wrong settings, and stopped in good time."""
    facts = stated()
    assert facts["Type"] == "notify"
    assert (facts["WatchdogSec"], facts["WatchdogSignal"]) == ("120", "SIGABRT")
    assert (facts["Restart"], facts["RestartPreventExitStatus"]) == ("on-failure", "78")
    assert (facts["KillMode"], facts["TimeoutStopSec"]) == ("mixed", "90")
    assert facts["StartLimitIntervalSec"] == "0"
    assert facts["ExecReload"].endswith("kill -HUP $MAINPID")
    assert facts["OOMPolicy"] == "continue"


def test_kernels_may_be_compiled_while_the_daemon_runs() -> None:
    """Memory may become executable, and numba's cache is a folder that may be written."""
    assert "MemoryDenyWriteExecute" not in stated()
    environment = [value for name, value in directives(UNIT) if name == "Environment"]
    assert "NUMBA_CACHE_DIR=%C/alphad" in environment
    assert stated()["CacheDirectory"] == "alphad"


def test_a_provider_process_may_limit_itself() -> None:
    """The calls that limit a process's memory are left, those that need privileges are not."""
    tool("systemd-analyze")
    calls = allowed_calls(UNIT)
    assert {"prlimit64", "setrlimit", "mmap", "futex", "clone3", "fsync"} <= calls
    assert not calls & {"mount", "ptrace", "bpf", "init_module", "chroot", "clock_settime"}


def test_operators_commands_run_as_the_service_does() -> None:
    """`alphadctl` is a shell script that names the unit's user, folders and secrets."""
    script = UNIT.with_name("alphadctl")
    subprocess.run(["sh", "-n", script], check=True)
    text, facts = script.read_text(encoding="utf-8"), stated()
    for name in ("DynamicUser", "User", "StateDirectory", "CacheDirectory", "LoadCredential"):
        assert f"--property={name}={facts[name]}" in text
    assert facts["ExecStart"].split()[0] in text
    assert facts["ExecStart"].split()[-1] in text


@contextmanager
def house() -> Iterator[Path]:
    """Yield folders of an unprivileged user, outside those that only the tester may enter."""
    home = Path(mkdtemp(prefix="alphad-"))
    try:
        for name in ("state", "cache", "tmp", "credentials"):
            (home / name).mkdir()
        yield home
    finally:
        shutil.rmtree(home)


def warm(cache: Path, *, without: str) -> None:
    """Copy the kernels that are compiled already, but those of one module."""
    from numba.core.caching import UserProvidedCacheLocator

    sources = Path(str(signals.__file__)).parent
    locator: Any = UserProvidedCacheLocator
    name = locator.get_suitable_cache_subpath(str(sources / "x.py"))
    (cache / name).mkdir()
    for path in (sources / "__pycache__").glob("*"):
        if path.suffix in {".nbi", ".nbc", ".sha256"} and not path.name.startswith(f"{without}."):
            shutil.copy2(path, cache / name)


def heard(ear: socket.socket, word: bytes, seconds: float, process: subprocess.Popen[str]) -> bool:
    """Return whether a word is told to the service manager in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        ear.settimeout(1.0)
        try:
            if word in ear.recv(4096):
                return True
        except TimeoutError:
            continue
    return False


def child_of(process: subprocess.Popen[str]) -> int:
    """Return the first process that `unshare` has forked."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(path.read_text(encoding="ascii").split()[0])


@contextmanager
def confined(home: Path) -> Iterator[tuple[subprocess.Popen[str], socket.socket]]:
    """Run the daemon under what the unit allows; it may write state, cache and tmp."""
    writable = ",".join(str(home / name) for name in ("state", "cache", "tmp"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home / "state"),
        "TMPDIR": str(home / "tmp"),
        "NUMBA_CACHE_DIR": str(home / "cache"),
        "ALPHAD_CREDENTIALS": str(home / "credentials"),
        "NOTIFY_SOCKET": str(home / "tmp" / "notify"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    program = str(Path(__file__).with_name("confined.py"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(environment["NOTIFY_SOCKET"])
        for path in [home, *home.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        settings = str(home / "alphad.toml")
        daemon = [sys.executable, "-m", "daemon.cli", "run", "--config", settings]
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child",
             sys.executable, program, str(UNIT), writable, "--", *daemon],
            env=environment, cwd=ROOT, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process, ear
        finally:
            process.kill()
            process.communicate()


def require_namespaces() -> None:
    """Skip where a process may not have its own mounts, or its system calls cannot be filtered."""
    tool("systemd-analyze")
    if find_library("seccomp") is None:
        pytest.skip("libseccomp is not here (Debian package libseccomp2)")
    command = [str(tool("unshare")), "--mount", "--pid", "--fork", "mount", "--make-rprivate", "/"]
    done = subprocess.run(command, capture_output=True, check=False)
    if os.geteuid() != 0 or done.returncode != 0:
        pytest.skip("unshare is not permitted here: the unit's restrictions cannot be put on")


def lives_a_session(home: Path, seconds: float) -> None:
    """Start the daemon confined, wait until it has published, and stop it."""
    start = time.strftime("%Y-%m-%d", time.localtime(time.time() - 150 * 86400))
    (home / "alphad.toml").write_text(SETTINGS.format(start=start), encoding="utf-8")
    (home / "credentials" / "alphad_web__host").write_text("127.0.0.1\n", encoding="utf-8")
    pointer = home / "state" / "out" / "published" / "sim" / "v1" / "latest.json"
    with confined(home) as (process, ear):
        ready = heard(ear, b"READY=1", seconds, process)
        end = time.monotonic() + seconds
        while ready and process.poll() is None and not pointer.exists() and time.monotonic() < end:
            time.sleep(0.2)
        if process.poll() is None:
            os.kill(child_of(process), signal.SIGTERM)
            heard(ear, b"STOPPING=1", seconds, process)
        _, said = process.communicate(timeout=seconds)
    assert ready, said
    assert pointer.exists(), said
    assert process.returncode == 0, said
    assert pointer.stat().st_uid == NOBODY


def test_a_session_is_lived_with_a_read_only_root() -> None:
    """As nobody, without privileges, under the unit's calls: evaluated, compiled and published."""
    require_namespaces()
    with house() as home:
        warm(home / "cache", without="prepared")
        lives_a_session(home, 120.0)
        assert list((home / "cache").glob("*/prepared.*.nbc"))


@pytest.mark.slow
def test_every_kernel_is_compiled_with_a_read_only_root() -> None:
    """The same with an empty cache: whatever the session needs is compiled on the way."""
    require_namespaces()
    with house() as home:
        lives_a_session(home, 280.0)
        assert list((home / "cache").glob("*/*.nbc"))
