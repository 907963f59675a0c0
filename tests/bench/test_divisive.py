from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.divisive import best_splits, change_points, p_value, t_ratio

FROM_OTAVA = json.loads(Path(__file__).with_name("otava_0_8.json").read_text())["series"]

SERIES = st.lists(st.integers(0, 1000), min_size=2, max_size=9, unique=True).map(
    lambda some: np.array(some, dtype=float)
)


@pytest.mark.parametrize("known", FROM_OTAVA, ids=lambda known: str(known["change_points"]))
def test_the_change_points_are_otavas(known: dict[str, Any]) -> None:
    assert change_points(np.array(known["points"])) == known["change_points"]


def divergence(left: np.ndarray, right: np.ndarray) -> float:
    """Q of Matteson and James with α = 1, as they write it."""
    m, n = len(left), len(right)
    between = sum(abs(x - y) for x, y in itertools.product(left, right))
    within_left = sum(abs(x - y) for x, y in itertools.combinations(left, 2))
    within_right = sum(abs(x - y) for x, y in itertools.combinations(right, 2))
    return float(
        2 / (m + n) * between
        - (2 * n / (m + n) / (m - 1) * within_left if m > 1 else 0)
        - (2 * m / (m + n) / (n - 1) * within_right if n > 1 else 0)
    )


@given(SERIES)
def test_the_best_split_is_the_one_that_trying_all_finds(series: np.ndarray) -> None:
    values = {
        (split, end): divergence(series[:split], series[split:end])
        for split in range(1, len(series))
        for end in range(split + 1, len(series) + 1)
    }
    (split,), (q,) = best_splits(series[None])
    assert q == pytest.approx(max(values.values()))
    assert any(values[split, end] == pytest.approx(q) for end in range(split + 1, len(series) + 1))


@given(st.lists(SERIES.filter(lambda series: len(series) >= 5).map(lambda series: series[:5]), min_size=1))
def test_many_series_at_once_are_split_like_one_by_one(many: list[np.ndarray]) -> None:
    splits, values = best_splits(np.array(many))
    for series, split, value in zip(many, splits, values, strict=True):
        (alone,), (best,) = best_splits(series[None])
        assert (alone, best) == (split, pytest.approx(value))


def test_the_t_test_has_n_in_the_denominator_of_its_deviations() -> None:
    # By scipy.stats.ttest_ind_from_stats(2, np.std([1, 2, 3]), 3, 5.5, np.std([4, 5, 6, 7]), 4)
    left, right = np.array([1.0, 2, 3]), np.array([4.0, 5, 6, 7])
    assert t_ratio(left, right) == pytest.approx(4.544858381172952, rel=1e-9)
    assert p_value(left, right) == pytest.approx(0.0061413224614648805, rel=1e-6)


def test_two_points_tell_nothing() -> None:
    assert change_points(np.array([1.0, 100.0])) == []


def test_equal_points_have_no_change() -> None:
    assert change_points(np.ones(10)) == []


def test_a_window_is_the_most() -> None:
    with pytest.raises(ValueError, match="more than a window"):
        change_points(np.ones(51))
