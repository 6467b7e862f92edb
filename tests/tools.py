"""Programs that some tests need and a machine may lack: a test says which one it did without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

#: Which Debian package has a program, where it is not one of the same name.
PACKAGES = {
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "systemd-analyze": "systemd",
    "systemd-run": "systemd",
}


def tool(name: str) -> Path:
    """Return where a program lies; a test that asks for one that is absent is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not here (Debian package {PACKAGES.get(name, name)})")
    return Path(found)
