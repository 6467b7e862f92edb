"""Files that settings name, read at the start: a broken one stops the start and not a session."""

from __future__ import annotations

from daemon.context import Market
from daemon.stages.book import declared_factors
from daemon.stages.pose import known_formulas
from storage.membership import read_membership


def check_inputs(market: Market) -> None:
    """Read what else the settings of a market name.

    Raises
    ------
    ConfigError, ExpressionError
        The seed book, or the zoo.
    MembershipError
        The constituents.
    """
    declared_factors(market)
    known_formulas(market)
    if market.settings.membership is not None:
        read_membership(market.settings.membership)
    if market.lists is not None:
        market.lists.overrides()
