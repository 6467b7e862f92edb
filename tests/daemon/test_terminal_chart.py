"""The picture of a factor in the terminal: what is drawn where, and how wide it is."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from daemon.course import Course
from daemon.terminal_chart import LABEL, LOWER, UPPER, draw, panel
from signals.panel import FloatArray

SESSIONS = np.arange(np.datetime64("2020-01-01"), np.datetime64("2020-01-01") + 400)
NO_SESSIONS = SESSIONS[:0]


def course(rank_ic: FloatArray, **changed: object) -> Course:
    values: dict[str, object] = {
        "sessions": SESSIONS[: len(rank_ic)],
        "rank_ic": rank_ic,
        "level": 0.05,
        "evidence_sessions": NO_SESSIONS,
        "ratio": np.empty(0),
        "marks": (),
    }
    return Course(**{**values, **changed})  # type: ignore[arg-type]


def fallen(**changed: object) -> Course:
    """Return a factor that earns 0.05 for 200 sessions and loses as much for 200."""
    return course(np.repeat([0.05, -0.05], 200), **changed)


def test_dots_stand_where_the_values_are() -> None:
    """The lowest value is the lowest dot of its column, the highest the highest."""
    drawn = panel(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 1, 1, 0.0, 1.0)
    assert ord(drawn[0][0]) - 0x2800 in (0x40 | 0x08 | 0x04 | 0x10, 0x40 | 0x08 | 0x20 | 0x02,
                                         0x40 | 0x08 | 0x04 | 0x02, 0x40 | 0x08 | 0x20 | 0x10,
                                         0x40 | 0x08 | 0x20 | 0x02 | 0x04)  # fmt: skip
    assert panel(np.array([1.0]), np.array([1.0]), 1, 1, 0.0, 1.0) == [["⠈"]]
    assert panel(np.array([0.0]), np.array([0.0]), 1, 1, 0.0, 1.0) == [["⡀"]]


def test_constant_series_is_a_flat_line() -> None:
    """A series that does not vary is drawn, in one line of dots."""
    drawn = panel(np.arange(8.0), np.full(8, 0.3), 4, 3, 0.3, 0.3)
    assert [sum(cell != " " for cell in row) for row in drawn] == [0, 0, 4]


def test_a_long_gap_stays_open_and_a_short_one_is_joined() -> None:
    """Two missing columns among many are joined, half a panel is not."""
    columns = np.arange(40.0)
    values = np.full(40, 0.5)
    values[10] = np.nan
    values[20:34] = np.nan
    [row] = panel(columns, values, 20, 1, 0.0, 1.0)
    assert row[5] != " "
    assert row[12:16] == [" "] * 4


def test_picture_fits_eighty_columns_and_about_a_dozen_lines() -> None:
    """Every line has at most 79 characters, and a narrow terminal at most its own width."""
    full = fallen(
        evidence_sessions=SESSIONS[100:],
        ratio=np.geomspace(1e-4, 1e4, 300),
        marks=[(date(2020, 4, 10), "live"), (date(2020, 10, 1), "decayed")],
    )
    lines = draw(full)
    assert max(map(len, lines)) <= 79
    assert len(lines) == UPPER + LOWER + 5
    assert max(map(len, draw(full, 50))) <= 50


def test_curve_falls_from_the_baseline_to_the_bottom() -> None:
    """The line of the baseline's mean is labelled; the curve starts on it and ends lowest."""
    lines = draw(fallen())
    upper = lines[1 : 1 + UPPER]
    assert upper[0].startswith(" +0.050 │")
    assert upper[-1].startswith(" -0.050 │")
    assert upper[0].count("╌") > 20
    assert upper[-1].rstrip()[-1] > "\u2800"
    assert upper[-1][LABEL : LABEL + 30].strip() == ""
    assert "mean of the baseline" in lines[0]


def test_changes_stand_below_their_sessions() -> None:
    """Letters mark the changes in place, an alarm runs through both panels, a legend names them."""
    middle = date(2020, 7, 18)
    lines = draw(fallen(marks=[(middle, "decayed"), (date(2020, 1, 1), "live")]))
    letters = next(
        line for line in lines if line.strip() in {"L" + " " * n + "D" for n in range(80)}
    )
    assert letters.index("L") == LABEL
    assert letters.index("D") == pytest.approx(LABEL + 35, abs=1)
    assert any(line[letters.index("D") :][:1] == "┊" for line in lines[1 : 1 + UPPER])
    assert lines[-1].split() == ["L", "live", "D", "decayed"]


def test_an_alarm_is_not_hidden_by_what_follows_at_once() -> None:
    """Of several changes in one place the alarm stands; others give way to the later."""
    marks = [(date(2020, 7, 18), what) for what in ("warning", "decayed", "healthy")]
    lines = draw(fallen(marks=marks))
    assert lines[1 + UPPER].strip() == "D"
    lines = draw(fallen(marks=[marks[0], marks[2]]))
    assert lines[1 + UPPER].strip() == "H"


def test_evidence_is_logarithmic_around_the_alarm() -> None:
    """The alarm line is at 1; what is far below or above stays in the panel."""
    lines = draw(fallen(evidence_sessions=SESSIONS[200:], ratio=np.repeat([1e-9, 1e9], 100)))
    labels = [line.split("│")[0].strip() for line in lines if "│" in line][UPPER:]
    assert labels[0] == "100"
    assert labels[-1] == "0.001"
    assert "1" in labels


def test_nothing_known_draws_nothing() -> None:
    """Without thirty RankICs there is no mean to draw."""
    assert draw(course(np.full(20, 0.1))) == []
    assert draw(course(np.empty(0))) == []
    assert draw(course(np.full(100, np.nan))) == []


def test_unknown_baseline_draws_no_line() -> None:
    """A factor that was never watched has a curve and no baseline."""
    lines = draw(fallen(level=np.nan))
    assert "╌" not in "".join(lines)


def test_unknown_changes_are_left_out() -> None:
    """What has no letter, or lies before the first session, is not marked."""
    lines = draw(fallen(marks=[(date(2020, 3, 1), "candidate"), (date(2019, 3, 1), "live")]))
    assert "L live" not in lines[-1]
