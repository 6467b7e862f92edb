"""The monitored RankIC of a factor on a panel: surroundings of some sessions, then each factor.

The surroundings - styles, one-session labels, references - are the same for every factor and are
made once. Row t uses bars up to its own session, and its label those of session t + lag + 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from signals.blend import exposures
from signals.evaluate import evaluate
from signals.expression import Expression
from signals.labels import forward_returns
from signals.operators import lookback
from signals.panel import BoolArray, FloatArray, Panel
from signals.residual import (
    SAME,
    Basis,
    choose_basis,
    held_exposures,
    mean_rank_correlations,
    residual_rank_ic,
)
from signals.styles import (
    OWN_STYLES,
    REFERENCES,
    STYLES,
    reference_expressions,
    style_expressions,
)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the factors of some sessions are compared with.

    Parameters
    ----------
    panel : Panel
        It holds the sessions, the lookback of every style behind them and their labels' end.
    first, stop : int
        Rows of the sessions.
    horizon, min_assets : int
        Sessions the published label is held; fewest assets of a RankIC.
    label : ndarray of shape (n_sessions, n_assets)
        One-session returns from lag sessions on.
    styles : ndarray of shape (n_styles, n_sessions, n_assets)
        Standardised ranks.
    reference_exposures : ndarray of shape (n_references, n_sessions, n_assets)
        Standardised ranks, averaged over the sessions held.
    reference_ics : mapping of str to ndarray of shape (n_sessions,)
        RankICs of the references without their styles.
    """

    panel: Panel
    first: int
    stop: int
    horizon: int
    min_assets: int
    label: FloatArray
    styles: FloatArray
    reference_exposures: FloatArray
    reference_ics: Mapping[str, FloatArray]

    def exposures_of(self, values: FloatArray) -> FloatArray:
        """Return the exposures held; `values` begins `horizon - 1` rows before `first`."""
        return _held(values, self.panel, self.first, self.stop, self.horizon)

    def rank_ics(self, exposure: FloatArray, styles: Sequence[str]) -> FloatArray:
        """Return the RankIC of each session without some styles."""
        chosen = [number for number, name in enumerate(STYLES) if name in styles]
        return np.array(
            [
                residual_rank_ic(
                    exposure[row],
                    self.styles[chosen, row],
                    self.label[row],
                    min_assets=self.min_assets,
                )
                for row in range(self.stop - self.first)
            ]
        )

    def monitored(self, basis: Basis, values: FloatArray) -> FloatArray:
        """Return the monitored RankIC of each session for a factor whose watch has begun.

        Parameters
        ----------
        basis : Basis
            Of the factor.
        values : ndarray of shape (horizon - 1 + n_sessions, n_assets)
            Factor values up to the last session.
        """
        series = self.rank_ics(self.exposures_of(values), basis.styles)
        moves = [
            basis.movement({name: ics[row] for name, ics in self.reference_ics.items()})
            for row in range(len(series))
        ]
        freed: FloatArray = series - np.array(moves)
        return freed

    def begin(
        self, values: FloatArray, hidden: BoolArray | None = None
    ) -> tuple[Basis, FloatArray]:
        """Return how a factor is to be monitored, chosen on these sessions, and its RankICs then.

        Parameters
        ----------
        values : ndarray of shape (horizon - 1 + n_sessions, n_assets)
            Factor values up to the last session.
        hidden : ndarray of bool, shape (n_sessions,), optional
            Sessions that count as without a RankIC: their bars are not to be judged by.
        """
        held = self.exposures_of(values)
        to_styles = mean_rank_correlations(held, self.styles)
        to_references = mean_rank_correlations(held, self.reference_exposures)
        styles = [n for n, c in zip(STYLES, to_styles, strict=True) if abs(c) <= SAME]
        references = {
            name: self.reference_ics[name]
            for name, c in zip(REFERENCES, to_references, strict=True)
            if abs(c) <= SAME
        }
        raw, residual = self.rank_ics(held, ()), self.rank_ics(held, styles)
        if hidden is not None:
            raw[hidden] = residual[hidden] = np.nan
        return choose_basis(raw, residual, styles, references)


def reach(horizon: int) -> int:
    """Return how many sessions the surroundings need before their first one."""
    styles = (lookback(style) for style in style_expressions())
    references = (lookback(reference) + horizon - 1 for reference in reference_expressions())
    return max(*styles, *references)


def surroundings(
    panel: Panel,
    first: int,
    stop: int,
    *,
    lag: int,
    horizon: int,
    min_assets: int = 30,
    bare: bool = False,
) -> Surroundings:
    """Return the surroundings of the rows `first` to `stop` of a panel.

    Sessions without enough bars behind them have no styles: factors then keep them. Sessions whose
    label has not ended have no RankIC. `bare` leaves out styles and references: enough for factors
    that are monitored as they are.
    """
    close = np.asarray(panel.fields["close"][first : stop + lag + 1])
    label = np.full((stop - first, panel.n_assets), np.nan)
    returns = forward_returns(close, lag=lag, horizon=1)[: stop - first]
    label[: len(returns)] = returns
    if bare:
        none = np.empty((0, *label.shape))
        return Surroundings(panel, first, stop, horizon, min_assets, label, none, none, {})
    begin = max(first - horizon + 1, 0)
    values = evaluate(
        [*style_expressions(), *reference_expressions()], panel.rows(0, stop), first=begin
    )
    n_styles = len(STYLES)
    styles = np.array(
        [
            [
                exposures(style[row - begin][None], panel.universe[row])[0]
                for row in range(first, stop)
            ]
            for style in values[:n_styles]
        ]
    ).reshape(n_styles, stop - first, panel.n_assets)
    held = np.array([_held(value, panel, first, stop, horizon) for value in values[n_styles:]])
    without = Surroundings(panel, first, stop, horizon, min_assets, label, styles, held, {})
    ics = {
        name: without.rank_ics(
            held[number], [style for style in STYLES if style not in OWN_STYLES.get(name, ())]
        )
        for number, name in enumerate(REFERENCES)
    }
    return Surroundings(panel, first, stop, horizon, min_assets, label, styles, held, ics)


def factor_values(expressions: Sequence[Expression], of: Surroundings) -> list[FloatArray]:
    """Return values as `Surroundings` wants them: from `horizon - 1` rows before its first."""
    begin = max(of.first - of.horizon + 1, 0)
    return evaluate(expressions, of.panel.rows(0, of.stop), first=begin)


def _held(values: FloatArray, panel: Panel, first: int, stop: int, horizon: int) -> FloatArray:
    """Average the exposures over the sessions held; `values` ends at row `stop`."""
    begin = stop - len(values)
    return np.array(
        [
            held_exposures(
                values[max(row - horizon + 1, 0) - begin : row + 1 - begin], panel.universe[row]
            )
            for row in range(first, stop)
        ]
    ).reshape(stop - first, panel.n_assets)
