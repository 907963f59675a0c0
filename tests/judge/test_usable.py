from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.usable import chances

SOME = st.sets(st.integers(0, 30), max_size=8)


@given(SOME, SOME)
def test_they_are_chances_and_what_is_known_is_certain(usable: set[int], failed: set[int]) -> None:
    found = chances(0, 30, usable - failed, failed)
    assert found.shape == (31,)
    assert np.all((found >= 0) & (found <= 1))
    assert all(found[one] == 1 for one in usable - failed)
    assert all(found[one] == 0 for one in failed - {0, 30})
    assert found[0] == found[30] == 1


def test_without_a_failure_all_are_alike() -> None:
    found = chances(0, 10, [5], [])
    assert len(set(found[1:5])) == 1
    assert found[1] > 0.9


def test_near_a_failure_the_chance_is_small_and_grows_with_the_distance() -> None:
    found = chances(0, 40, [], [20])
    assert list(found[21:40]) == sorted(found[21:40])
    assert found[21] == pytest.approx(found[19])
    assert found[21] == pytest.approx(found[22] * 3 / 4)


def test_a_long_stretch_goes_on_for_longer() -> None:
    short, long = chances(0, 60, [], [20]), chances(0, 60, [], [10, 20])
    assert np.all(long[21:60] < short[21:60])
    assert long[15] < 0.8


def test_what_lies_behind_a_measured_position_is_not_of_the_stretch() -> None:
    found = chances(0, 40, [25], [20])
    assert found[26] == pytest.approx(found[39])


def test_the_other_way_round_it_is_the_same() -> None:
    assert chances(0, 20, [4], [9, 11])[::-1] == pytest.approx(chances(0, 20, [16], [11, 9]))


@pytest.mark.parametrize("length", [1, 4, 16, 60])
def test_few_tries_leave_a_stretch(length: int) -> None:
    """Always to the position with the best chance times its distance from the far end."""
    first, failed = 100, [100]
    for _ in range(12):
        found = chances(0, 200, [], failed) * np.minimum(np.arange(201), 200 - np.arange(201))
        best = int(np.argmax(found))
        if not first <= best < first + length:
            break
        failed.append(best)
    assert len(failed) <= 4
