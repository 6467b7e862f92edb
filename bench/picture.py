"""The numbers of a run as one page that needs nothing else."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots


def write_picture(result: Mapping[str, Any], path: Path) -> None:
    """Write bar charts of what `bench.engine` measured, with the library they need inside."""
    charts = [
        chart
        for chart in (_wall(result), _cpu(result), _limits(result), _sizes(result), _rates(result))
        if chart is not None
    ]
    about = result["machine"]
    figure = make_subplots(rows=len(charts), cols=1, subplot_titles=[title for title, *_ in charts])
    for row, (_, names, values, logarithmic) in enumerate(charts, start=1):
        text = [f"{value:.3g}" for value in values]
        figure.add_trace(go.Bar(x=names, y=values, text=text, showlegend=False), row=row, col=1)
        if logarithmic:
            figure.update_yaxes(type="log", row=row, col=1)
    figure.update_layout(
        title=f"{about['cpu']}, {about['cores']} cores; "
        f"{about['assets']} assets × {about['sessions']} sessions",
        height=420 * len(charts) + 80,
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)


_Chart = tuple[str, list[str], list[float], bool]


def _wall(result: Mapping[str, Any]) -> _Chart | None:
    engines = result.get("engines", {})
    if "ours" not in engines:
        return None
    ours = engines["ours"]["wall_s"]
    found: dict[str, float] = {}
    for engine in engines.values():
        largest = max(engine["wall_s"], key=len, default="")
        if largest in ours:
            times = engine["wall_s"][largest]
            found[engine["name"]] = statistics.median(times) / statistics.median(ours[largest])
    title = "Wall time of all supported expressions, every core allowed: × ours"
    return title, list(found), list(found.values()), True


def _cpu(result: Mapping[str, Any]) -> _Chart | None:
    engines = result.get("engines", {})
    if "ours" not in engines:
        return None
    ours = {name: statistics.median(times) for name, times in engines["ours"]["cpu_s"].items()}
    found = {}
    for engine in engines.values():
        times = {name: statistics.median(t) for name, t in engine["cpu_s"].items()}
        if times:
            found[engine["name"]] = sum(times.values()) / sum(ours[name] for name in times)
    return "CPU time, one thread: × ours", list(found), list(found.values()), True


def _limits(result: Mapping[str, Any]) -> _Chart | None:
    if "limits" not in result:
        return None
    found = {name: one["s"] / one["limit_s"] for name, one in result["limits"]["operators"].items()}
    names = sorted(found, key=found.__getitem__)
    title = "Each operator, one thread: × the memory bandwidth limit"
    return title, names, [found[name] for name in names], True


def _sizes(result: Mapping[str, Any]) -> _Chart | None:
    if "scaling" not in result:
        return None
    rows = result["scaling"]
    names = [f"{row['assets']} × {row['sessions']}" for row in rows]
    values = [1e9 * row["s"] / (row["assets"] * row["sessions"]) for row in rows]
    return "The 32 expressions: ns per cell", names, values, False


def _rates(result: Mapping[str, Any]) -> _Chart | None:
    if "throughput" not in result:
        return None
    modes = ("evaluate", "ic", "staged", "all")
    values = [result["throughput"][mode]["per_s"] for mode in modes]
    return "Distinct random expressions per second", list(modes), values, False
