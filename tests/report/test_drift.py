from __future__ import annotations

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.report.drift import course_lines, drift_lines

TTFT, ERRORS = MetricKey("ttft", "p50"), MetricKey("error_rate")


def accepted(day: str, version: str, *ttft: float, errors: float = 0.0) -> Baseline:
    points = {"4/s": {"ttft_p50_ms": ttft, "error_rate": (errors,)}}
    return Baseline("t.py::t", f"{day}T03:04:05+00:00", {}, {}, f"vllm=={version}", points)


def test_every_accepted_baseline_is_a_line_with_the_change_from_the_first() -> None:
    first = accepted("2026-05-01", "0.22.1", 48.0, 49.2)
    second = accepted("2026-06-01", "0.23.0", 49.9).grown_from(first, ())
    third = accepted("2026-07-15", "0.24.0rc1", 101.0).grown_from(second, ())
    assert drift_lines(third.course("4/s", TTFT.name), TTFT) == [
        "2026-05-01  vllm==0.22.1     48.6 ms",
        "2026-06-01  vllm==0.23.0     49.9 ms  +2.7%",
        "2026-07-15  vllm==0.24.0rc1   101 ms  +108%",
    ]


def test_what_a_baseline_lacks_is_left_out() -> None:
    first = accepted("2026-05-01", "0.22.1", 48.6)
    second = Baseline("t.py::t", "2026-06-01", {}, {}, "vllm", {"8/s": {"ttft_p50_ms": (3.0,)}})
    grown = second.grown_from(first, ())
    assert drift_lines(grown.course("4/s", TTFT.name), TTFT) == ["2026-05-01  vllm==0.22.1  48.6 ms"]
    assert drift_lines(grown.course("8/s", TTFT.name), TTFT) == ["2026-06-01  vllm  3 ms"]
    assert drift_lines(grown.course("16/s", TTFT.name), TTFT) == []


def test_there_is_no_change_from_nothing() -> None:
    first = accepted("2026-05-01", "0.22.1", 48.6)
    grown = accepted("2026-06-01", "0.22.1", 48.6, errors=0.01).grown_from(first, ())
    assert drift_lines(grown.course("4/s", ERRORS.name), ERRORS) == [
        "2026-05-01  vllm==0.22.1  0%",
        "2026-06-01  vllm==0.22.1  1%",
    ]


def test_a_load_point_tells_the_course_of_what_was_accepted_more_than_once() -> None:
    course = [["2026-05-01T03:04:05", "vllm==1", 48.6], ["2026-06-01T03:04:05", "vllm==2", 50.0]]
    point = {"load": "4/s", "course": {"ttft_p50_ms": course, "tpot_p50_ms": course[:1]}}
    assert course_lines(point) == [
        "accepted baselines of TTFT p50 at 4/s:",
        "  2026-05-01  vllm==1  48.6 ms",
        "  2026-06-01  vllm==2    50 ms  +2.9%",
    ]
