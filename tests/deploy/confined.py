"""Runs a command under what a unit file allows, as far as that works without systemd.

    unshare --mount --pid --fork python confined.py UNIT WRITABLE[,WRITABLE…] -- COMMAND

Every file system is read-only but the folders named, `/proc` shows only processes, other people's
homes are empty, the user is an unprivileged one without capabilities who can gain none, and only
the unit's system calls are answered. Only `sys.base_prefix` is kept of a hidden home. The command
starts in the first of the folders.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

#: User and group of the confined command.
NOBODY = 65534
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 24, 38, 1
_ALLOW, _REFUSE_WITH_EPERM = 0x7FFF0000, 0x00050001
_SIGKILL = 9


def directives(unit: Path) -> list[tuple[str, str]]:
    """Return the assignments of a unit file, in their order."""
    lines = (line.strip() for line in unit.read_text(encoding="utf-8").splitlines())
    return [(n, v) for n, _, v in (line.partition("=") for line in lines if line[:1] not in "#[")]


def allowed_calls(unit: Path) -> set[str]:
    """Return the system calls that a unit's filters leave."""
    left = set[str]()
    for name, value in directives(unit):
        if name == "SystemCallFilter":
            calls = set(_members(value.removeprefix("~").split()))
            left = left - calls if value.startswith("~") else left | calls
    return left


def _members(names: list[str]) -> Iterator[str]:
    """Yield the calls of groups, groups of groups included."""
    for name in names:
        if not name.startswith("@"):
            yield name
            continue
        told = subprocess.run(
            ["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True
        )
        yield from _members([w for line in told.stdout.splitlines()[1:] for w in _words(line)])


def _words(line: str) -> list[str]:
    return [] if line.strip().startswith("#") else line.split()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _close_homes() -> None:
    """Hide the first folder on the way to the interpreter that others may not enter."""
    base = Path(sys.base_prefix).resolve()
    hidden = [p for p in reversed(base.parents) if not p.stat().st_mode & 0o001]
    if not hidden:
        return
    aside = mkdtemp()
    _mount("--bind", str(base), aside)
    _mount("-t", "tmpfs", "-o", "mode=755", "none", str(hidden[0]))
    base.mkdir(parents=True)
    _mount("--bind", aside, str(base))
    subprocess.run(["umount", aside], check=True)


def _close_file_systems(writable: list[str]) -> None:
    """Make every mount read-only but those of the writable folders."""
    for folder in writable:
        _mount("--bind", folder, folder)
    _mount("-t", "proc", "-o", "subset=pid,hidepid=invisible", "proc", "/proc")
    spared = (*writable, "/proc", "/dev", "/sys")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted(set(points)):
        if not any(point == each or point.startswith(f"{each}/") for each in spared):
            subprocess.run(["mount", "-o", "remount,bind,ro", point], check=False)


def _drop_privileges() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        sys.exit("new privileges cannot be refused here")


def _filter_calls(calls: set[str]) -> None:
    """Answer every other system call with EPERM, as `SystemCallErrorNumber` does."""
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_REFUSE_WITH_EPERM)))
    for name in sorted(calls):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:  # one that this machine has
            seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), number, 0)
    if seccomp.seccomp_load(context):
        sys.exit("system calls cannot be filtered here")


def main() -> None:
    """Confine this process and become the command."""
    unit, writable, _, *command = sys.argv[1:]
    calls = allowed_calls(Path(unit))
    _mount("--make-rprivate", "/")
    _close_homes()
    _close_file_systems(writable.split(","))
    os.chdir(writable.split(",")[0])  # where it was is the read-only mount
    _drop_privileges()
    _filter_calls(calls)
    os.execvpe(command[0], command, os.environ)  # noqa: S606 - the point of this program


if __name__ == "__main__":
    main()
