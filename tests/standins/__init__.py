"""Stand-ins for the providers of market data, for unmodified clients on the loopback."""

from tests.standins.book import MarketBook
from tests.standins.standin import StandIn

__all__ = ["MarketBook", "StandIn"]
