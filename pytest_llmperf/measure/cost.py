"""What tokens cost."""

from __future__ import annotations


def usd_per_million(usd_per_hour: float, tokens_per_s: float) -> float:
    """Dollars per million tokens, at a rate greater than 0."""
    return usd_per_hour / 3600 / tokens_per_s * 1e6
