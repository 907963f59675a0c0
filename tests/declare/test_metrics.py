from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import METRICS, STATISTICS, MetricKey, metric_names, parse_metric
from pytest_llmperf.errors import DeclarationError

KEYS = [
    MetricKey(metric.name, statistic)
    for metric in METRICS.values()
    for statistic in (STATISTICS if metric.is_distribution else (None,))
]


@given(key=st.sampled_from(KEYS), default=st.sampled_from(STATISTICS))
def test_every_canonical_name_parses_back_to_itself_whatever_the_default(
    key: MetricKey, default: str
) -> None:
    assert parse_metric(key.name, default) == key


def test_no_two_metrics_share_a_name_or_a_label() -> None:
    assert len({key.name for key in KEYS}) == len(KEYS)
    assert len({key.label for key in KEYS}) == len(KEYS)


@given(name=st.sampled_from(metric_names()), default=st.sampled_from(STATISTICS))
def test_a_name_without_a_statistic_gets_the_default_one_if_it_needs_one(name: str, default: str) -> None:
    key = parse_metric(name, default)
    assert key.statistic == (default if key.metric.is_distribution else None)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("ttft_ms", MetricKey("ttft", "p95")),
        ("ttft_p99_ms", MetricKey("ttft", "p99")),
        ("e2e_mean_ms", MetricKey("e2e", "mean")),
        ("output_tokens_per_s", MetricKey("output_tokens")),
        ("goodput", MetricKey("goodput")),
        ("startup_s", MetricKey("startup")),
        ("cost_usd_per_mtok", MetricKey("cost")),
        ("cold_startup_s", MetricKey("cold_startup")),
    ],
)
def test_names_are_read_as_documented(name: str, key: MetricKey) -> None:
    assert parse_metric(name) == key


@given(name=st.one_of(st.text(), st.sampled_from(KEYS).map(lambda key: key.name.upper() + "s")))
def test_an_unknown_name_is_answered_with_every_valid_one(name: str) -> None:
    assume(name not in {key.name for key in KEYS} | set(metric_names()))
    with pytest.raises(DeclarationError) as caught:
        parse_metric(name)
    message = str(caught.value)
    assert message.startswith(f"unknown metric {name!r}")
    assert f"valid: {', '.join(metric_names())};" in message
    assert ", ".join(STATISTICS) in message


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("ttft", "ttft_ms"),
        ("tft_ms", "ttft_ms"),
        ("ttft_p98_ms", "ttft_p99_ms"),
        ("ttft_p99", "ttft_p99_ms"),
        ("output_tokens", "output_tokens_per_s"),
        ("error_rates", "error_rate"),
    ],
)
def test_a_slip_of_the_pen_is_corrected(wrong: str, meant: str) -> None:
    with pytest.raises(DeclarationError, match=rf"unknown metric '{wrong}' \(did you mean '{meant}'\?\)"):
        parse_metric(wrong)


def test_a_name_that_resembles_nothing_gets_no_suggestion() -> None:
    with pytest.raises(DeclarationError, match="unknown metric 'quux'; valid"):
        parse_metric("quux")


@pytest.mark.parametrize(
    "name", ["error_rate_p95", "goodput_mean", "output_tokens_p50_per_s", "startup_p99_s"]
)
def test_a_single_number_takes_no_statistic(name: str) -> None:
    with pytest.raises(DeclarationError, match="unknown metric"):
        parse_metric(name)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (MetricKey("ttft", "p95"), 0.1234, "0.123 ms"),
        (MetricKey("ttft", "p95"), 41.26, "41.3 ms"),
        (MetricKey("ttft", "p95"), 999.4, "999 ms"),
        (MetricKey("ttft", "p95"), 999.6, "1000 ms"),
        (MetricKey("e2e", "p99"), 12345.6, "12346 ms"),
        (MetricKey("output_tokens"), 1234.5, "1234/s"),
        (MetricKey("requests"), 4.0, "4/s"),
        (MetricKey("startup"), 31.25, "31.2 s"),
        (MetricKey("cost"), 0.5163, "$0.52/M tokens"),
        (MetricKey("cost"), 12.345, "$12.35/M tokens"),
        (MetricKey("cost"), 0.09996, "$0.10/M tokens"),
        (MetricKey("cost"), 0.004169, "$0.00417/M tokens"),
        (MetricKey("cost"), 0.0, "$0.00/M tokens"),
        (MetricKey("error_rate"), 0.0, "0%"),
        (MetricKey("error_rate"), 0.0125, "1.25%"),
        (MetricKey("goodput"), 0.9995, "99.95%"),
        (MetricKey("goodput"), 1.0, "100%"),
    ],
)
def test_a_value_is_shown_with_its_unit_and_no_needless_digits(
    key: MetricKey, value: float, text: str
) -> None:
    assert key.format(value) == text


@given(key=st.sampled_from(KEYS), value=st.floats(0.001, 1e6))
def test_no_value_is_shown_in_scientific_notation(key: MetricKey, value: float) -> None:
    assume(not key.metric.share)
    assert not re.search(r"\de", key.format(value))


@pytest.mark.parametrize(
    ("key", "label"),
    [
        (MetricKey("ttft", "p95"), "TTFT p95"),
        (MetricKey("output_tokens"), "output tokens"),
        (MetricKey("error_rate"), "error rate"),
        (MetricKey("goodput"), "goodput"),
        (MetricKey("startup"), "start-up"),
        (MetricKey("cold_startup"), "cold start-up"),
    ],
)
def test_labels_are_what_a_person_reads(key: MetricKey, label: str) -> None:
    assert key.label == label
