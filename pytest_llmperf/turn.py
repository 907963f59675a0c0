"""One run of a test in one launch."""

from __future__ import annotations

from typing import Literal, NamedTuple

import pytest

Side = Literal["base", "candidate"]


class Turn(NamedTuple):
    """``number`` is that of its round: 0, 1, …"""

    number: int
    side: Side
    item: pytest.Item


def sides(number: int, *, has_base: bool) -> tuple[Side, ...]:
    """The sides in the order of a round, which is turned around each time: ABBA."""
    if not has_base:
        return ("candidate",)
    return ("base", "candidate") if number % 2 == 0 else ("candidate", "base")
