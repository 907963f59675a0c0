from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.student import t_quantile

PROBABILITIES = st.floats(0.0005, 0.9995)
DEGREES = st.floats(0.5, 500)


@pytest.mark.parametrize(
    ("probability", "degrees", "published"),
    [
        (0.75, 1, 1.0),
        (0.95, 1, 6.3137515147),
        (0.975, 1, 12.7062047364),
        (0.995, 1, 63.6567411629),
        (0.95, 2, 2.9199855804),
        (0.975, 2, 4.3026527297),
        (0.975, 3, 3.1824463053),
        (0.975, 4, 2.7764451052),
        (0.975, 5, 2.5705818356),
        (0.975, 6, 2.4469118511),
        (0.975, 8, 2.3060041352),
        (0.90, 10, 1.3721836411),
        (0.975, 10, 2.2281388520),
        (0.995, 30, 2.7499956536),
        (0.975, 100, 1.9839715185),
    ],
)
def test_quantiles_agree_with_the_published_tables(
    probability: float, degrees: float, published: float
) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(published, abs=1e-6)


@pytest.mark.parametrize("degrees", [1e7, 1e8])
def test_with_very_many_degrees_it_is_the_normal_distribution(degrees: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(1.9599639845, abs=1e-6)


@given(probability=PROBABILITIES)
def test_one_degree_is_cauchys_distribution_in_closed_form(probability: float) -> None:
    exact = math.tan(math.pi * (probability - 0.5))
    assert t_quantile(probability, 1) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@given(probability=PROBABILITIES)
def test_two_degrees_have_a_closed_form_too(probability: float) -> None:
    exact = (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    assert t_quantile(probability, 2) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@given(probability=PROBABILITIES, degrees=DEGREES)
def test_it_is_symmetric_about_zero(probability: float, degrees: float) -> None:
    mirrored = -t_quantile(1 - probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(mirrored, rel=1e-8, abs=1e-8)


@given(probability=PROBABILITIES, step=st.floats(1e-4, 0.4), degrees=DEGREES)
def test_it_grows_with_the_probability(probability: float, step: float, degrees: float) -> None:
    larger = min(probability + step, 0.9999)
    assert t_quantile(probability, degrees) < t_quantile(larger, degrees)


@given(probability=st.floats(0.6, 0.9995), degrees=DEGREES, more=st.floats(1.1, 100))
def test_more_degrees_bring_the_tail_in_but_never_inside_the_normal_one(
    probability: float, degrees: float, more: float
) -> None:
    few, many = t_quantile(probability, degrees), t_quantile(probability, degrees * more)
    assert few > many > NormalDist().inv_cdf(probability)


def test_the_median_is_zero() -> None:
    assert t_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.1, math.nan])
def test_a_probability_outside_0_to_1_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        t_quantile(probability, 3)
