"""Comparisons of two sides, and how they are judged."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hypothesis import strategies as st

from pytest_llmperf.judge.change import (
    Change,
    Comparison,
    Direction,
    judge_changes,
)
from pytest_llmperf.judge.prior import Prior

PRIOR = Prior(0.05)
SIDES = st.lists(st.floats(0.5, 2), min_size=1, max_size=8)
BETTER: st.SearchStrategy[Direction] = st.sampled_from(["lower", "higher"])
TOLERANCES = st.floats(0.001, 0.9)


def comparison(
    base: Sequence[float],
    candidate: Sequence[float],
    better: Direction = "lower",
    tolerance: float = 0.05,
    prior: Prior = PRIOR,
    sampling: float = 0.0,
    least: int = 3,
    most: int = 8,
    is_paired: bool = True,
    group: str = "g",
) -> Comparison:
    return Comparison(
        group,
        base,
        candidate,
        better,
        tolerance,
        prior,
        sampling,
        least=least,
        most=most,
        is_paired=is_paired,
    )


COMPARISONS = st.lists(
    st.builds(comparison, SIDES, SIDES, BETTER, TOLERANCES, group=st.sampled_from("ab")),
    min_size=1,
    max_size=5,
)


def judged(
    base: Sequence[float],
    candidate: Sequence[float],
    better: Direction = "lower",
    tolerance: float = 0.05,
    prior: Prior = PRIOR,
    sampling: float = 0.0,
    least: int = 3,
    most: int = 8,
) -> Change:
    """The only comparison of its session."""
    return judge_changes([comparison(base, candidate, better, tolerance, prior, sampling, least, most)])[0]


def steady(mean: float, launches: int) -> list[float]:
    """An even number of launches that vary by just what the prior says."""
    away = 0.05 * math.sqrt(0.956495 * (launches - 1) / launches)
    return [mean * math.exp(away), mean * math.exp(-away)] * (launches // 2)


def steadily(factor: float, launches: int, better: Direction = "lower", tolerance: float = 0.05) -> Change:
    """Exactly that many launches a side, with nothing more to come."""
    sides = steady(100, launches), steady(100 * factor, launches)
    return judged(*sides, better, tolerance, least=launches, most=launches)
