from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import METRICS, STATISTICS, MetricKey
from pytest_llmperf.declare.tolerance import DEFAULT, Tolerances, parse_tolerances
from pytest_llmperf.errors import DeclarationError

TTFT, TPOT, THROUGHPUT = MetricKey("ttft", "p95"), MetricKey("tpot", "p50"), MetricKey("output_tokens")
KEYS = st.sampled_from(
    [
        MetricKey(metric.name, statistic)
        for metric in METRICS.values()
        for statistic in (STATISTICS if metric.is_distribution else (None,))
    ]
)
SHARES = st.integers(1, 999).map(lambda thousandth: thousandth / 1000)
SAID = st.builds(
    lambda others, metrics: Tolerances(others, tuple(sorted(metrics.items()))),
    st.none() | SHARES,
    st.dictionaries(KEYS, SHARES, max_size=4),
)


@pytest.mark.parametrize(
    ("text", "ttft", "tpot", "throughput"),
    [
        ("5%", 0.05, 0.05, 0.05),
        ("7", 0.07, 0.07, 0.07),
        ("3% ttft_p95_ms=10%", 0.1, 0.03, 0.03),
        ("ttft_ms=10, 4 %", 0.1, 0.04, 0.04),
        ("ttft_ms=10 %,output_tokens_per_s=2", 0.1, DEFAULT, 0.02),
        ("tpot_p50_ms=0.5%", DEFAULT, 0.005, DEFAULT),
    ],
)
def test_a_metric_has_its_own_tolerance_or_that_of_all_others(
    text: str, ttft: float, tpot: float, throughput: float
) -> None:
    said = parse_tolerances(text)
    assert [said.of(key) for key in (TTFT, TPOT, THROUGHPUT)] == pytest.approx([ttft, tpot, throughput])


def test_a_latency_without_a_statistic_gets_the_one_asked_for() -> None:
    assert parse_tolerances("ttft_ms=10%", "p99").metrics == ((MetricKey("ttft", "p99"), 0.1),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "names no tolerance, as in 5% or ttft_p95_ms=10%"),
        ("5% 6%", "'6%': a second tolerance for all metrics that are not named"),
        ("ttft_ms=1% ttft_p95_ms=2%", "'ttft_p95_ms=2%': a second tolerance for TTFT p95"),
        ("ttft_ms=", "ttft_ms='' is not a number"),
        ("ttft_ms=0.05", "ttft_ms='0.05': write 0.05% or 5%, whichever is meant"),
        ("tpot_ms=100%", "tpot_ms='100%': below 100%"),
    ],
)
def test_what_is_no_tolerance_is_refused(text: str, why: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        parse_tolerances(text)
    assert str(caught.value) == why


def test_an_unknown_metric_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(
        DeclarationError, match=r"unknown metric 'ttft' \(did you mean 'ttft_ms'\?\); valid: "
    ):
        parse_tolerances("ttft=5%")


@given(further=SAID, closer=SAID, key=KEYS)
def test_the_closer_place_decides_about_what_it_speaks_of(
    further: Tolerances, closer: Tolerances, key: MetricKey
) -> None:
    speaks = closer.others is not None or key in dict(closer.metrics)
    assert further.updated(closer).of(key) == (closer if speaks else further).of(key)


@given(said=SAID)
def test_tolerances_are_read_as_they_are_shown(said: Tolerances) -> None:
    shown = parse_tolerances(str(said))
    assert all(shown.of(key) == pytest.approx(said.of(key)) for key in (TTFT, *dict(said.metrics)))
