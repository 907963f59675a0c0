"""How near to the true boundary Hypothesis ends: beside a bisection of the prompt length in the same launch.

    pytest --llmperf bench/probing -s --llmperf-launches 1

The boundary is where the median TTFT of one request at a time crosses the limit; the bisection knows it from
40 requests at each length, the search from the probes that any test would make.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings

from pytest_llmperf import Llmperf, Workload
from pytest_llmperf.strategies import measured, workloads

LOW, HIGH = 16, 1500
LIMIT_MS = 25.0
REQUESTS = 40


@pytest.mark.parametrize("repeat", range(4))
def test_shrinking_ends_near_the_boundary(llmperf: Llmperf, repeat: int) -> None:
    asked: dict[int, str] = {}
    broken: list[int] = []

    @settings(measured, database=None)
    @given(workload=workloads(input_tokens=(LOW, HIGH)))
    def is_in_time(workload: Workload) -> None:
        probe = llmperf.probe(workload, concurrency=1, requests=8, ttft_p50_ms=LIMIT_MS)
        length = workload.input_tokens
        assert isinstance(length, int)
        asked[length] = probe.answer
        if probe.breaks:
            broken.append(length)
        probe.check()

    before = _bisected(llmperf)
    began = time.monotonic()
    with pytest.raises(AssertionError, match="broken"):
        is_in_time()
    took_s = time.monotonic() - began
    after = _bisected(llmperf)
    found = broken[-1]
    undecided = sum(answer == "undecided" for answer in asked.values())
    invalid = sum(answer == "invalid" for answer in asked.values())
    truth = (before + after) / 2
    print(
        f"\nRESULT {repeat}: shrunk to {found} tokens with {len(asked)} examples in {took_s:.0f} s "
        f"({undecided} undecided, {invalid} invalid); bisections {before} and {after}, "
        f"{(found / truth - 1) * 100:+.1f}% of their mean",
        flush=True,
    )


def _bisected(llmperf: Llmperf) -> int:
    """The shortest prompt whose median TTFT is over the limit, as far as so many requests tell."""
    low, high = LOW, HIGH
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        workload = Workload(input_tokens=middle, output_tokens=1)
        took = llmperf(workload, concurrency=1, requests=REQUESTS)
        if took.value("ttft_p50_ms") > LIMIT_MS:
            high = middle
        else:
            low = middle
    return high
