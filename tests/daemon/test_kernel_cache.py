"""Compiled kernels: kept while the sources are those they were made of."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from daemon.kernel_cache import STAMP, drop_stale


def test_kernels_of_other_sources_are_deleted(tmp_path: Path) -> None:
    """A change of any source file throws every cached kernel away, once."""
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    (tmp_path / "rolling.py").write_text("a = 1")
    (tmp_path / "windows.py").write_text("b = 1")

    def compiled() -> list[Path]:
        files = [cache / "rolling.total-1.py311.nbi", cache / "rolling.total-1.py311.1.nbc"]
        for path in files:
            path.write_text("kernel")
        return files

    files = compiled()
    assert drop_stale(tmp_path, cache) == 2  # nobody knows what they were made of
    files = compiled()
    assert drop_stale(tmp_path, cache) == 0
    assert all(path.exists() for path in files)
    (tmp_path / "windows.py").write_text("b = 2")
    assert drop_stale(tmp_path, cache) == 2
    assert not any(path.exists() for path in files)


def test_a_cache_that_may_not_be_written_is_left(tmp_path: Path) -> None:
    """A file where the folder should be stops nothing."""
    (tmp_path / "rolling.py").write_text("a = 1")
    blocked = tmp_path / "cache"
    blocked.write_text("no folder")
    assert drop_stale(tmp_path, blocked) == 0


def test_kernels_in_a_configured_folder_outlive_the_process_that_compiled_them(
    tmp_path: Path,
) -> None:
    """In a fresh `NUMBA_CACHE_DIR` the next process finds what the first one compiled."""
    program = (
        "from daemon.kernel_cache import drop_stale_kernels as drop\n"
        "gone = drop()\n"
        "import numpy as np\n"
        "from signals.keys import sort_key\n"
        "sort_key(np.float64(1.0))\n"
        "print(gone)\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout == "0\n"
        (stamp,) = tmp_path.glob(f"*/{STAMP}")
        assert list(stamp.parent.glob("keys.*.nbc"))
