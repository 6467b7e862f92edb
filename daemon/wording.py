"""What is said of a factor: first what is the matter and what was done, then the facts."""

from __future__ import annotations

import numpy as np

from daemon.approval import approval_in, last_change
from daemon.factor_story import FactorStory, ToldTest
from daemon.settings import MarketSettings
from signals.ic import MeanEstimate
from signals.turnover import Turnover
from storage.tables import FactorState, JobStatus, RemineJob


def headline(story: FactorStory) -> str:
    """Return what is the matter with a factor and what alphad did about it, in one line."""
    factor, last = story.factor, story.moves[-1]
    match factor.state:
        case FactorState.RETIRED:
            return f"{factor.id} was retired on {last.session}: {last.rule}. It weighs nothing."
        case FactorState.REJECTED:
            return f"{factor.id} was rejected on {last.session}: {last.rule}. It weighs nothing."
        case FactorState.SHADOW:
            return shadow_headline(story)
        case FactorState.CANDIDATE:
            seen = int(np.isfinite(story.series.rank_ic).sum())
            wanted = story.settings.monitor.baseline_sessions
            return f"{factor.id} waits for its baseline: {seen} of {wanted} RankICs are there."
    return live_headline(story)


def shadow_headline(story: FactorStory) -> str:
    """Return the headline of a factor in shadow."""
    name, held = story.factor.id, approval_in(story.moves)
    if held is None:
        return (
            f"{name} is on trial in shadow since {last_change(story.moves).session}: it weighs "
            "nothing until RankICs of sessions to come have borne it out."
        )
    if held.given is None:
        return (
            f"{name} has won its trial and waits since {held.asked} for a person: alphad approve "
            f"{name} --reason TEXT, or alphad retire {name} --reason TEXT."
        )
    return f"{name} was approved on {held.given}, and goes live as soon as it has a place."


def live_headline(story: FactorStory) -> str:
    """Return the headline of a live factor."""
    name, cut = story.factor.id, story.settings.blend
    if story.verdict == "decayed":
        return (
            f"{name} has decayed{since(story.leading)}: its weight is cut to "
            f"{cut.decayed_multiplier:.0%}, and {remined(story.job, story.settings)}."
        )
    if story.verdict == "warning":
        return (
            f"{name} is weakening: its weight is cut to {cut.warning_multiplier:.0%} until the "
            "evidence decides. Nothing has to be done."
        )
    if story.verdict == "suspended" and story.leading is not None:
        found = story.leading.explanation
        return (
            f"{name} is not judged now: {found.reason}. Until the data are good it keeps the "
            f"weight of a {found.standing.value} factor."
        )
    return f"{name} is healthy and has its full weight."


def since(test: ToldTest | None) -> str:
    """Return when it began, as an interval."""
    if test is None or test.onset is None:
        return ""
    return f" (began between {test.onset[0]} and {test.onset[2]}, 80 %)"


def remined(job: RemineJob | None, settings: MarketSettings) -> str:
    """Return what re-mining does about it."""
    if job is None:
        off = "re-mining is off (mining.enabled)"
        return "no re-mining was opened yet" if settings.mining.enabled else off
    match job.status:
        case JobStatus.QUEUED:
            return f"re-mining {job.id} waits to look for a successor"
        case JobStatus.RUNNING:
            return f"re-mining {job.id} is looking for a successor"
        case JobStatus.SUCCEEDED:
            accepted = (job.result or {}).get("accepted") or 0
            count = accepted if isinstance(accepted, int) else len(accepted)
            found = f"{count} challengers" if count else "nothing good enough"
            return f"re-mining {job.id} found {found}"
        case _:
            return f"re-mining {job.id} has {job.status}"


def facts_of(test: ToldTest) -> list[str]:
    """Return what one test has seen, a fact a line."""
    found = test.explanation
    lines = [
        f"evidence {found.evidence:.3g}; warning at {found.warning_level:.0f}, "
        f"decayed at {found.threshold:.0f}"
        + (f"; of recovery {found.recovery:.3g}" if found.recovery else "")
    ]
    if test.onset is None:
        lines.append(f"nothing points to decay; mean of the baseline {said(found.before)}")
        if found.after.n:
            lines.append(f"mean since it is watched {said(found.after)}")
    else:
        earliest, middle, latest = test.onset
        lines.append(f"onset between {earliest} and {latest} (80 %), in the middle {middle}")
        lines.append(f"mean before {middle} {said(found.before)}")
        lines.append(f"mean since {middle} {said(found.after)}")
    if found.half_life is not None:
        low, high = found.half_life
        lines.append(f"half-life {low:.0f} to {high:.0f} sessions (80 %); 0 is a step")
    return lines


def said(estimate: MeanEstimate) -> str:
    """Return a mean with its interval, which stands autocorrelation."""
    if estimate.n < 2:
        return "unknown"
    return f"{estimate.mean:+.4f} ({estimate.low:+.4f} … {estimate.high:+.4f}, n {estimate.n})"


def interval(estimate: MeanEstimate) -> str:
    """Return a mean with its interval for a table."""
    if estimate.n < 2:
        return "–"
    return f"{estimate.mean:+.4f} ({estimate.low:+.4f} … {estimate.high:+.4f})"


def turnover_line(turnover: Turnover) -> str | None:
    """Return turnover in one line; None where no sessions could be compared."""
    if turnover.top is None or turnover.bottom is None:
        return None
    text = (
        f"turnover per session: {turnover.top:.0%} of the top quintile, "
        f"{turnover.bottom:.0%} of the bottom one"
    )
    if turnover.rank_autocorrelation is not None:
        text += f"; rank autocorrelation {turnover.rank_autocorrelation:.3f}"
    return text
