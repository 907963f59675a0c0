from __future__ import annotations

import pytest

from pytest_llmperf.report.terminal import details, headline
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block


def measured(launches: int = 3, **limits: float) -> Writer:
    writer = Writer("test_perf.py::test_chat", **limits)
    for launch in range(1, launches + 1):
        writer.launch(launch, values=latencies())
    return writer


@pytest.mark.parametrize(("launches", "told"), [(1, "1 launch"), (3, "3 launches")])
def test_the_headline_has_the_subject_the_workload_and_the_evidence(launches: int, told: str) -> None:
    writer = measured(launches)
    writer.judge(ttft_p50_ms=[100] * 3)
    assert headline(writer.entry()) == (f"vllm --max-num-seqs 256 · 0.24.0 · 1024 in / 128 out chat · {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vllm==0.22.1 --x 1", "vllm==0.22.1 --x 1"),
        ("vllm", "vllm 0.22.1"),
        ("http://gpu:8000", "http://gpu:8000 0.22.1"),
    ],
)
def test_side_by_side_it_has_the_other_subject_and_the_launches_of_both(text: str, told: str) -> None:
    writer = measured(4)
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(), of_base=True)
    writer.side_by_side(text, version="0.22.1")
    assert headline(writer.entry()) == (
        f"vllm --max-num-seqs 256 · 0.24.0 · against {told}, side by side · 1024 in / 128 out chat · "
        "3 + 4 launches"
    )


def test_nothing_measured_has_no_evidence() -> None:
    assert headline(Writer().entry()) == "vllm --max-num-seqs 256 · 0.24.0"


def test_details_are_all_that_was_judged_but_for_errors_that_were_none() -> None:
    writer = measured(8, ttft_ms=300, goodput=0.5)
    for launch in range(1, 9):
        writer.launch(launch, FAST, values=latencies(1.01))
    writer.judge(ttft_p50_ms=[100] * 8, tpot_p50_ms=[6] * 8)
    expected = """
SLO: TTFT p95 at 1/s 150 ms (148 to 152), 50% under 300 ms
SLO: TTFT p95 at 4/s 152 ms (149 to 154), 50% under 300 ms
TTFT p50 at 1/s +0.0% (-4.8% to +5.0%), 3% chance of being worse than 5%
TPOT p50 at 1/s +38% (+31% to +44%), more than 99% chance of being worse than 5%
TTFT p50 at 4/s +1.0% (-3.8% to +6.1%), 6% chance of being worse than 5%
TPOT p50 at 4/s +39% (+32% to +46%), more than 99% chance of being worse than 5%
"""
    assert text_block(details(writer.entry())) == expected


def test_details_tell_errors_and_limits_on_them() -> None:
    errors = {"reset": (10, "reset: x")}
    for limits, line in (
        ({}, "SLO: error rate at 1/s 1%, limit 0%"),
        ({"error_rate": 0.1}, "SLO: error rate at 1/s 1%, limit 10%"),
    ):
        writer = Writer("test_perf.py::test_chat", **limits)
        writer.launch(1, SLOW, errors=errors, values=latencies())
        writer.judge()
        assert details(writer.entry()) == [line]
