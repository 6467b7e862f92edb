"""The report: one self-contained HTML page with the RankIC curves and the events on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jinja2
import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from daemon.course import LEAST_EVIDENCE, SMOOTHING, course, trailing_mean
from daemon.factor_story import FactorStory
from daemon.summary import Curve, Summary
from daemon.wording import facts_of, headline, interval, turnover_line
from signals.panel import FloatArray

#: Colour-blind safe (Okabe and Ito); a second round is dashed.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

#: Points of a curve in a factor's own figure: what a phone can show.
FACTOR_POINTS = 400
#: Changes that are drawn into it.
MARKED = {"decayed": "#c33333", "retired": "#c33333", "live": "#22aa88", "healthy": "#22aa88"}


@dataclass(frozen=True)
class Truth:
    """What is known only in a simulated market: a planted alpha's true strength over time."""

    name: str
    sessions: Sequence[str]
    strength: FloatArray


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


def factor_figure(story: FactorStory) -> go.Figure:
    """Return the small figure of one factor: RankIC with its changes, and evidence of decay."""
    drawn = course(story)
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.62, 0.38], vertical_spacing=0.08
    )
    smooth = trailing_mean(drawn.rank_ic)
    evidence = np.clip(drawn.ratio, LEAST_EVIDENCE, None)
    for row, sessions, values in (
        (1, drawn.sessions, smooth),
        (2, drawn.evidence_sessions, evidence),
    ):
        step = max(1, len(values) // FACTOR_POINTS)
        figure.add_trace(
            go.Scatter(
                x=sessions[::-step][::-1].astype(str).tolist(),
                y=values[::-step][::-1].tolist(),
                line={"color": COLOURS[0], "width": 1.5},
                showlegend=False,
            ),
            row=row,
            col=1,
        )
    if np.isfinite(drawn.level):
        figure.add_hline(y=drawn.level, line={"color": "#888888", "dash": "dot"}, row=1, col=1)
    figure.add_hline(y=1, line={"color": "#c33333", "width": 1}, row=2, col=1)
    for session, what in drawn.marks:
        if what in MARKED:
            figure.add_vline(
                x=session.isoformat(), line={"color": MARKED[what], "width": 1, "dash": "dash"}
            )
    figure.update_yaxes(title_text=f"RankIC ({SMOOTHING})", row=1, col=1)
    figure.update_yaxes(title_text="evidence", type="log", row=2, col=1)
    figure.update_layout(
        template="plotly_white", height=300, margin={"l": 55, "r": 10, "t": 10, "b": 25},
        dragmode=False,
    )  # fmt: skip
    return figure


@dataclass(frozen=True)
class FactorSection:
    """What the report says of one factor that was ever live."""

    id: str
    headline: str
    tests: list[tuple[str, list[str]]]
    reading: str | None
    horizons: list[tuple[int, str, str]]
    turnover: str | None
    figure: str


def factor_section(story: FactorStory) -> FactorSection:
    """Return one factor's section."""
    told = (("monitored RankIC", story.monitored), ("raw RankIC", story.raw))
    measures = story.measures
    drawn = len(course(story).sessions) > 0
    return FactorSection(
        id=story.factor.id,
        headline=headline(story),
        tests=[(name, facts_of(test)) for name, test in told if test is not None],
        reading=story.reading,
        horizons=[
            (row.horizon, interval(row.recent), interval(row.baseline))
            for row in (measures.horizons if measures else ())
        ],
        turnover=turnover_line(measures.turnover) if measures else None,
        figure=factor_figure(story).to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=f"factor-{story.factor.id}",
            config={"displayModeBar": False, "responsive": True},
        )
        if drawn
        else "",
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
        summary=summary,
        story=story,
        figure=figure,
        sections=[factor_section(told) for told in summary.stories],
    )
    return page.encode()
