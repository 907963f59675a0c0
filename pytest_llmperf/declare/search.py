"""Sweeps that find their own rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.errors import DeclarationError

KINDS = ("adaptive", "linear")
LEAST_POINTS, MOST_POINTS = 2, 50
GRID_POINTS = 10
"""As many as the linear grids of other tools have."""


@dataclass(frozen=True)
class Search:
    """``adaptive``: points go to where the curve bends and where it crosses a limit. ``linear``: equally far
    apart. Both between what a single request at a time makes and what the engine can do; ``points`` is how
    many there are, at most (None: as many as the budget has time for).
    """

    kind: Literal["adaptive", "linear"] = "adaptive"
    points: int | None = None

    def __str__(self) -> str:
        return self.kind if self.points is None else f"{self.kind}:{self.points}"


def read_search(text: str) -> Search:
    """``adaptive``, ``adaptive:6``, ``linear`` or ``linear:10``. Raises :class:`DeclarationError`."""
    kind, colon, points = text.strip().partition(":")
    for known in KINDS:
        if kind == known:
            return Search(known, _points(text, points) if colon else _usual(known))  # type: ignore[arg-type]
    raise DeclarationError(
        f"rates={text!r}: a list of numbers, as in rates=[1, 2, 4], or one of adaptive, "
        "adaptive:POINTS, linear:POINTS"
    )


def _usual(kind: str) -> int | None:
    return GRID_POINTS if kind == "linear" else None


def _points(text: str, points: str) -> int:
    if not points.isdecimal() or not LEAST_POINTS <= int(points) <= MOST_POINTS:
        raise DeclarationError(
            f"rates={text!r}: from {LEAST_POINTS} to {MOST_POINTS} points, as in adaptive:8"
        )
    return int(points)
