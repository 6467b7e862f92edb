"""Decoded vintages that are kept: the same table again, unless its file is another."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from storage.recent import Recent


def kept(recent: Recent, path: Path, n_rows: int) -> pa.Table:
    path.write_bytes(path.name.encode())
    table = pa.table({"row": range(n_rows)})
    recent.keep(path.name, path, table)
    return table


def test_table_is_given_again(tmp_path: Path) -> None:
    """What was kept is given without reading its file."""
    recent = Recent()
    table = kept(recent, tmp_path / "one", 3)
    assert recent.get("one", tmp_path / "one") is table
    assert recent.get("two", tmp_path / "one") is None


def test_touched_or_missing_file_is_forgotten(tmp_path: Path) -> None:
    """A file that was written to or removed is read, and judged, again."""
    recent = Recent()
    for name in ("written", "removed"):
        kept(recent, tmp_path / name, 3)
    (tmp_path / "written").write_bytes(b"otherwise")
    (tmp_path / "removed").unlink()
    assert recent.get("written", tmp_path / "written") is None
    assert recent.get("removed", tmp_path / "removed") is None


def test_rows_are_bounded_and_the_last_used_stay(tmp_path: Path) -> None:
    """The one that was used longest ago goes first; one table is kept however long it is."""
    recent = Recent(rows=10)
    for name in ("a", "b"):
        kept(recent, tmp_path / name, 5)
    assert recent.get("a", tmp_path / "a") is not None
    kept(recent, tmp_path / "c", 5)
    assert recent.get("b", tmp_path / "b") is None
    assert recent.get("a", tmp_path / "a") is not None
    whole = kept(recent, tmp_path / "whole", 50)
    assert recent.get("a", tmp_path / "a") is None
    assert recent.get("whole", tmp_path / "whole") is whole
