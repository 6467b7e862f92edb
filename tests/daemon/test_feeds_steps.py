from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.feeds.steps import MIN_SESSIONS, Steps, fit_steps
from signals.errors import BarsError

FloatArray = npt.NDArray[np.float64]
HALF_CENT = 0.005


@dataclass(frozen=True, eq=False)
class Case:
    """Prices with a true ratio for each session."""

    traded: FloatArray
    adjusted: FloatArray
    ratio: FloatArray
    starts: list[int]
    traded_error: float

    def widths(self) -> FloatArray:
        """Return how far apart two ratios can be that both agree with a session's prices."""
        low = (self.adjusted - HALF_CENT) / (self.traded + self.traded_error)
        high = (self.adjusted + HALF_CENT) / (self.traded - self.traded_error)
        widths: FloatArray = (high.min(axis=1) - low.max(axis=1)) * (1 + 1e-9) + 1e-9
        return widths

    def fit(self) -> Steps:
        return fit_steps(self.traded, self.adjusted, traded_error=self.traded_error)


@st.composite
def cases(draw: st.DrawFn, *, exact: bool, least_step: float = 1.0001) -> Case:
    """Return random walks with up to four ex-dates, rounded to cents."""
    lengths = draw(st.lists(st.integers(MIN_SESSIONS, 60), min_size=1, max_size=5))
    factors = draw(
        st.lists(st.floats(least_step, 2.5), min_size=len(lengths) - 1, max_size=len(lengths) - 1)
    )
    start = draw(st.floats(2.0, 150.0))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = sum(lengths)
    level = draw(st.floats(1.0, 40.0))
    ratio = np.repeat(np.cumprod([level, *factors]), lengths)
    walk = start * np.exp(np.cumsum(rng.normal(0.0, 0.02, n)))
    price = np.maximum(walk, 1.0)[:, None] * (1.0 + rng.uniform(-0.02, 0.02, (n, 4)))
    if exact:
        price = np.round(price, 2)
    return Case(
        traded=np.round(price, 2),
        adjusted=np.round(price * ratio[:, None], 2),
        ratio=ratio,
        starts=[0, *np.cumsum(lengths)[:-1].tolist()],
        traded_error=0.0 if exact else HALF_CENT,
    )


@settings(max_examples=60, deadline=None)
@given(st.booleans().flatmap(lambda exact: cases(exact=exact)))
def test_every_session_is_within_its_rounding_or_refused(case: Case) -> None:
    """Whatever the steps, the ratio found is within each session's rounding of the true one."""
    try:
        steps = case.fit()
    except BarsError:
        return
    lengths = np.diff([*steps.starts.tolist(), len(case.ratio)])
    found = np.repeat(steps.levels, lengths)
    assert (np.abs(found - case.ratio) <= case.widths()).all()


@settings(max_examples=60, deadline=None)
@given(st.booleans().flatmap(lambda exact: cases(exact=exact, least_step=1.03)))
def test_steps_above_the_rounding_are_recovered(case: Case) -> None:
    """Steps of 3 % are found on their sessions, with the true factors inside the stated bounds."""
    steps = case.fit()
    assert steps.starts.tolist() == case.starts
    true = case.ratio[case.starts]
    assert (steps.low <= true * (1 + 1e-9)).all()
    assert (steps.high >= true * (1 - 1e-9)).all()
    low, high = steps.bounds()
    factors = true[1:] / true[:-1]
    assert (low <= factors * (1 + 1e-9)).all()
    assert (high >= factors * (1 - 1e-9)).all()
    assert ((steps.factors() >= low) & (steps.factors() <= high)).all()


def walk(n: int = 250, start: float = 20.0) -> FloatArray:
    rng = np.random.default_rng(3)
    return np.round(start * np.exp(np.cumsum(rng.normal(0.0, 0.02, (n, 1)), axis=0)), 2)


def refusal(traded: FloatArray, adjusted: FloatArray) -> str:
    with pytest.raises(BarsError, match="adjustment undetermined") as caught:
        fit_steps(traded, adjusted)
    assert caught.value.hint
    return caught.value.fact


@pytest.mark.parametrize("cash", [0.5, 3.0, 30.0])
def test_cash_added_to_the_price_is_refused(cash: float) -> None:
    """Where adjusted prices are the traded ones plus a sum, no ratio lasts."""
    traded = walk()
    refusal(traded, np.round(1.2 * traded + cash, 2))


def test_a_ratio_that_falls_is_refused() -> None:
    """Dividends, bonus shares and rights only raise it."""
    traded = walk(60)
    ratio = np.where(np.arange(60) < 30, 2.0, 1.9)[:, None]
    assert "falls" in refusal(traded, np.round(traded * ratio, 2))


def test_prices_that_disagree_within_a_session_are_refused() -> None:
    """Open, high, low and close have one ratio; columns that changed places do not."""
    traded = np.concatenate([walk(30), walk(30) * 1.1], axis=1).round(2)
    adjusted = np.round(traded * 3.0, 2)
    assert "no ratio in common" in refusal(traded, adjusted[:, ::-1])


def test_two_ex_dates_within_days_are_refused() -> None:
    """A step of five sessions between two others is no ex-date."""
    traded = walk(60)
    ratio = np.repeat([1.0, 1.1, 1.2], [30, 5, 25])[:, None]
    assert "too short" in refusal(traded, np.round(traded * ratio, 2))


def test_an_ex_date_of_yesterday_counts() -> None:
    """The last step may be one session long, and so may the first."""
    traded = walk(40)
    ratio = np.repeat([1.0, 1.1, 1.21], [1, 38, 1])[:, None]
    steps = fit_steps(traded, np.round(traded * ratio, 2))
    assert steps.starts.tolist() == [0, 1, 39]
    assert steps.factors() == pytest.approx([1.1, 1.1], rel=1e-3)


def test_missing_prices_are_no_evidence() -> None:
    """Sessions without prices change nothing; without any price there is nothing to tell."""
    traded = walk(60)
    adjusted = np.round(traded * np.repeat([1.0, 1.1], [30, 30])[:, None], 2)
    traded[[0, 30, 45]] = np.nan
    steps = fit_steps(traded, adjusted)
    assert steps.starts.tolist() == [0, 31]
    assert "no price" in refusal(np.full((5, 1), np.nan), adjusted[:5])


def test_a_year_between_ex_dates_makes_the_factor_certain() -> None:
    """250 sessions at 20 yuan adjusted to 140 leave a factor uncertain by less than 1e-5."""
    traded = walk(500)
    ratio = np.repeat([7.1234, 7.1234 * 1.0987], [250, 250])[:, None]
    steps = fit_steps(traded, np.round(traded * ratio, 2))
    low, high = steps.bounds()
    assert high[0] / low[0] - 1.0 < 1e-5
    assert steps.factors()[0] == pytest.approx(1.0987, rel=1e-5)
