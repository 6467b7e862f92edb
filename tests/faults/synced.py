"""What a disk holds for sure: a run is traced, and only what was synced is played back.

The disk of `Disk` is as mean as a disk may be: data is kept by an fsync of its file, a name by an
fsync of its folder, and nothing before.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Bytes of the largest write; a longer one would be cut, and is refused.
LARGEST = 1_000_000
CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,renameat,mkdir,unlink,rmdir"
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_OF_DESCRIPTOR = re.compile(r"^\d+<((?:\\x[0-9a-f]{2}|[^>])*)>")


@dataclass(frozen=True)
class Call:
    """One call that succeeded: its name, the paths it names, the data and the rest as text."""

    name: str
    paths: tuple[str, ...]
    data: bytes
    rest: str


def traced(strace: Path, command: list[str], log: Path) -> list[Call]:
    """Run a command and return its calls on files, in the order in which they ended."""
    subprocess.run(
        [str(strace), "-f", "-y", "-xx", "-s", str(LARGEST), "--seccomp-bpf",
         "-e", f"trace={CALLS}", "-o", str(log), *command],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return list(_calls(log.read_text(encoding="ascii").splitlines()))


def _calls(lines: list[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        pid = line.split(" ", 1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>")
            continue
        whole = line
        if " resumed>" in line:
            whole = begun.pop(pid, "") + line.split(" resumed>", 1)[1]
        match = _LINE.match(whole)
        if match is None or int(match[4]) < 0:
            continue
        name, given = match[2], match[3]
        strings = [_bytes(text) for text in _STRING.findall(given)]
        rest = _STRING.sub("", given)
        of = _OF_DESCRIPTOR.match(given)
        if name in ("write", "pwrite64", "fsync", "fdatasync", "ftruncate"):
            if of is None:
                continue
            data = strings[0][: int(match[4])] if strings else b""
            assert len(data) == int(match[4]) or "write" not in name, "a write was cut"
            yield Call(name, (_path(of[1]),), data, rest)
        else:
            yield Call(name, tuple(text.decode() for text in strings), b"", rest)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _path(text: str) -> str:
    return _bytes(text).decode() if text.startswith("\\x") else text


@dataclass
class Disk:
    """The files under one folder, as they are seen and as they are kept.

    Parameters
    ----------
    root : str
        The folder; what lies elsewhere is ignored.
    """

    root: str
    #: What is seen: the number of a file, or None for a folder, by path.
    seen: dict[str, int | None] = field(default_factory=dict)
    #: What is kept: the same, of names whose folder was synced.
    kept: dict[str, int | None] = field(default_factory=dict)
    data: list[bytearray] = field(default_factory=list)
    synced: dict[int, bytes] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)

    def play(self, call: Call) -> None:
        """Do what a call did."""
        if not any(path.startswith(f"{self.root}/") or path == self.root for path in call.paths):
            return
        path = call.paths[0]
        if call.name == "openat":
            self._open(path, call.rest)
        elif call.name == "mkdir":
            self.seen[path] = None
        elif call.name in ("unlink", "rmdir"):
            self.seen.pop(path, None)
        elif call.name in ("rename", "renameat"):
            source, target = call.paths
            self.seen = renamed(self.seen, source, target)
            self.kept = {  # what a folder holds goes with it, whatever becomes of its own name
                target + name[len(source) :] if name.startswith(f"{source}/") else name: number
                for name, number in self.kept.items()
            }
        elif call.name in ("fsync", "fdatasync"):
            self._sync(path)
        elif path in self.seen:
            self._write(path, call)

    def _open(self, path: str, flags: str) -> None:
        if "O_CREAT" in flags and path not in self.seen:
            self.seen[path] = len(self.data)
            self.data.append(bytearray())
        number = self.seen.get(path)
        if number is not None:
            if "O_TRUNC" in flags:
                del self.data[number][:]
            self.at[path] = 0

    def _write(self, path: str, call: Call) -> None:
        number = self.seen[path]
        assert number is not None
        content = self.data[number]
        if call.name == "ftruncate":
            size = int(call.rest.rsplit(",", 1)[1])
            del content[size:]
            content.extend(bytes(size - len(content)))
            return
        start = self.at.get(path, 0)
        if call.name == "pwrite64":
            start = int(call.rest.rsplit(",", 1)[1])
        else:
            self.at[path] = start + len(call.data)
        content.extend(bytes(max(0, start - len(content))))
        content[start : start + len(call.data)] = call.data

    def _sync(self, path: str) -> None:
        number = self.seen.get(path)
        if number is not None:
            self.synced[number] = bytes(self.data[number])
            return
        inside = [name for name in {*self.seen, *self.kept} if name.rpartition("/")[0] == path]
        for name in inside:  # the names in a folder, not what is in the folders named
            if name in self.seen:
                self.kept[name] = self.seen[name]
            else:
                self.kept = {
                    other: what
                    for other, what in self.kept.items()
                    if other != name and not other.startswith(f"{name}/")
                }

    def after(self, call: Call) -> dict[str, bytes]:
        """Return what is kept if, of all that is not synced, this renaming alone gets through."""
        source, target = call.paths
        names = dict(self.kept)
        names = {k: v for k, v in names.items() if k != target and not k.startswith(f"{target}/")}
        for name, number in self.kept.items():  # names that were synced in a folder now renamed
            if name.startswith(f"{source}/"):
                names[target + name[len(source) :]] = number
        names[target] = self.seen[source]
        return self._files(names)

    def files(self) -> dict[str, bytes]:
        """Return what is kept."""
        return self._files(self.kept)

    def _files(self, names: dict[str, int | None]) -> dict[str, bytes]:
        found = {}
        for name, number in sorted(names.items()):
            above = name.rpartition("/")[0]
            while above != self.root and above in names:
                above = above.rpartition("/")[0]
            if above == self.root and number is not None:  # else no name leads to it
                found[name] = self.synced.get(number, b"")
        return found

    def lay(self, files: dict[str, bytes], target: Path) -> Path:
        """Write files as they are kept into a folder."""
        for name, data in files.items():
            path = target / name[len(self.root) + 1 :]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return target


def renamed(names: dict[str, int | None], source: str, target: str) -> dict[str, int | None]:
    """Return names after a renaming of a file or a folder."""
    moved = {}
    for name, number in names.items():
        if name == source or name.startswith(f"{source}/"):
            moved[target + name[len(source) :]] = number
        elif name != target:
            moved[name] = number
    return {**{k: v for k, v in moved.items() if k != source}}
