from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.culprit import Sight
from pytest_llmperf.judge.misfit import Misfit, misfit
from pytest_llmperf.judge.prior import Prior

PRIOR = Prior(0.01, 16.0)


def flat(levels: dict[int, float], pairs: int = 5, seed: int = 0, spread: float = 0.01) -> list[Sight]:
    rng = np.random.default_rng(seed)
    return [
        Sight(0, position, level + spread * 2**0.5 * float(rng.standard_normal()))
        for position, level in levels.items()
        for _ in range(pairs)
    ]


def test_a_second_culprit_is_seen_in_between() -> None:
    sights = flat({10: 0.0, 20: 0.05, 30: 0.05, 40: 0.1, 64: 0.1})
    assert misfit(0, 64, sights, PRIOR) == Misfit((20, 30), "in between", 30)


def test_what_was_mended_is_good_again() -> None:
    sights = flat({10: 0.0, 20: 0.1, 30: 0.0, 40: 0.0, 50: 0.1, 64: 0.1})
    found = misfit(0, 64, sights, PRIOR)
    assert found == Misfit((30, 40), "good again", 20)


def test_a_creep_is_seen() -> None:
    sights = flat({position: 0.1 * position / 64 for position in (8, 16, 24, 32, 40, 48, 56, 64)})
    found = misfit(0, 64, sights, PRIOR)
    assert found is not None
    assert found.words == "in between"
    assert 8 <= found.narrowed < 64


@pytest.mark.parametrize("culprit", [1, 12, 33, 64])
def test_one_step_fits(culprit: int) -> None:
    levels = {position: 0.1 * (position >= culprit) for position in (11, 12, 20, 32, 33, 48, 64)}
    assert misfit(0, 64, flat(levels), PRIOR) is None


def test_one_bad_launch_is_no_second_culprit() -> None:
    sights = [*flat({10: 0.0, 32: 0.0, 48: 0.1, 64: 0.1}), Sight(0, 20, 0.6)]
    assert misfit(0, 64, sights, PRIOR) is None


def test_positions_that_differ_a_little_are_no_culprits() -> None:
    """Up to 1 % either way, each measured 40 times."""
    off = [0.01, -0.01, 0.008, -0.01, 0.01]
    levels = {10: off[0], 20: off[1], 30: 0.1 + off[2], 40: 0.1 + off[3], 64: 0.1 + off[4]}
    assert misfit(0, 64, flat(levels, 40), PRIOR) is None


@given(st.lists(st.builds(Sight, st.integers(0, 3), st.integers(1, 20), st.floats(-1, 1)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_was_seen_it_narrows_if_anything(sights: list[Sight]) -> None:
    found = misfit(0, 20, sights, PRIOR)
    assert found is None or (0 < found.narrowed < 20 and all(0 < one < 20 for one in found.positions))


def test_without_the_bad_end_nothing_is_told() -> None:
    assert misfit(0, 64, flat({10: 0.0, 20: 0.05}), PRIOR) is None


def test_one_change_for_good_is_seldom_called_odd() -> None:
    """Counted over 300 fixed seeds, with launches that vary by 3 %."""
    places = (16, 24, 28, 30, 31, 32, 48, 64)
    found = sum(
        misfit(0, 64, flat({one: 0.095 * (one >= 30) for one in places}, 3, seed, 0.03), Prior(0.03))
        is not None
        for seed in range(300)
    )
    assert found <= 3
