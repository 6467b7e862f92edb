"""Five classical factors on real bars, monitored point-in-time, beside the 60-day rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from signals.decay import MonitorState, Verdict, start_monitor, update, with_threshold
from signals.evaluate import evaluate
from signals.grammar import parse
from signals.ic import MeanEstimate, hac_lags, mean_with_interval, rank_ic
from signals.labels import forward_returns
from signals.monitored import Surroundings, factor_values, surroundings
from signals.panel import FloatArray, Panel
from signals.watch import RAW_FACTOR, SHARED

#: Their signs are taken from the baseline.
CLASSICAL: Mapping[str, str] = {
    "5-day reversal": "-1 * TS_PCTCHANGE($close, 5)",
    "20-day volatility": "-1 * TS_STD(TS_PCTCHANGE($close, 1), 20)",
    "volume-price correlation": "-1 * TS_CORR($close, $volume, 20)",
    "relative volume": "-1 * $volume / TS_MEAN($volume, 20)",
    "range": "-1 * TS_MEAN(($high - $low) / $close, 10)",
}
#: First session of the baseline: the longest lookback lies behind it.
BEGIN = 260
BASELINE = 500
YEAR = 252
#: Sessions of the rule of thumb, and the part of the baseline's mean it alarms below.
RULE_SESSIONS, RULE_PART = 60, 0.5

_ORDER = (Verdict.HEALTHY, Verdict.WARNING, Verdict.DECAYED)


@dataclass(frozen=True)
class Setting:
    """How the factors are judged.

    Parameters
    ----------
    lag, horizon, min_assets : int
        Of the label.
    begin, baseline : int
        First row of the baseline and its sessions.
    threshold : float
        A of the book.
    """

    lag: int = 1
    horizon: int = 1
    min_assets: int = 30
    begin: int = BEGIN
    baseline: int = BASELINE
    threshold: float = 1260.0

    @property
    def stop(self) -> int:
        """The row after the baseline's last."""
        return self.begin + self.baseline


@dataclass(frozen=True)
class Tested:
    """One series that is tested.

    Parameters
    ----------
    name : str
        As printed.
    values : ndarray of shape (n_sessions,)
        RankIC of each session.
    horizon : int
        Sessions its labels are held.
    threshold : float
        A of its test.
    """

    name: str
    values: FloatArray
    horizon: int
    threshold: float


#: Panel, name of a factor, its sign, its raw RankIC, setting → what is tested for it.
Series = Callable[[Panel, str, float, FloatArray, Setting], list[Tested]]


def raw_series(
    _panel: Panel, _name: str, _sign: float, oriented: FloatArray, setting: Setting
) -> list[Tested]:
    """Test the raw RankIC alone."""
    return [Tested("raw", oriented, setting.horizon, setting.threshold)]


def monitored_series() -> Series:
    """Return what tests the monitored RankIC, and the raw one at ten times the threshold."""
    made: dict[tuple[int, Setting], list[Surroundings]] = {}

    def series(
        panel: Panel, name: str, sign: float, oriented: FloatArray, setting: Setting
    ) -> list[Tested]:
        key = (id(panel), setting)
        if key not in made:
            last = panel.n_sessions - setting.lag - 1
            spans = ((setting.begin, setting.stop), (setting.stop, last))
            made[key] = [
                surroundings(
                    panel, first, stop, lag=setting.lag, horizon=setting.horizon,
                    min_assets=setting.min_assets,
                )
                for first, stop in spans
            ]  # fmt: skip
        early, late = made[key]
        expression = [parse(CLASSICAL[name])]
        basis, baseline = early.begin(sign * factor_values(expression, early)[0])
        after = late.monitored(basis, sign * factor_values(expression, late)[0])
        values = np.full(panel.n_sessions, np.nan)
        values[setting.begin : setting.stop] = baseline
        values[setting.stop : setting.stop + len(after)] = after
        label = "monitored" if not basis.raw else "monitored (raw)"
        return [
            Tested(label, values, 1, SHARED * setting.threshold),
            Tested("raw", oriented, setting.horizon, SHARED * RAW_FACTOR * setting.threshold),
        ]

    return series


@dataclass(frozen=True)
class Change:
    """One change of verdict.

    Parameters
    ----------
    session : date
        When it was said: the last bars it needs are those of this session's close.
    before, after : Verdict
        From what to what.
    evidence : tuple of str
        Of each test, against its threshold.
    year_before, year_after : MeanEstimate
        Raw RankIC of the 252 sessions realised by then, and of the 252 next ones.
    """

    session: date
    before: Verdict
    after: Verdict
    evidence: tuple[str, ...]
    year_before: MeanEstimate
    year_after: MeanEstimate


@dataclass(frozen=True)
class Life:
    """What one factor lived through on one market."""

    factor: str
    sign: float
    baseline: MeanEstimate
    first: date
    last: date
    changes: tuple[Change, ...]
    rule_fired: tuple[date, ...]
    rule_share: float


def live_through(
    panel: Panel, setting: Setting, series: Series, say: Callable[[str], None]
) -> list[Life]:
    """Return the life of each factor; nothing of it depends on a later session."""
    close = np.asarray(panel.fields["close"])
    label = forward_returns(close, lag=setting.lag, horizon=setting.horizon)
    lives = []
    for name, text in CLASSICAL.items():
        say(name)
        [values] = evaluate([parse(text)], panel)
        raw = rank_ic(values, label, min_assets=setting.min_assets)
        sign = 1.0 if np.nanmean(raw[setting.begin : setting.stop]) >= 0 else -1.0
        oriented = sign * raw
        tests = series(panel, name, sign, oriented, setting)
        lives.append(_life(panel, setting, name, sign, oriented, tests))
    return lives


def _life(
    panel: Panel,
    setting: Setting,
    name: str,
    sign: float,
    oriented: FloatArray,
    tests: Sequence[Tested],
) -> Life:
    ahead = setting.lag + setting.horizon
    states = [
        with_threshold(
            start_monitor(test.values[setting.begin : setting.stop], horizon=test.horizon),
            test.threshold,
        )
        for test in tests
    ]
    changes = []
    verdict = Verdict.HEALTHY
    for row in range(setting.stop + ahead, panel.n_sessions):
        states = [
            update(state, float(test.values[row - setting.lag - test.horizon]))
            for state, test in zip(states, tests, strict=True)
        ]
        now = _ORDER[max(_ORDER.index(state.standing) for state in states)]
        if now is not verdict:
            realised = row - ahead + 1
            changes.append(
                Change(
                    session=panel.sessions[row].item(),
                    before=verdict,
                    after=now,
                    evidence=tuple(map(_said, tests, states)),
                    year_before=_mean(oriented[realised - YEAR : realised], setting.horizon),
                    year_after=_mean(oriented[realised : realised + YEAR], setting.horizon),
                )
            )
            verdict = now
    baseline = _mean(oriented[setting.begin : setting.stop], setting.horizon)
    fired, share = _rule(panel, oriented, setting, RULE_PART * baseline.mean)
    return Life(
        factor=name,
        sign=sign,
        baseline=baseline,
        first=panel.sessions[setting.stop + ahead].item(),
        last=panel.sessions[-1].item(),
        changes=tuple(changes),
        rule_fired=fired,
        rule_share=share,
    )


def _said(test: Tested, state: MonitorState) -> str:
    """Return one test's evidence against its threshold; on recovery that of the recovery too."""
    return f"{test.name}: {state.reason}"


def _mean(values: FloatArray, horizon: int) -> MeanEstimate:
    return mean_with_interval(values, lags=hac_lags(max(len(values), 1), horizon=horizon))


def _rule(
    panel: Panel, oriented: FloatArray, setting: Setting, level: float
) -> tuple[tuple[date, ...], float]:
    """Return when the mean of the last 60 RankICs fell below `level`, and for what share it was."""
    ahead = setting.lag + setting.horizon
    fired, below, count, rows = [], False, 0, range(setting.stop + ahead, panel.n_sessions)
    for row in rows:
        window = oriented[row - ahead + 1 - RULE_SESSIONS : row - ahead + 1]
        now = bool(np.nanmean(window) < level)
        if now and not below:
            fired.append(panel.sessions[row].item())
        below, count = now, count + now
    return tuple(fired), count / len(rows)
