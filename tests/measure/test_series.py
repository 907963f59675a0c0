from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.load.client import LoadRun
from pytest_llmperf.load.gauge import Moment
from pytest_llmperf.measure.metrics import summarise
from pytest_llmperf.measure.series import (
    METRICS,
    MOST_REQUESTS,
    PERCENTS,
    Shown,
    quantiles,
    series,
    waterfall,
)
from tests.load.healthy import HEALTH
from tests.measure.traces import START_MS, answered, failed, ns, timeline

TIMES = st.lists(st.floats(0.1, 1000), min_size=1, max_size=6)


@given(answers=st.lists(TIMES, min_size=1, max_size=20))
def test_a_quantile_is_the_metric_of_its_percentile(answers: list[list[float]]) -> None:
    traces = [
        answered(START_MS + number, *(START_MS + number + np.cumsum(gaps)))
        for number, gaps in enumerate(answers)
    ]
    run = timeline(traces)
    metrics, found = summarise(run, Slo(), None), quantiles(run)
    assert set(found) == {name for name in METRICS if f"{name}_p50_ms" in metrics}
    for name, values in found.items():
        assert len(values) == len(PERCENTS)
        assert values == sorted(values)
        for percent, value in zip(PERCENTS, values, strict=True):
            if (metric := metrics.get(f"{name}_p{percent}_ms")) is not None:
                assert value == metric


def test_failed_requests_are_in_no_quantile() -> None:
    run = timeline([answered(START_MS, START_MS + 8), failed(START_MS, "reset: by peer", START_MS + 500)])
    assert quantiles(run) == {"ttft": [8.0] * len(PERCENTS)}  # a single token has no gap
    assert quantiles(timeline([failed(START_MS, "reset: by peer")])) == {}


@given(
    ttfts=st.lists(st.integers(1, 10_000), max_size=200),
    failing=st.sets(st.integers(0, 199), max_size=2),
    order=st.randoms(use_true_random=False),
)
def test_the_window_holds_the_first_failure_or_the_slowest_first_token(
    ttfts: list[int], failing: set[int], order: object
) -> None:
    traces = [
        failed(START_MS + 10 * n, "HTTP 500: sk-secret")
        if n in failing
        else answered(START_MS + 10 * n, START_MS + 10 * n + ttft)
        for n, ttft in enumerate(ttfts)
    ]
    shuffled = list(traces)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    shown = waterfall(shuffled, ns(START_MS))
    assert len(shown) == min(len(traces), MOST_REQUESTS)
    if not traces:
        return
    first = round(shown[0].due_s * 100)
    assert [one.due_s for one in shown] == pytest.approx([n / 100 for n in range(first, first + len(shown))])
    inside = range(first, first + len(shown))
    expected = [n for n in range(len(traces)) if n in failing]
    worst = expected[0] if expected else ttfts.index(max(ttfts))
    assert worst in inside
    assert len(traces) <= MOST_REQUESTS or worst - first >= 40 or first == 0
    assert all((one.error == "HTTP 500") == (n in failing) for n, one in zip(inside, shown, strict=True))


def test_what_did_not_happen_is_missing() -> None:
    never = failed(START_MS, "reset: before it was due")
    never = type(never)(**{**vars(never), "sent_ns": 0, "ended_ns": 0})
    assert waterfall([never], ns(START_MS)) == [Shown(0.0, None, None, None, None, "reset")]
    (shown,) = waterfall([answered(START_MS + 8, START_MS + 16, START_MS + 32)], ns(START_MS))
    assert shown == pytest.approx(Shown(0.008, 0.00825, 0.016, 0.033, 2, None))


def test_the_engine_is_seen_from_the_start_of_the_run() -> None:
    traces = (answered(START_MS, START_MS + 8),)
    busy = tuple(Moment(ns(START_MS + ms), 1.0, None, 0.5) for ms in (-1, 0, 500))
    driven = LoadRun(traces, ns(START_MS), HEALTH, {}, {}, busy)
    found = series(driven, timeline(traces))
    assert found.engine == [(0.0, 1.0, None, 0.5), (0.5, 1.0, None, 0.5)]
    assert len(found.waterfall) == 1
