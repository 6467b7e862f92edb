"""Compiled kernels: kept while the sources are those they were made of."""

from __future__ import annotations

from pathlib import Path

from daemon.kernel_cache import drop_stale


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
