"""The report: one self-contained HTML page with the RankIC curves and the events on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from daemon.summary import Curve, Summary
from signals.panel import FloatArray

#: Sessions of the trailing mean that the curves show; one session's RankIC is mostly noise.
SMOOTHING = 60
#: Evidence over threshold below this is drawn as this: nothing speaks for decay.
LEAST_EVIDENCE = 1e-3
#: Colour-blind safe (Okabe and Ito); a second round is dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@dataclass(frozen=True)
class Truth:
    """What is known only in a simulated market: a planted alpha's true strength over time."""

    name: str
    sessions: Sequence[str]
    strength: FloatArray


def trailing_mean(values: FloatArray, window: int = SMOOTHING) -> FloatArray:
    """Return the mean of the last `window` values, NaN skipped; NaN until half are there."""
    finite = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    rows = np.arange(1, len(values) + 1)
    start = np.maximum(rows - window, 0)
    n = count[rows] - count[start]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n >= window // 2, (total[rows] - total[start]) / n, np.nan)


def build_figure(summary: Summary, truths: Sequence[Truth] = ()) -> go.Figure:
    """Return the figure: RankIC above, evidence of decay over its threshold below."""
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        row_heights=[0.68, 0.32],
        vertical_spacing=0.05,
        subplot_titles=(
            f"RankIC, mean of the last {SMOOTHING} sessions",
            "evidence of decay / threshold (alarm at 1)",
        ),
    )
    add_curve(figure, summary.score_curve, {"color": "#000000", "width": 3})
    for number, factor in enumerate(summary.curves):
        again, place = divmod(number, len(COLOURS))
        dash = ("solid", "dash", "dashdot")[again % 3]
        add_curve(figure, factor, {"color": COLOURS[place], "width": 1.5, "dash": dash})
    for truth in truths:
        figure.add_trace(
            go.Scatter(
                x=list(truth.sessions),
                y=truth.strength.tolist(),
                name=f"planted: {truth.name}",
                line={"dash": "dot", "color": "#888888"},
            ),
            row=1,
            col=1,
        )
    for event in summary.events:
        if not event.marked:
            continue
        colour = "#c33333" if event.kind in {"decayed", "retired"} else "#22aa88"
        figure.add_vline(x=event.session, line={"color": colour, "width": 1, "dash": "dash"})
        figure.add_annotation(
            x=event.session, y=1.0, yref="paper", text=f"{event.subject} {event.text}",
            textangle=-90, showarrow=False, xanchor="right", yanchor="top",
            font={"size": 10, "color": colour},
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": "#cccccc"}, row=1, col=1)
    figure.add_hline(y=1, line={"color": "#c33333", "width": 1}, row=2, col=1)
    figure.update_yaxes(type="log", row=2, col=1, range=[-3, 3])
    figure.update_layout(
        template="plotly_white", height=760, margin={"l": 50, "r": 20, "t": 40, "b": 30},
        hovermode="x unified", legend={"orientation": "h", "y": -0.08},
    )  # fmt: skip
    return figure


def add_curve(figure: go.Figure, curve: Curve, line: Mapping[str, str | float]) -> None:
    """Draw one RankIC curve, and its evidence where it has any."""
    figure.add_trace(
        go.Scatter(
            x=list(curve.sessions),
            y=trailing_mean(curve.rank_ic).tolist(),
            name=curve.name,
            legendgroup=curve.name,
            line=line,
        ),
        row=1,
        col=1,
    )
    if len(curve.evidence_sessions):
        figure.add_trace(
            go.Scatter(
                x=list(curve.evidence_sessions),
                y=np.maximum(curve.evidence_ratio, LEAST_EVIDENCE).tolist(),
                name=curve.name,
                legendgroup=curve.name,
                line={**line, "width": 1},
                showlegend=False,
            ),
            row=2,
            col=1,
        )


def render_report(
    summary: Summary, *, story: Sequence[str] = (), truths: Sequence[Truth] = ()
) -> bytes:
    """Return the page; it needs no network and no other file."""
    figure = build_figure(summary, truths).to_html(
        full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True}
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("daemon", "templates"), autoescape=True
    )
    page = environment.get_template("report.html").render(
        summary=summary, story=story, figure=figure
    )
    return page.encode()
