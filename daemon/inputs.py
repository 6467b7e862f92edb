"""Files that settings name, read at the start: a broken one stops the start and not a session."""

from __future__ import annotations

from daemon.context import Market
from daemon.feeds.extras import check_fallback
from daemon.stages.book import declared_factors
from daemon.stages.pose import known_formulas
from storage.membership import read_membership


def check_inputs(market: Market) -> None:
    """Read what else the settings of a market name.

    Raises
    ------
    ConfigError, ExpressionError
        The seed book, the zoo; a fallback that could not be asked.
    MembershipError
        The constituents.
    """
    declared_factors(market)
    known_formulas(market)
    _ = market.config_sha256  # of the files as they are now
    feed = market.settings.feed
    if feed.fallback != "none":
        key = feed.api_key.get_secret_value() if feed.api_key is not None else None
        check_fallback(feed.fallback, market.name, key)
    if market.settings.membership is not None:
        read_membership(market.settings.membership)
    if market.lists is not None:
        market.lists.overrides()
