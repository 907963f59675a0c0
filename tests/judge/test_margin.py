from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.margin import margin

SLO = Slo.of({"ttft_ms": 300, "tpot_ms": 40})


def test_the_limit_that_is_missed_most_or_met_least_is_the_one_that_counts() -> None:
    known = {"ttft_p95_ms": 0.1, "tpot_p95_ms": 0.02}
    over, error = margin(SLO, {"ttft_p95_ms": 600.0, "tpot_p95_ms": 20.0}, known, 100)
    assert over == pytest.approx(math.log(2))
    assert error == 0.1
    over, error = margin(SLO, {"ttft_p95_ms": 30.0, "tpot_p95_ms": 20.0}, known, 100)
    assert over == pytest.approx(-math.log(2))
    assert error == 0.02


def test_what_was_not_answered_misses_every_limit() -> None:
    assert margin(SLO, {"tpot_p95_ms": 20.0}, {}, 100) == (math.inf, 0.0)


def test_an_error_that_may_not_be_is_a_miss_and_none_does_not_hide_the_latency() -> None:
    slo = SLO.with_no_errors()
    good = {"ttft_p95_ms": 30.0, "tpot_p95_ms": 20.0}
    assert margin(slo, {**good, "error_rate": 0.01}, {}, 100)[0] == math.inf
    assert margin(slo, {**good, "error_rate": 0.0}, {}, 100)[0] == pytest.approx(-math.log(2))


def test_a_share_counts_by_what_is_missing_to_all() -> None:
    slo = Slo.of({"goodput": 0.99})
    over, error = margin(slo, {"goodput": 0.98}, {}, 100_000)
    assert over == pytest.approx(math.log(2), abs=0.001)
    assert error == pytest.approx(1 / math.sqrt(2000))
    assert margin(slo, {"goodput": 1.0}, {}, 100)[0] < 0
    assert math.isfinite(margin(slo, {"goodput": 1.0}, {}, 100)[0])


def test_there_is_no_margin_to_no_limit() -> None:
    with pytest.raises(ValueError, match="no limit"):
        margin(Slo(), {"ttft_p95_ms": 30.0}, {}, 100)


LIMITS = st.sampled_from([{"ttft_ms": 300}, {"goodput": 0.9}, {"error_rate": 0.01}, {"e2e_p50_ms": 1000}])


@given(LIMITS, st.floats(0, 1), st.floats(0, 1), st.integers(1, 10_000))
def test_the_margin_grows_with_what_is_limited(
    limits: dict[str, float], one: float, other: float, requests: int
) -> None:
    slo = Slo.of(limits)
    (limit,) = slo.limits
    scale = 1.0 if limit.key.metric.share else 2 * limit.value
    name = limit.key.name
    less, more = sorted((one, other), reverse=not limit.is_upper)
    margins = [margin(slo, {name: scale * value}, {}, requests)[0] for value in (less, more)]
    assert margins[0] <= margins[1]
    assert not any(math.isnan(value) for value in margins)


@given(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6))
def test_a_quantity_is_over_its_limit_exactly_where_the_margin_is_positive(
    value: float, limit: float
) -> None:
    slo = Slo.of({"ttft_ms": limit})
    assert (margin(slo, {"ttft_p95_ms": value}, {}, 10)[0] > 0) == (value / limit > 1)
