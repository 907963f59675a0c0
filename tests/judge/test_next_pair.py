from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.culprit import Culprit, Sight
from pytest_llmperf.judge.next_pair import credible, information, next_pair, suspects
from pytest_llmperf.judge.prior import Prior

EFFECT = math.log(1.1)
SIGHTS = st.lists(st.builds(Sight, st.just(0), st.integers(1, 40), st.floats(-0.2, 0.3)), max_size=10)


def known(last: int, spread: float, *sights: Sight) -> Culprit:
    return Culprit(0, last, [*[Sight(0, last, EFFECT)] * 6, *sights], Prior(spread, 16.0))


@given(SIGHTS)
@settings(max_examples=25, deadline=None)
def test_a_pair_teaches_at_most_one_bit_and_nothing_where_it_is_sure(sights: list[Sight]) -> None:
    bits = information(Culprit(0, 40, sights, Prior(0.03)), np.linspace(0, 1, 21))
    assert np.all(bits >= 0)
    assert np.all(bits <= 1.001)
    assert bits[0] == bits[-1] == 0


def test_without_noise_the_middle_teaches_a_bit() -> None:
    found = next_pair(known(64, 0.002), np.ones(65))
    assert found is not None
    assert (found.left, found.right) == (0, 32)
    assert found.gain == pytest.approx(1.0, abs=0.01)


def test_noise_leaves_less() -> None:
    gains = [float(information(known(64, spread), np.array([0.5]))[0]) for spread in (0.005, 0.02, 0.05, 0.2)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 0.1


@given(SIGHTS)
@settings(max_examples=25, deadline=None)
def test_the_suspects_share_the_probability(sights: list[Sight]) -> None:
    culprit = Culprit(0, 40, sights, Prior(0.03))
    all_of_them = credible(culprit, np.ones(41), 0.9999999)
    assert sum(one.probability for one in all_of_them) == pytest.approx(1.0, abs=1e-5)
    assert suspects(culprit, np.ones(41)) == all_of_them[0]
    few = credible(culprit, np.ones(41), 0.5)
    assert sum(one.probability for one in few) >= 0.5
    assert sum(one.probability for one in few[:-1]) < 0.5


def test_a_likely_suspect_is_held_against_what_is_ahead_of_it() -> None:
    sights = [Sight(0, 9, EFFECT), Sight(0, 8, 0.04), Sight(0, 8, 0.05), Sight(0, 7, 0.0), Sight(0, 7, 0.0)]
    found = next_pair(known(20, 0.02, *sights), np.ones(21))
    assert found is not None
    assert (found.left, found.right) in {(8, 9), (7, 8), (0, 8)}


def test_what_cannot_be_measured_is_not_asked_for_and_its_suspects_stay_together() -> None:
    chances = np.ones(21)
    chances[8:14] = 0.0
    culprit = known(20, 0.01, Sight(0, 7, 0.0), Sight(0, 14, EFFECT), Sight(0, 7, 0.0), Sight(0, 14, EFFECT))
    first = suspects(culprit, chances)
    assert (first.before, first.last) == (7, 14)
    assert list(first.positions) == list(range(8, 15))
    found = next_pair(culprit, chances)
    assert found is not None
    assert not 8 <= found.right < 14


def test_a_position_that_may_not_be_measurable_gives_way_to_one_that_is() -> None:
    chances = np.full(65, 0.95)
    chances[30:35] = 0.2
    found = next_pair(known(64, 0.01), chances)
    assert found is not None
    assert found.right in (29, 35)


def test_where_nothing_is_left_to_measure_there_is_no_next_pair() -> None:
    chances = np.array([1.0, 0.0, 0.0, 1.0])
    assert next_pair(known(3, 0.01), chances) is None
