from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Limit
from pytest_llmperf.judge.objective import judge_limit


def limit(name: str, value: float) -> Limit:
    return Limit(parse_metric(name), value)


@pytest.mark.parametrize(
    ("name", "bound", "values", "value", "margin", "missed"),
    [
        ("ttft_ms", 300, [240], 240, 0.2, 0),
        ("ttft_ms", 300, [300], 300, 0.0, 0),
        ("ttft_ms", 300, [360], 360, -0.2, 1),
        ("ttft_ms", 300, [100, 400], 200, 1 / 3, 1),
        ("ttft_ms", 300, [200, 800], 400, -1 / 3, 1),
        ("output_tokens_per_s", 100, [120], 120, 0.2, 0),
        ("output_tokens_per_s", 100, [100], 100, 0.0, 0),
        ("output_tokens_per_s", 100, [50, 128], 80, -0.2, 1),
        ("goodput", 0.9, [1.0, 0.8], 0.9, 0.0, 1),
        ("goodput", 0.8, [0.5, 0.5], 0.5, -0.375, 2),
        ("error_rate", 0.02, [0.0, 0.04], 0.02, 0.0, 1),
    ],
)
def test_a_limit_is_judged_on_the_mean_of_its_launches(
    name: str, bound: float, values: list[float], value: float, margin: float, missed: int
) -> None:
    objective = judge_limit(limit(name, bound), values)
    assert objective.value == pytest.approx(value, rel=1e-12)
    assert objective.margin == pytest.approx(margin, abs=1e-12)
    assert (objective.launches, objective.missed) == (len(values), missed)


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("ttft_ms", 299.0, 301.0), ("output_tokens_per_s", 301.0, 299.0)]
)
def test_a_broken_limit_is_one_with_a_negative_margin(name: str, good: float, bad: float) -> None:
    met, broken = judge_limit(limit(name, 300), [good]), judge_limit(limit(name, 300), [bad])
    assert met.is_met
    assert met.margin is not None
    assert met.margin > 0
    assert not broken.is_met
    assert broken.margin is not None
    assert broken.margin < 0


@pytest.mark.parametrize(("values", "met"), [([0.0, 0.0], True), ([0.0, 0.001], False)])
def test_a_limit_of_zero_has_no_margin_but_a_verdict(values: list[float], met: bool) -> None:
    objective = judge_limit(limit("error_rate", 0), values)
    assert (objective.is_met, objective.margin) == (met, None)


def test_quantities_with_a_zero_among_them_have_an_arithmetic_mean() -> None:
    assert judge_limit(limit("tpot_ms", 10), [0.0, 8.0]).value == 4.0


def test_without_a_launch_there_is_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="no launch has a value"):
        judge_limit(limit("ttft_ms", 300), [])


@given(
    values=st.lists(st.floats(0.01, 1e5), min_size=1, max_size=8),
    bound=st.floats(0.01, 1e5),
    name=st.sampled_from(["ttft_ms", "requests_per_s"]),
)
def test_what_every_launch_meets_is_met_and_what_every_launch_misses_is_not(
    values: list[float], bound: float, name: str
) -> None:
    objective = judge_limit(limit(name, bound), values)
    if min(abs(math.log(value / bound)) for value in values) > 1e-9:
        assert objective.missed != 0 or objective.is_met
        assert objective.missed != len(values) or not objective.is_met
