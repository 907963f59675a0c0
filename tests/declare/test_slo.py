from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.slo import Limit, Slo, parse_slo
from pytest_llmperf.errors import DeclarationError


def as_dict(slo: Slo) -> dict[str, float]:
    return {limit.key.name: limit.value for limit in slo.limits}


def test_bounds_become_limits_in_the_order_given() -> None:
    slo = Slo.of({"tpot_ms": 40, "ttft_p99_ms": 300.5, "goodput": 1})
    assert slo.limits == (
        Limit(MetricKey("tpot", "p95"), 40.0),
        Limit(MetricKey("ttft", "p99"), 300.5),
        Limit(MetricKey("goodput"), 1.0),
    )


def test_a_latency_without_a_statistic_gets_the_one_asked_for() -> None:
    assert as_dict(Slo.of({"ttft_ms": 300}, "p99")) == {"ttft_p99_ms": 300}


def test_the_closer_limit_replaces_only_the_same_metric_and_statistic() -> None:
    far = Slo.of({"ttft_ms": 300, "ttft_p99_ms": 900, "tpot_ms": 40})
    merged = far.updated(Slo.of({"ttft_p95_ms": 200, "e2e_ms": 5000}))
    assert as_dict(merged) == {"ttft_p95_ms": 200, "ttft_p99_ms": 900, "tpot_p95_ms": 40, "e2e_p95_ms": 5000}


@pytest.mark.parametrize(
    "name", ["ttft_ms", "output_tokens_per_s", "error_rate", "goodput", "startup_s", "cold_startup_s"]
)
@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, True, False, "300", None, [300], 10**400, 3j], ids=repr
)
def test_a_limit_that_is_no_finite_number_is_refused_by_name_and_value(name: str, value: object) -> None:
    with pytest.raises(DeclarationError) as caught:
        Slo.of({name: value})
    assert str(caught.value) == f"{name}={value!r}: a limit is a finite number"


@pytest.mark.parametrize("name", ["error_rate", "goodput"])
@pytest.mark.parametrize("value", [-0.01, 1.01, 99])
def test_a_share_lies_between_0_and_1(name: str, value: float) -> None:
    with pytest.raises(DeclarationError) as caught:
        Slo.of({name: value})
    assert str(caught.value) == f"{name}={value!r}: a share lies between 0 and 1"


@given(share=st.floats(0, 1))
def test_every_share_is_a_valid_error_rate(share: float) -> None:
    assert as_dict(Slo.of({"error_rate": share})) == {"error_rate": share}


@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_a_quantity_needs_a_limit_above_zero(value: float) -> None:
    with pytest.raises(DeclarationError) as caught:
        Slo.of({"ttft_ms": value})
    assert str(caught.value) == f"ttft_ms={value!r}: a limit is greater than 0"


def test_two_limits_on_one_statistic_are_refused_and_not_silently_merged() -> None:
    with pytest.raises(DeclarationError, match="ttft_p95_ms=200: a second limit on TTFT p95"):
        Slo.of({"ttft_ms": 300, "ttft_p95_ms": 200})


def test_an_error_rate_that_nobody_spoke_of_has_to_be_zero() -> None:
    assert as_dict(Slo().with_no_errors()) == {"error_rate": 0.0}
    assert as_dict(Slo.of({"ttft_ms": 300}).with_no_errors()) == {"ttft_p95_ms": 300, "error_rate": 0.0}


def test_an_error_rate_that_was_allowed_stays_allowed() -> None:
    slo = Slo.of({"error_rate": 0.01})
    assert slo.with_no_errors() is slo


@pytest.mark.parametrize(
    ("name", "below", "at", "above"),
    [("ttft_ms", True, True, False), ("requests_per_s", False, True, True)],
)
def test_a_limit_is_met_on_its_better_side_and_at_the_limit(
    name: str, below: bool, at: bool, above: bool
) -> None:
    limit = Limit(parse_metric(name), 4.0)
    assert (limit.met_by(3.9), limit.met_by(4.0), limit.met_by(4.1)) == (below, at, above)


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"ttft_ms": 300}, "TTFT p95 ≤ 300 ms"),
        ({"output_tokens_per_s": 1500}, "output tokens ≥ 1500/s"),
        ({"goodput": 0.995}, "goodput ≥ 99.5%"),
        ({"error_rate": 0}, "error rate ≤ 0%"),
    ],
)
def test_a_limit_reads_as_a_person_would_say_it(bounds: dict[str, object], text: str) -> None:
    assert [str(limit) for limit in Slo.of(bounds).limits] == [text]


@pytest.mark.parametrize(
    "text", ["ttft_ms=300 tpot_ms=40", "ttft_ms=300,tpot_ms=40", " ttft_ms=3e2 , tpot_ms=40 "]
)
def test_text_is_read_with_spaces_or_commas(text: str) -> None:
    assert as_dict(parse_slo(text)) == {"ttft_p95_ms": 300, "tpot_p95_ms": 40}


def test_text_takes_the_default_percentile_too() -> None:
    assert as_dict(parse_slo("ttft_ms=300", "p50")) == {"ttft_p50_ms": 300}


def test_no_text_is_no_limit() -> None:
    assert parse_slo(" ") == Slo()


@pytest.mark.parametrize("word", ["ttft_ms", "ttft_ms=", "ttft_ms=fast", "goodput=99%", "=300ms"])
def test_a_word_without_a_number_is_quoted(word: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_slo(f"tpot_ms=40 {word}")
    assert str(caught.value) == f"{word!r}: expected NAME=NUMBER, as in ttft_ms=300"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ttft_ms=nan", "ttft_ms=nan: a limit is a finite number"),
        ("ttft_ms=300 ttft_ms=400", "'ttft_ms=400': a second limit on ttft_ms"),
        ("ttft=300", r"unknown metric 'ttft' \(did you mean 'ttft_ms'\?\)"),
    ],
)
def test_text_is_held_to_the_same_rules(text: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        parse_slo(text)
