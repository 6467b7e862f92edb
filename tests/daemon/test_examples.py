"""The examples of deploy/examples/, run as a consumer runs them."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
import textwrap
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from storage import reader
from tests.daemon.small import FIRST, MARKET, SESSIONS, Home

EXAMPLES = Path(__file__).resolve().parents[2] / "deploy" / "examples"


def run(
    name: str, *arguments: str | Path, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    program = (cwd or EXAMPLES) / name
    return subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, check=False
    )


def tree(home: Home) -> Path:
    return home.out / "published"


def lean_lines(home: Home, out: Path) -> list[list[str]]:
    done = run("write_lean.py", tree(home), MARKET, "--out", out)
    assert done.returncode == 0, done.stderr
    return [line.split(",") for line in out.read_text(encoding="utf-8").splitlines()]


def test_the_csv_example_reads_the_latest_scores(first_home: Home, tmp_path: Path) -> None:
    """With the reader copied beside it and no alphad anywhere, and refuses what has expired."""
    shutil.copy(EXAMPLES / "read_csv.py", tmp_path)
    shutil.copy(Path(reader.__file__), tmp_path / "reader.py")
    program = tmp_path / "read_csv.py"
    program.write_text(program.read_text().replace("from storage.reader", "from reader"))
    now = f"{SESSIONS[FIRST + 4]}T23:00:00+00:00"
    command = [sys.executable, "-I", "-c"]
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import read_csv; read_csv.main()"
    asked = [str(tree(first_home)), MARKET, "--now"]
    done = subprocess.run(
        [*command, start, *asked, now], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{SESSIONS[FIRST + 4]} 00000005 ")
    late = subprocess.run(
        [*command, start, *asked, "2030-01-01T00:00:00+00:00"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert late.returncode == 1
    assert late.stderr.startswith("refused: expired at")


def test_lean_gets_every_score_once_and_in_time(first_home: Home, tmp_path: Path) -> None:
    """A line a score, chronological, each visible only after its session has ended."""
    head, *lines = lean_lines(first_home, tmp_path / "new" / "us.csv")
    assert head == ["time", "end_time", "symbol", "score", "valid_until"]
    rows = [
        line.split(",")
        for path in sorted(first_home.published.rglob("signals.csv"))
        for line in path.read_text().splitlines()[1:]
    ]
    assert [(line[0][:8], line[2], line[3]) for line in lines] == [
        (session.replace("-", ""), name, score) for session, name, score in rows
    ]
    ends = [line[1] for line in lines]
    assert ends == sorted(ends)
    assert all(line[0] < line[1] < line[4] for line in lines)
    manifest = json.loads((first_home.published / json.loads(
        (first_home.published / "latest.json").read_text())["path"] / "manifest.json").read_text()
    )  # fmt: skip
    made = datetime.fromisoformat(manifest["generated_at"])
    said = datetime.strptime(ends[-1] + " +0000", "%Y%m%d %H:%M:%S %z")
    assert timedelta(0) <= said - made < timedelta(seconds=1)


def test_the_reader_told_of_understands_each_line(first_home: Home, tmp_path: Path) -> None:
    """The class in the example's docstring reads what the example writes, and skips the head."""
    out = tmp_path / "us.csv"
    head, *lines = lean_lines(first_home, out)
    told = ast.get_docstring(ast.parse((EXAMPLES / "write_lean.py").read_text())) or ""
    source = textwrap.dedent("    " + told[told.index("class Scores") :])
    names: dict[str, Any] = {"PythonData": type("PythonData", (dict,), {}), "datetime": datetime}
    exec(source, names)  # noqa: S102 - the documentation under test
    config = SimpleNamespace(symbol="ALPHAD")
    said = out.read_text(encoding="utf-8").splitlines()
    read = [names["Scores"]().reader(config, line, None, False) for line in said]
    assert read[0] is None
    assert [(each["instrument"], each.value) for each in read[1:]] == [
        (line[2], float(line[3])) for line in lines
    ]
    assert all(each.time < each.end_time for each in read[1:])
    assert head[0] == "time"


def restated(home: Home, target: Path) -> Path:
    """Add a sixth publication, of a session that is not the newest."""
    copied = home.copy(target)
    first = copied.published / "sessions" / SESSIONS[FIRST].isoformat()
    shutil.copytree(first / "00000001", first / "00000006")
    return copied.out / "published"


def test_lean_is_not_told_what_the_pointer_never_named(first_home: Home, tmp_path: Path) -> None:
    """The restatement of an earlier session comes too late to be traded on."""
    before = lean_lines(first_home, tmp_path / "before.csv")
    published = restated(first_home, tmp_path / "home")
    done = run("write_lean.py", published, MARKET, "--out", tmp_path / "after.csv")
    assert done.returncode == 0
    assert len((tmp_path / "after.csv").read_text().splitlines()) == len(before)


@pytest.mark.parametrize("harm", ["halted", "changed", "comma", "empty"])
def test_lean_gets_nothing_that_must_not_be_traded_on(
    first_home: Home, tmp_path: Path, harm: str
) -> None:
    """Halted, changed, unreadable for LEAN or empty: a reason, and no file."""
    home = first_home.copy(tmp_path / "home")
    (path, *_) = sorted(home.published.rglob("signals.csv"))
    if harm == "halted":
        (home.published / "halted.json").write_text("{}")
    elif harm == "changed":
        path.write_text("session,instrument,score\n")
    elif harm == "comma":
        data = b'session,instrument,score\n2023-05-30,"A,B",1.0\n'
        path.write_bytes(data)
        manifest = path.with_name("manifest.json")
        facts = json.loads(manifest.read_text())
        facts["files"]["signals.csv"]["sha256"] = hashlib.sha256(data).hexdigest()
        manifest.write_text(json.dumps(facts))
    else:
        shutil.rmtree(home.published / "sessions")
    done = run("write_lean.py", tree(home), MARKET, "--out", tmp_path / "us.csv")
    assert done.returncode == 1
    reasons = {"halted": "is halted", "changed": "not what the manifest says",
               "comma": "splits lines at commas", "empty": "nothing is published"}  # fmt: skip
    assert reasons[harm] in done.stderr
    assert not (tmp_path / "us.csv").exists()


@pytest.mark.parametrize(
    ("name", "module", "package", "bars", "said"),
    [
        ("load_qlib.py", "qlib", "pyqlib", False, "SignalWCache: "),
        ("load_alphalens.py", "alphalens", "alphalens-reloaded", True, "rank IC by holding period"),
        ("load_vectorbt.py", "vectorbt", "vectorbt", True, "Total Return"),
    ],
)
def test_the_published_files_load_as_they_are(
    request: pytest.FixtureRequest, name: str, module: str, package: str, bars: bool, said: str
) -> None:
    """Where the library is installed its example ends well over forty sessions."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not here (pip install {package})")
    home: Home = request.getfixturevalue("dead_home")
    behind = [home.out / "state" / "bars" / MARKET] if bars else []
    done = run(name, home.published, *behind)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
