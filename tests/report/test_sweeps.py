from __future__ import annotations

from typing import Any

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.keep.result import Run
from pytest_llmperf.measure.measurement import Measurement
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.table import table
from tests.load.healthy import HEALTH
from tests.report.entries import Writer, latencies

WORKLOAD = Workload(input_tokens=16, output_tokens=8)
SEARCH = LoadPoint(duration_s=30.0, seeks="TTFT p95 ≤ 300 ms")
SWEPT = {
    "workload": "16 in / 8 out",
    "search": "adaptive",
    "bounds": {"latency_s": 1.25, "throughput": 25.13, "at_once": 256, "is_flat": True},
    "rates": [0.8, 12.0, 17.5, 19.0],
    "saturated": [{"rate": 22.5}, {"rate": 26.0}],
    "meets_slo_at": 17.5,
    "misses_slo_at": 19.0,
    "knee": 14.04,
    "ended": "",
}


def entry(
    *capacities: float, kind: str = "found", is_settled: bool = True, **limits: float
) -> dict[str, Any]:
    writer = Writer()
    writer.result.slo = Slo.of(limits)
    for number, capacity in enumerate(capacities, 1):
        measured = Measurement(WORKLOAD, SEARCH, 900, {"capacity_per_s": capacity}, {}, HEALTH)
        said = {"low": 0.97 * capacity, "high": 1.03 * capacity, "kind": kind, "settled": is_settled}
        run = Run(number, number, measured, {}, capacity=said, probes=[{"rate": 9.0}] * 8)
        writer.result.add(WORKLOAD, SEARCH, run)
    writer.judge()
    return writer.entry()


def test_a_capacity_is_a_line_of_its_own_and_no_row_of_the_table() -> None:
    found = entry(11.8)
    assert table(found) == []
    assert sweep_lines(found) == [
        "capacity under TTFT p95 ≤ 300 ms: 11.8/s (95% interval of this launch 11.4 to 12.2, 8 runs)"
    ]


def test_several_launches_tell_how_far_they_are_apart() -> None:
    (line,) = sweep_lines(entry(11.8, 12.1, 11.5, capacity_per_s=10))
    assert line == "capacity under TTFT p95 ≤ 300 ms: 11.8/s✓ (11.5 to 12.1 in 3 launches, 24 runs)"


def test_what_a_search_could_not_say_is_said() -> None:
    (line,) = sweep_lines(entry(25.0, kind="above", is_settled=False))
    assert ": at least 25/s (" in line
    assert line.endswith("8 runs; met at every rate that it kept up with)")
    (line,) = sweep_lines(entry(25.0, is_settled=False))
    assert line.endswith("8 runs; a longer budget or duration would tell more)")


def test_a_sweep_is_told_from_end_to_end() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    writer.result.sweeps["w"] = SWEPT
    assert sweep_lines(writer.entry()) == [
        "sweep: one at a time 0.8/s, at most about 25.1/s; met the SLO at 17.5/s and not at 19/s; "
        "bends at 14/s; saturated at 22.5/s"
    ]


def test_what_a_sweep_does_not_know_is_left_out() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    unknown: dict[str, Any] = {
        "meets_slo_at": None,
        "misses_slo_at": None,
        "knee": None,
        "saturated": [],
        "ended": "budget",
    }
    writer.result.sweeps["w"] = {**SWEPT, **unknown}
    assert sweep_lines(writer.entry()) == [
        "sweep: one at a time 0.8/s, at most about 25.1/s; the budget ended it"
    ]


def test_an_entry_of_before_there_were_sweeps_has_none() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    old = writer.entry()
    del old["sweeps"]
    assert sweep_lines(old) == []


def test_whose_sweep_it_was_and_a_late_load_generator_are_told() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    late = [{"rate": 21.0, "problems": ["late"]}, {"rate": 20.0, "problems": ["late"]}]
    writer.result.sweeps["w"] = {**SWEPT, "side": "base", "late": late, "saturated": []}
    (line,) = sweep_lines(writer.entry())
    assert line.startswith("sweep, as the base chose it: one at a time")
    assert line.endswith("the load generator was late at 20/s, so nothing above was tried")


def test_what_no_rate_meets_has_less_than_was_driven() -> None:
    (line,) = sweep_lines(entry(1.2, kind="below"))
    assert line.endswith(": less than 1.2/s (missed at whatever was driven, 8 runs)")
