"""A factor's course as a picture of characters: RankIC above, evidence of decay below.

Braille characters have 2 by 4 dots each; nothing is said by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from daemon.course import LEAST_EVIDENCE, SMOOTHING, Course, trailing_mean
from signals.panel import FloatArray, SessionArray

#: Characters of a line, of its labels, and lines of the two panels.
WIDTH, LABEL, UPPER, LOWER = 79, 9, 7, 4
#: Evidence over threshold above this is drawn as this.
MOST_EVIDENCE = 100.0
#: What stands for a change of verdict or of state.
LETTERS = {
    "live": "L",
    "warning": "W",
    "decayed": "D",
    "healthy": "H",
    "suspended": "S",
    "retired": "X",
}
#: Letters that are never drawn over.
_ENDS = ("D", "X")

#: The bit of each dot of a braille character, by line and place; the first is U+2800.
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
_BLANK, _LEVEL, _MARK = " ", "╌", "┊"

_Columns = Callable[[SessionArray], FloatArray]


def draw(course: Course, width: int = WIDTH) -> list[str]:
    """Return the picture as lines of at most `width` characters; none where nothing is known."""
    smooth = trailing_mean(course.rank_ic)
    if not np.isfinite(smooth).any():
        return []
    cells = max(width - LABEL, 10)
    first, last = course.sessions[0], max([course.sessions[-1], *course.evidence_sessions[-1:]])
    column = _columns(first, last, 2 * cells)
    shown = np.append(smooth, [0.0, course.level])
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    marks = [
        (int(column(np.array([day], "datetime64[D]"))[0]) // 2, what)
        for day, what in course.marks
        if what in LETTERS and first <= np.datetime64(day, "D") <= last
    ]
    upper = panel(column(course.sessions), smooth, cells, UPPER, low, high)
    known = "" if np.isnan(course.level) else " (╌ mean of the baseline)"
    lines = [f"RankIC, mean of the last {SMOOTHING} sessions{known}"]
    lines += framed(upper, low, high, "{:+.3f}", course.level, marks)
    if marks:
        lines.append(" " * LABEL + _letters(marks, cells))
    if len(course.ratio):
        bottom, top = np.log10(LEAST_EVIDENCE), np.log10(MOST_EVIDENCE)
        ratio = np.log10(np.clip(course.ratio, LEAST_EVIDENCE, MOST_EVIDENCE))
        lower = panel(column(course.evidence_sessions), ratio, cells, LOWER, bottom, top)
        lines.append("evidence of decay / threshold, logarithmic (╌ alarm at 1)")
        lines += framed(lower, bottom, top, "{:g}", 0.0, marks, power=True)
    start, end = str(first), str(last)
    lines.append(" " * LABEL + start + " " * (cells - len(start) - len(end)) + end)
    seen = {what for _, what in marks}
    if seen:
        lines.append(
            " " * LABEL
            + "  ".join(f"{letter} {name}" for name, letter in LETTERS.items() if name in seen)
        )
    return [line[:width].rstrip() for line in lines]


def panel(
    column: FloatArray, values: FloatArray, cells: int, rows: int, low: float, high: float
) -> list[list[str]]:
    """Return `rows` lines of `cells` braille characters, blank where nothing is drawn.

    Parameters
    ----------
    column : ndarray of shape (n,)
        Dot column of each value, ascending, below ``2 * cells``; a column shows its values' mean.
    values : ndarray of shape (n,)
        NaN is left out; neighbouring columns are joined.
    """
    count, dots = 2 * cells, 4 * rows
    finite = np.isfinite(values)
    place = column[finite].astype(np.int64)
    number = np.bincount(place, minlength=count)
    total = np.bincount(place, weights=values[finite], minlength=count)
    there = np.flatnonzero(number)
    share = (total[there] / number[there] - low) / ((high - low) or 1.0)
    height = np.rint((1 - np.clip(share, 0.0, 1.0)) * (dots - 1)).astype(np.int64)
    reach = 2 * max(1, -(-count // max(len(values), 1)))  # a missing session or two is no gap
    points = list(zip(there.tolist(), height.tolist(), strict=True))
    bits = [[0] * cells for _ in range(rows)]
    for (x0, y0), (x1, y1) in pairwise(points[:1] + points):
        begin = (x0, y0) if x1 - x0 <= reach else (x1, y1)
        steps = max(x1 - begin[0], abs(y1 - begin[1])) + 1
        line = np.rint(np.linspace(begin, (x1, y1), steps)).astype(np.int64)
        for x, y in line.tolist():
            bits[y // 4][x // 2] |= _BITS[y % 4][x % 2]
    return [[chr(0x2800 + bit) if bit else _BLANK for bit in row] for row in bits]


def framed(
    lines: list[list[str]],
    low: float,
    high: float,
    form: str,
    level: float,
    marks: Sequence[tuple[int, str]],
    *,
    power: bool = False,
) -> list[str]:
    """Return lines with their labels, the level drawn through and the alarms marked."""
    rows = len(lines)
    span = (high - low) or 1.0
    at = None if np.isnan(level) else round((1 - (level - low) / span) * (rows - 1))
    labels = {0: high, rows - 1: low}
    if at is not None:
        labels[at] = level
    framed_lines = []
    for number, line in enumerate(lines):
        shown = [_LEVEL if cell == _BLANK and number == at else cell for cell in line]
        for place, what in marks:
            if what == "decayed" and shown[place] in (_BLANK, _LEVEL):
                shown[place] = _MARK
        value = labels.get(number)
        text = "" if value is None else form.format(10**value if power else value)
        framed_lines.append(f"{text:>{LABEL - 2}} │" + "".join(shown))
    return framed_lines


def _columns(first: np.datetime64, last: np.datetime64, count: int) -> _Columns:
    """Return what tells the dot column of sessions."""
    days = max(int((last - first).astype(int)), 1)

    def column(sessions: SessionArray) -> FloatArray:
        since = (sessions - first).astype(np.int64)
        placed: FloatArray = np.floor(since / days * (count - 1))
        return placed

    return column


def _letters(marks: Sequence[tuple[int, str]], cells: int) -> str:
    """Return the line of letters; of two in one place an end stands, else the later."""
    line = [_BLANK] * cells
    for place, what in marks:
        if line[place] not in _ENDS:
            line[place] = LETTERS[what]
    return "".join(line)
