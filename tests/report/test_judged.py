from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.report.judged import (
    change_line,
    creep_line,
    limit_line,
    short_change_line,
    short_limit_line,
)
from tests.report.entries import Writer, latencies

POINT = {"load": "6/s"}


def limit(name: str, bound: float, *launches: float) -> dict[str, Any]:
    """A judged limit in its recorded form."""
    writer = Writer("test_perf.py::test_chat", **{name: bound})
    for number, value in enumerate(launches, 1):
        writer.launch(number, values={parse_metric(name).name: value}, errors={})
    writer.judge()
    found: dict[str, Any] = writer.entry()["points"][0]["objectives"][0]
    return found


def change(name: str, base: Sequence[float], candidate: Sequence[float]) -> dict[str, Any]:
    """A judged change in its recorded form."""
    writer = Writer()
    for number, value in enumerate(candidate, 1):
        writer.launch(number, values=latencies() | {name: value})
    writer.judge(**{name: base})
    found: dict[str, Any] = writer.entry()["points"][0]["changes"][0]
    return found


def test_an_interval_that_leaves_the_limit_out_and_is_no_verdict_is_explained() -> None:
    judged = limit("ttft_ms", 300, 312, 312, 312) | {"verdict": "inconclusive"}
    assert limit_line(POINT, judged).endswith(
        "4.0% over; its interval is clear of the limit, but not of doubt where a session judges this much"
    )
    assert "doubt" not in limit_line(POINT, judged | {"low": 299.0})


@pytest.mark.parametrize(
    ("name", "bound", "values", "line"),
    [
        (
            "ttft_ms",
            300,
            (312, 312, 312),
            "TTFT p95 at 6/s is 312 ms (95% interval 305 to 319; 3 launches), limit 300 ms, 4.0% over",
        ),
        (
            "ttft_ms",
            300,
            (298,),
            "TTFT p95 at 6/s is 298 ms (95% interval 286 to 310; 1 launch), limit 300 ms, 0.7% under",
        ),
        (
            "output_tokens_per_s",
            1000,
            (500, 500, 500, 500),
            "output tokens at 6/s is 500/s (95% interval 490 to 510; 4 launches), limit 1000/s, 50% short of",
        ),
        ("goodput", 0.99, (0.95,), "goodput at 6/s is 95% (1 launch), limit 99%"),
        ("error_rate", 0, (0.1, 0), "error rate at 6/s is 5% (missed in 1 of 2 launches), limit 0%"),
        (
            "startup_s",
            60,
            (66, 66, 66, 66),
            "start-up is 66 s (95% interval 64.7 to 67.3; 4 launches), limit 60 s, 10% over",
        ),
    ],
)
def test_a_limit_comes_with_the_value_its_interval_and_the_margin(
    name: str, bound: float, values: tuple[float, ...], line: str
) -> None:
    assert limit_line(POINT, limit(name, bound, *values)) == line


@pytest.mark.parametrize(
    ("name", "bound", "values", "line"),
    [
        ("ttft_ms", 300, (212, 212, 212), "SLO: TTFT p95 at 6/s 212 ms (207 to 217), 29% under 300 ms"),
        ("ttft_ms", 200, (212, 212, 212), "SLO: TTFT p95 at 6/s 212 ms (207 to 217), 6.0% over 200 ms"),
        ("goodput", 0.9, (0.99,), "SLO: goodput at 6/s 99%, limit 90%"),
        ("requests_per_s", 4, (3,), "SLO: requests at 6/s 3/s (2.88 to 3.12), 25% short of 4/s"),
        ("requests_per_s", 4, (5,), "SLO: requests at 6/s 5/s (4.8 to 5.2), 25% over 4/s"),
        ("error_rate", 0, (0.1,), "SLO: error rate at 6/s 10%, limit 0%"),
    ],
)
def test_the_short_line_says_how_far_the_limit_is(
    name: str, bound: float, values: tuple[float, ...], line: str
) -> None:
    assert short_limit_line(POINT, limit(name, bound, *values)) == line


def test_a_change_of_the_start_names_no_load() -> None:
    slower = change("cold_startup_s", [100] * 3, [130] * 3)
    assert change_line(POINT, slower).startswith("cold start-up: 100 s → 130 s, +30% (95% interval ")
    assert short_change_line(POINT, slower).startswith("cold start-up +30% (")


def test_a_change_comes_with_its_interval_the_evidence_and_the_tolerance() -> None:
    assert change_line(POINT, change("ttft_p50_ms", [100] * 3, [130] * 4)) == (
        "TTFT p50 at 6/s: 100 ms → 130 ms, +30% (95% interval +21% to +40%; 3 + 4 launches; tolerance 5%)"
    )


def test_an_undecided_change_comes_with_the_chance_that_it_matters() -> None:
    assert change_line(POINT, change("ttft_p50_ms", [100], [104])) == (
        "TTFT p50 at 6/s: 100 ms → 104 ms, +4.0% (95% interval -9.5% to +19%; 1 + 1 launches; tolerance 5%; "
        "since most changes are none, 45% chance of being worse than that)"
    )


@pytest.mark.parametrize(
    ("risk", "told"),
    [(0.0, "less than 1%"), (0.004, "less than 1%"), (0.02, "2%"), (0.5, "50%"), (0.9999, "more than 99%")],
)
def test_a_chance_is_never_said_to_be_none_or_certain(risk: float, told: str) -> None:
    judged = change("ttft_p50_ms", [100] * 8, [101.2] * 8) | {"risk": risk}
    assert short_change_line(POINT, judged) == (
        f"TTFT p50 at 6/s +1.2% (-3.6% to +6.3%), {told} chance of being worse than 5%"
    )


@pytest.mark.parametrize(
    ("steps", "told"),
    [(3, "over 3 accepted baselines, each within its tolerance"), (1, "one step later")],
)
def test_small_steps_are_told_from_the_first_one_on(steps: int, told: str) -> None:
    judged = change("ttft_p50_ms", [84] * 8, [90] * 8)
    crept = judged | {"since": "2026-05-01T06:07:08+00:00", "steps": steps, "since_subject": "vllm==0.20"}
    assert creep_line(POINT, crept) == (
        f"in small steps: TTFT p50 at 6/s: 84 ms → 90 ms, +7.1% since 2026-05-01 (vllm==0.20), {told} "
        "(95% interval +2.0% to +13%; tolerance 5%)"
    )
