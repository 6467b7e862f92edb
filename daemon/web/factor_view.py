"""The page of one factor: its story, as `alphad explain` tells it, without reading bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from daemon.context import Context, Market
from daemon.course import SMOOTHING, course
from daemon.factor_story import FactorStory, factor_stories
from daemon.web.curves import Curve, build_curve
from daemon.wording import facts_of, headline
from storage import registry

#: Changes that are listed, newest first.
EVENTS = 60
#: Parts of a hypothesis, in the order they are told.
PARTS = ("observation", "knowledge", "justification", "specification")


@dataclass(frozen=True, eq=False)
class FactorView:
    """The page of one factor.

    Parameters
    ----------
    story : FactorStory
    headline : str
        What is the matter and what was done about it.
    tests : sequence of (str, bool, sequence of str)
        Name, whether the verdict rests on it, and its facts.
    hypothesis : sequence of (str, str)
        The parts there are.
    detail : mapping
        What else its maker left.
    events : sequence of (date, str, str)
        Session, event and reason.
    curve : Curve
    """

    story: FactorStory
    headline: str
    tests: Sequence[tuple[str, bool, Sequence[str]]]
    hypothesis: Sequence[tuple[str, str]]
    detail: Mapping[str, Any]
    events: Sequence[tuple[date, str, str]]
    curve: Curve


def factor_view(context: Context, market: Market, name: str) -> FactorView | None:
    """Return the page of a factor, None where the market has none of this id."""
    with context.database.read() as conn:
        if registry.get(conn, market.name, name) is None:
            return None
    [story] = factor_stories(context, market, [name], measured=False)
    drawn = course(story)
    told = (("monitored RankIC", story.monitored), ("raw RankIC", story.raw))
    freed = story.leading is not None and story.leading is story.monitored
    kind = "Monitored RankIC" if freed and story.raw is not None else "RankIC"
    hypothesis = story.factor.hypothesis or {}
    return FactorView(
        story=story,
        headline=headline(story),
        tests=[
            (what, test is story.leading, facts_of(test)) for what, test in told if test is not None
        ],
        hypothesis=[(part, str(hypothesis[part])) for part in PARTS if hypothesis.get(part)],
        detail=story.factor.detail or {},
        events=story.events[-EVENTS:][::-1],
        curve=build_curve(
            f"{kind} of {name}, mean of {SMOOTHING} sessions",
            drawn.sessions,
            drawn.rank_ic,
            horizon=market.settings.label.horizon,
            level=drawn.level,
            evidence_sessions=drawn.evidence_sessions,
            ratio=drawn.ratio,
            marks=drawn.marks,
        ),
    )
