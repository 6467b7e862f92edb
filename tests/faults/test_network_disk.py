"""SQLite's log is not safe on a filesystem of another machine: the start is refused there."""

from __future__ import annotations

from pathlib import Path

import pytest

from signals.errors import StorageError
from storage.files import refuse_network_filesystem


def mounts(folder: Path, *points: tuple[Path, str]) -> Path:
    """Return a file as the kernel would write it for these mount points and kinds."""
    lines = ["/dev/sda / ext4 rw 0 0"]
    lines += [
        f"x {str(point).replace(' ', chr(92) + '040')} {kind} rw 0 0" for point, kind in points
    ]
    path = folder / "mounts"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "virtiofs", "fuse.sshfs", "glusterfs", "lustre"]
)
def test_network_filesystem_is_refused_with_the_way_out(tmp_path: Path, kind: str) -> None:
    """The error names the kind, and that PostgreSQL or a local disk is the way out."""
    share = tmp_path / "a share"
    with pytest.raises(StorageError, match=kind) as caught:
        refuse_network_filesystem(share / "state", mounts(tmp_path, (share, kind)))
    assert "PostgreSQL" in caught.value.hint


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay"])
def test_local_filesystem_is_not(tmp_path: Path, kind: str) -> None:
    """A local disk mounted below a share is a local disk."""
    share, local = tmp_path / "share", tmp_path / "share" / "local"
    table = mounts(tmp_path, (share, "nfs4"), (local, kind))
    refuse_network_filesystem(local / "state", table)
    with pytest.raises(StorageError):
        refuse_network_filesystem(share / "locale", table)


def test_system_that_does_not_tell_is_trusted(tmp_path: Path) -> None:
    """Without a list of mounts nothing is refused."""
    refuse_network_filesystem(tmp_path, tmp_path / "absent")
