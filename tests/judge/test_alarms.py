"""How often a change is called what it is, counted over fixed seeds."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.change import (
    Change,
)
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.metrics import summarise, uncertainty
from tests.judge.comparisons import (
    judged,
)
from tests.measure.traces import START_MS, answered, timeline


def session(rng: np.random.Generator, factor: float, spread: float = 0.05) -> Change:
    """One metric, 3 to 8 launches a side as far as it wants them."""
    base, candidate = np.exp(rng.normal(0, spread, (2, 8))) * [[1.0], [factor]]
    for launches in range(3, 9):
        change = judged(base[:launches].tolist(), candidate[:launches].tolist())
        if not change.wants_launch:
            break
    return change


def test_an_unchanged_engine_is_hardly_ever_called_regressed_however_often_one_looks() -> None:
    rng = np.random.default_rng(20240607)
    verdicts = Counter(session(rng, 1.0).verdict for _ in range(300))
    assert verdicts[Verdict.REGRESSED] <= 6
    assert verdicts[Verdict.IMPROVED] <= 6
    assert verdicts[Verdict.PASS] >= 225


def test_a_loss_of_30_percent_is_nearly_always_found() -> None:
    rng = np.random.default_rng(20240608)
    verdicts = Counter(session(rng, 1.3).verdict for _ in range(100))
    assert verdicts[Verdict.REGRESSED] >= 95
    assert verdicts[Verdict.PASS] == 0


P95 = MetricKey("ttft", "p95")


@pytest.fixture(scope="module")
def equal_launches() -> list[tuple[float, float]]:
    """The TTFT p95, and how badly it is known, of launches of 30 requests each, lognormal with σ = 0.5;
    nothing differs between them but chance."""
    rng = np.random.default_rng(20240607)
    launches = []
    for _ in range(800):
        ttfts_ms = 100 * np.exp(rng.normal(0, 0.5, 30))
        run = timeline([answered(START_MS, START_MS + ttft) for ttft in ttfts_ms.tolist()])
        launches.append((summarise(run, Slo(), None)[P95.name], uncertainty(run)[P95.name]))
    return launches


def share_of_alarms(launches: list[tuple[float, float]], *, with_sampling: bool) -> float:
    """Of comparisons of one launch with the next, each with the whole error to itself."""
    verdicts = []
    for (base, base_known), (candidate, known) in zip(launches[::2], launches[1::2], strict=True):
        sampling = math.hypot(base_known, known) / math.sqrt(2) if with_sampling else 0.0
        prior = Prior(P95.metric.spread)
        verdicts.append(judged([base], [candidate], prior=prior, sampling=sampling, least=1, most=1).verdict)
    return verdicts.count(Verdict.REGRESSED) / len(verdicts)


def test_a_tail_of_few_requests_raises_hardly_more_false_alarms(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=True) <= 0.015


def test_without_what_the_requests_leave_unknown_it_would_raise_many(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=False) > 0.025
