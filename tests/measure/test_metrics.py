from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import METRICS, PERCENTILES, STATISTICS, MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.measure.metrics import is_supported, observations, summarise, uncertainty
from pytest_llmperf.measure.timeline import Timeline
from tests.measure.traces import START_MS, answered, failed, timeline

# Three requests, due 1 s apart in a schedule of 4 s, and a fourth that failed:
#   ttft  100, 200, 400 ms     e2e  140, 300, 430 ms
#   tpot  40/2 = 20, 100/4 = 25, 30/1 = 30 ms (the second one's four events carried five tokens)
#   itl   10, 30 | 10, 20, 70 | 30 ms
ORDINARY = (
    answered(1000, 1100, 1110, 1140),
    answered(2000, 2200, 2210, 2230, 2300, tokens=5),
    answered(3000, 3400, 3430),
    failed(4000, "HTTP 503: busy"),
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttft_p50_ms", 200),
        ("ttft_p90_ms", 360),
        ("ttft_p95_ms", 380),
        ("ttft_p99_ms", 396),
        ("ttft_mean_ms", 700 / 3),
        ("tpot_p50_ms", 25),
        ("tpot_p90_ms", 29),
        ("tpot_p95_ms", 29.5),
        ("tpot_p99_ms", 29.9),
        ("tpot_mean_ms", 25),
        ("e2e_p50_ms", 300),
        ("e2e_p90_ms", 404),
        ("e2e_p95_ms", 417),
        ("e2e_p99_ms", 427.4),
        ("e2e_mean_ms", 290),
        ("itl_p50_ms", 25),
        ("itl_p90_ms", 50),
        ("itl_p95_ms", 60),
        ("itl_p99_ms", 68),
        ("itl_mean_ms", 170 / 6),
        ("output_tokens_per_s", 10 / 4),
        ("requests_per_s", 3 / 4),
        ("goodput", 3 / 4),
        ("error_rate", 1 / 4),
        ("startup_s", 12.5),
    ],
)
def test_every_metric_is_what_one_gets_by_hand(name: str, value: float) -> None:
    values = summarise(timeline(ORDINARY, scheduled_s=4.0), Slo(), startup_s=12.5)
    assert values[name] == pytest.approx(value)


def test_no_metric_is_declared_and_never_computed_nor_the_other_way_round() -> None:
    values = summarise(timeline(ORDINARY, scheduled_s=4.0), Slo(), startup_s=12.5)
    cold = summarise(timeline(ORDINARY, scheduled_s=4.0), Slo(), startup_s=12.5, is_cold=True)
    declared = {
        MetricKey(metric.name, statistic).name
        for metric in METRICS.values()
        for statistic in (STATISTICS if metric.is_distribution else (None,))
        if metric.name != "capacity"  # found by many runs, and not in one
    }
    # The one takes a price, too: see reckoning.
    assert set(values) | set(cold) | {"cost_usd_per_mtok"} == declared
    assert all(math.isfinite(value) for value in values.values())


def test_a_start_is_a_cold_one_or_not() -> None:
    told = {
        is_cold: summarise(timeline(ORDINARY), Slo(), startup_s=12.5, is_cold=is_cold)
        for is_cold in (False, True)
    }
    assert (told[True].pop("cold_startup_s"), told[False].pop("startup_s")) == (12.5, 12.5)
    assert told[True] == told[False]


def test_a_server_that_was_not_started_from_here_has_no_start_up_time() -> None:
    assert "startup_s" not in summarise(timeline(ORDINARY), Slo(), startup_s=None)


def test_rates_are_over_the_time_until_the_last_token_when_that_is_late() -> None:
    values = summarise(timeline([answered(1000, 1500, START_MS + 5000)], scheduled_s=4.0), Slo(), None)
    assert values["output_tokens_per_s"] == pytest.approx(2 / 5)
    assert values["requests_per_s"] == pytest.approx(1 / 5)


# -- goodput -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "goodput"),
    [
        ({}, 3 / 4),
        ({"ttft_ms": 400}, 3 / 4),
        ({"ttft_ms": 399}, 2 / 4),
        ({"ttft_ms": 200}, 2 / 4),
        ({"tpot_ms": 24}, 1 / 4),
        ({"e2e_ms": 300}, 2 / 4),
        ({"ttft_ms": 250, "tpot_ms": 20}, 1 / 4),
        ({"ttft_ms": 1}, 0),
        ({"output_tokens_per_s": 1e6, "requests_per_s": 1e6, "startup_s": 0.001}, 3 / 4),
        ({"itl_ms": 0.001}, 3 / 4),
    ],
)
def test_a_good_request_succeeds_and_meets_every_limit_on_requests(
    limits: dict[str, object], goodput: float
) -> None:
    values = summarise(timeline(ORDINARY, scheduled_s=4.0), Slo.of(limits), None)
    assert values["goodput"] == pytest.approx(goodput)


def test_limits_have_to_be_met_by_one_request_at_once() -> None:
    quick_start, quick_tokens = answered(1000, 1010, 1910), answered(1000, 1900, 1910)
    slo = Slo.of({"ttft_ms": 100, "tpot_ms": 100})
    assert summarise(timeline([quick_start, quick_tokens]), slo, None)["goodput"] == 0


def test_a_single_token_cannot_miss_a_limit_on_the_time_per_further_token() -> None:
    slo = Slo.of({"tpot_ms": 1})
    assert (
        summarise(timeline([answered(1000, 1100), answered(1000, 1100, 1200)]), slo, None)["goodput"] == 0.5
    )


# -- the edges ---------------------------------------------------------------------------------------


def test_single_token_answers_have_neither_tpot_nor_gaps() -> None:
    values = summarise(timeline([answered(1000, 1100), answered(1000, 1300)]), Slo(), None)
    assert not [name for name in values if name.startswith(("tpot", "itl"))]
    assert values["ttft_p50_ms"] == values["e2e_p50_ms"] == pytest.approx(200)


def test_a_single_token_does_not_dilute_the_tpot_of_the_others() -> None:
    values = summarise(timeline([answered(1000, 1100), answered(1000, 1100, 1130)]), Slo(), None)
    assert values["tpot_mean_ms"] == pytest.approx(30)


def test_when_all_failed_there_is_an_error_rate_and_no_goodput_at_all() -> None:
    values = summarise(timeline([failed(1000, "refused: x")] * 3, scheduled_s=30.0), Slo(), None)
    assert values == {"error_rate": 1.0, "goodput": 0.0}


def test_when_nothing_was_sent_nothing_failed() -> None:
    assert summarise(timeline([], scheduled_s=30.0), Slo(), None) == {"error_rate": 0.0}


@pytest.mark.parametrize(
    ("statistic", "needed"), [("p50", 2), ("p90", 10), ("p95", 20), ("p99", 100), ("mean", 1)]
)
def test_a_percentile_needs_an_observation_beyond_it(statistic: str, needed: int) -> None:
    key = MetricKey("ttft", statistic)
    assert is_supported(key, needed)
    assert statistic == "mean" or not is_supported(key, needed - 1)


def test_what_has_no_statistic_needs_no_observations() -> None:
    assert is_supported(MetricKey("requests"), 0)


# -- how badly it is known ---------------------------------------------------------------------------


def drawn(count: int, seed: int = 1, spread: float = 0.5) -> Timeline:
    """Requests of two tokens whose TTFT is lognormal."""
    ttfts = 100 * np.exp(np.random.default_rng(seed).normal(0, spread, count))
    return timeline([answered(START_MS, START_MS + ttft, START_MS + ttft + 10) for ttft in ttfts.tolist()])


def test_every_statistic_over_requests_has_an_uncertainty_and_nothing_else() -> None:
    assert set(uncertainty(timeline(ORDINARY, scheduled_s=4.0))) == {
        MetricKey(name, statistic).name for name in ("ttft", "tpot", "e2e") for statistic in STATISTICS
    }


def test_the_uncertainty_of_a_mean_is_what_theory_says() -> None:
    # The relative standard error of the mean of n lognormal values: √(exp(σ²) − 1) / √n.
    theory = math.sqrt((math.exp(0.25) - 1) / 400)
    known = statistics.fmean(uncertainty(drawn(400, seed))["ttft_mean_ms"] for seed in range(20))
    assert known == pytest.approx(theory, rel=0.1)


def test_the_uncertainty_of_a_percentile_is_what_theory_says() -> None:
    # √(p (1 − p) / n) over the density there, which for logarithms is the normal one over σ.
    density = math.exp(-(1.6448536**2) / 2) / math.sqrt(2 * math.pi) / 0.5
    theory = math.sqrt(0.95 * 0.05 / 1000) / density
    known = statistics.fmean(uncertainty(drawn(1000, seed))["ttft_p95_ms"] for seed in range(20))
    assert known == pytest.approx(theory, rel=0.15)


@pytest.mark.parametrize("name", ["ttft_mean_ms", "ttft_p50_ms", "ttft_p95_ms", "e2e_p90_ms"])
def test_the_uncertainty_shrinks_with_the_root_of_the_number_of_requests(name: str) -> None:
    few, many = (
        statistics.fmean(uncertainty(drawn(count, seed))[name] for seed in range(20)) for count in (100, 1600)
    )
    assert few / many == pytest.approx(4, rel=0.25)


def test_a_single_request_tells_nothing() -> None:
    known = uncertainty(timeline([answered(1000, 1100, 1110)]))
    assert set(known.values()) == {1.0}
    assert len(known) == 3 * len(STATISTICS)


def test_requests_that_are_all_alike_leave_nothing_unknown() -> None:
    known = uncertainty(timeline([answered(1000, 1100, 1110)] * 30))
    assert list(known.values()) == pytest.approx([0.0] * 15)


def test_the_uncertainty_is_the_same_whenever_it_is_asked_for() -> None:
    run = drawn(50)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    assert uncertainty(run) == uncertainty(run) == uncertainty(drawn(50))
    assert uncertainty(run) != uncertainty(drawn(50, seed=2))
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]


def test_what_has_no_value_has_no_uncertainty() -> None:
    assert uncertainty(timeline([])) == {}
    assert uncertainty(timeline([failed(1000, "reset: x")])) == {}
    singles = uncertainty(timeline([answered(1000, 1100), answered(1000, 1300)]))
    assert {name.partition("_")[0] for name in singles} == {"ttft", "e2e"}


def test_a_value_without_a_logarithm_makes_its_statistics_unknown() -> None:
    known = uncertainty(timeline([answered(1000, 1100, 1100), answered(1000, 1200, 1210)]))
    assert known["tpot_p50_ms"] == 1.0  # all tokens of one answer came at once
    assert 0 < known["ttft_p50_ms"] < 1


# -- properties --------------------------------------------------------------------------------------

REQUESTS = st.builds(
    lambda due, first, gaps: answered(due, *np.cumsum([due + first, *gaps]).tolist()),
    st.floats(START_MS, START_MS + 60_000),
    st.floats(0.001, 5_000),
    st.lists(st.floats(0, 500), max_size=12),
)
RUNS = st.lists(REQUESTS, min_size=1, max_size=12)


@given(traces=RUNS)
def test_percentiles_grow_with_their_rank_and_stay_within_the_observations(traces: list[Trace]) -> None:
    run = timeline(traces)
    values = summarise(run, Slo(), None)
    for name, observed in observations(run).items():
        known = observed[~np.isnan(observed)]
        ranked = [values[f"{name}_{p}_ms"] for p in PERCENTILES] if known.size else []
        assert ranked == sorted(ranked)
        assert all(known.min() <= value <= known.max() for value in ranked)


@given(traces=RUNS)
def test_first_token_and_further_tokens_add_up_to_the_whole(traces: list[Trace]) -> None:
    run = timeline(traces)
    observed = observations(run)
    further = np.where(run.tokens > 1, np.nan_to_num(observed["tpot"]) * (run.tokens - 1), 0)
    assert (observed["ttft"] + further).tolist() == pytest.approx(observed["e2e"].tolist(), abs=1e-6)


@given(traces=RUNS)
def test_gaps_add_up_to_the_time_between_first_and_last_tokens(traces: list[Trace]) -> None:
    run = timeline(traces)
    assert run.gaps_ns.sum() == (run.last_ns - run.first_ns).sum()


@given(traces=RUNS, errors=st.integers(0, 5), ttft_ms=st.floats(1, 5000))
def test_goodput_and_errors_never_exceed_all_requests(
    traces: list[Trace], errors: int, ttft_ms: float
) -> None:
    run = timeline([*traces, *[failed(1000, "reset: x")] * errors])
    values = summarise(run, Slo.of({"ttft_ms": ttft_ms}), None)
    assert 0 <= values["goodput"] <= 1 - values["error_rate"] + 1e-12
    assert values["error_rate"] == pytest.approx(errors / (errors + len(traces)))


@given(traces=RUNS, by_ms=st.floats(0, 1e6))
def test_when_a_run_took_place_does_not_matter(traces: list[Trace], by_ms: float) -> None:
    by = round(by_ms * 1e6)
    moved = [
        Trace(**{**vars(t), "due_ns": t.due_ns + by, "token_ns": tuple(ns + by for ns in t.token_ns)})
        for t in traces
    ]
    here, there = observations(timeline(traces)), observations(timeline(moved))
    for name, observed in here.items():
        np.testing.assert_array_equal(observed, there[name])
