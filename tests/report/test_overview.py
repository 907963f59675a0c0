from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.overview import (
    ORDER,
    by_verdict,
    overview,
    short_names,
    total,
    trimmed,
)
from pytest_llmperf.report.width import cells
from tests.report.entries import FAST, SLOW, Writer, latencies

NEAR = "tests/perf/test_chat.py::test_near"


def entry(verdict: Verdict, nodeid: str = NEAR, *, scale: float = 1.0, launches: int = 3) -> dict[str, Any]:
    """A test at two loads, with a limit on TTFT p95 of 200 ms, which is 150 ms × ``scale``, and a base."""
    writer = Writer(nodeid, ttft_ms=200)
    for launch in range(1, launches + 1):
        writer.launch(launch, SLOW, values=latencies(scale / 2))
        writer.launch(launch, FAST, values=latencies(scale))
    writer.judge()
    *_, fast = writer.result.points.values()
    writer.compare(fast, "tpot_p50_ms", [8.25] * launches)
    writer.from_baseline("vllm==0.23.0", {"engine": "vllm"})
    writer.result.verdict = verdict
    return writer.entry()


def line(one: dict[str, Any], width: int | None = 100) -> str:
    ((_, told),) = overview([one], width)
    return told


@pytest.mark.parametrize(
    ("verdict", "scale", "said"),
    [
        (Verdict.PASS, 1.0, "TTFT p95 at 4/s 150 ms, limit 200 ms · TPOT p50 at 4/s +0.0%, tolerance 5%"),
        (Verdict.SLO_BROKEN, 1.5, "TTFT p95 at 4/s 225 ms, limit 200 ms"),
        (Verdict.REGRESSED, 1.2, "TPOT p50 at 4/s: 8.25 ms → 9.9 ms, +20%"),
        (Verdict.IMPROVED, 0.5, "TPOT p50 at 4/s: 8.25 ms → 4.12 ms, -50%"),
        (Verdict.INCONCLUSIVE, 1.04, "TPOT p50 at 4/s +4.0%, tolerance 5%"),
        (Verdict.NOT_JUDGED, 1.0, "TTFT p50 50 ms, TPOT p50 4.12 ms, output tokens 2469/s at 1/s"),
        (Verdict.FAILED_BY_ITSELF, 1.0, "its own assertions failed"),
    ],
)
def test_a_line_has_what_decided_or_came_nearest_to_it(verdict: Verdict, scale: float, said: str) -> None:
    assert line(entry(verdict, scale=scale)) == f"test_near  {said}"


def test_an_error_is_its_first_words() -> None:
    one = entry(Verdict.INVALID) | {"error": "the measurement is invalid:\n  it was late\n  and more"}
    assert line(one) == "test_near  the measurement is invalid: it was late"
    one["error"] = "vllm did not start\nlog: x"
    assert line(one) == "test_near  vllm did not start"


def test_a_narrow_terminal_has_shorter_words() -> None:
    one = entry(Verdict.PASS)
    told = [line(one, width) for width in (100, 70, 50, 38)]
    assert told == [
        "test_near  TTFT p95 at 4/s 150 ms, limit 200 ms · TPOT p50 at 4/s +0.0%, tolerance 5%",
        "test_near  TTFT p95 at 4/s 150 ms, limit 200 ms",
        "test_near  TTFT p95 at 4/s 150 ms",
        "test_near  TTFT p95 150 ms",
    ]


def test_names_lose_what_all_of_them_share() -> None:
    assert short_names(["t/a.py::C::x", "t/a.py::y[1/2]"]) == ["C::x", "y[1/2]"]
    assert short_names(["t/a.py::x", "t/b.py::x"]) == ["a.py::x", "b.py::x"]
    assert short_names(["t/a/a.py::x", "t/b/b.py::x[a/b]"]) == ["a/a.py::x", "b/b.py::x[a/b]"]
    assert short_names([]) == []


def test_the_worst_are_last_and_every_verdict_has_a_place() -> None:
    assert set(ORDER) == set(Verdict)
    entries = [entry(verdict, f"t.py::t{i}") for i, verdict in enumerate([*reversed(ORDER), *ORDER])]
    assert [one["verdict"] for one in by_verdict(entries)] == [str(v) for v in ORDER for _ in (1, 2)]


def test_in_the_end_all_are_counted() -> None:
    entries = [
        *(entry(Verdict.PASS, launches=3) for _ in range(17)),
        *(entry(Verdict.REGRESSED, launches=8) for _ in range(2)),
        entry(Verdict.INCONCLUSIVE, launches=8),
    ]
    assert total(entries, 750) == (
        "17 pass, 1 inconclusive, 2 regressed against baselines; 3 to 8 launches; 12 min 30 s"
    )
    beside = Writer()
    beside.launch(1, values=latencies())
    beside.launch(1, values=latencies(), of_base=True)
    beside.side_by_side("vllm==0.22.1", version="0.22.1")
    assert total([beside.entry()], 5) == "1 not judged against vllm==0.22.1; 1 launch; 5 s"
    assert total([Writer().entry()], 5) == "1 not judged; 5 s"


def test_of_one_with_trouble_the_worst_load_points_are_shown() -> None:
    writer = Writer(ttft_ms=140)
    for rate in range(1, 8):
        point = type(SLOW)(rate=float(rate), duration_s=30.0)
        writer.launch(1, point, values=latencies(rate / 4))
    writer.judge()
    worst, others = trimmed(writer.entry())
    assert [point["load"] for point in worst["points"]] == ["5/s", "6/s", "7/s"]
    assert others == 4


HOSTILE = st.text(min_size=1, max_size=200)


@given(
    names=st.lists(HOSTILE, min_size=1, max_size=4),
    error=HOSTILE,
    verdict=st.sampled_from(ORDER),
    width=st.integers(20, 200),
)
def test_no_line_is_wider_than_the_terminal_and_none_moves_the_cursor(
    names: list[str], error: str, verdict: Verdict, width: int
) -> None:
    entries = [{**ONE[verdict], "test": f"t.py::{name}", "error": error} for name in names]
    told = overview(entries, width)
    longest = max(cells(word) for word, _ in told)
    assert all(longest + 2 + cells(text) <= max(width, longest + 12) for _, text in told)
    assert all(text.isprintable() for _, text in told)
    assert total(entries, 1.0).isprintable()


ONE = {verdict: entry(verdict) for verdict in ORDER}
