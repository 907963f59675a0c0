from __future__ import annotations

import dataclasses
from typing import Any

from pytest_llmperf.load.health import Health
from pytest_llmperf.report.summary import summary
from tests.load.healthy import HEALTH
from tests.report.entries import Writer, latencies, text_block


def point(health: Health = HEALTH, **errors: tuple[int, str]) -> dict[str, Any]:
    writer = Writer()
    writer.launch(1, values=latencies(), errors={name.replace("_", " "): e for name, e in errors.items()})
    (entry,) = writer.entry()["points"]
    (run,) = entry["runs"]
    run["health"] = {**dataclasses.asdict(health), "problems": list(health.problems)}
    return dict(entry)


def test_a_run_without_trouble_is_a_table_and_a_line_on_the_generator() -> None:
    assert (
        text_block(summary("http://h:1 · m", point()))
        == """
http://h:1 · m
  load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s  errors
  1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987       0
latencies in ms; ~ fewer requests than the percentile needs
load generator: requests left 0.4 ms late, data was read 0.2 ms after it came (p99); kernel time stamps; \
20 % of a core
"""
    )


def test_without_kernel_stamps_nobody_knows_how_late_a_read_was() -> None:
    last = summary("", point(dataclasses.replace(HEALTH, clock="process")))[-1]
    assert last == "load generator: requests left 0.4 ms late (p99); own time stamps; 20 % of a core"


def test_of_several_processes_the_busiest_counts() -> None:
    last = summary("", point(dataclasses.replace(HEALTH, processes=3)))[-1]
    assert last.endswith("; 20 % of a core in the busiest of 3 processes")


def test_each_kind_of_error_has_an_example_and_some_a_way_out() -> None:
    lines = summary("", point(reset=(3, "reset: by peer"), no_usage=(2, "no usage: not told")))
    assert lines[4] == "failed: 3 × reset: by peer"
    assert lines[5] == "failed: 2 × no usage: not told"
    assert lines[6].startswith("        the server has to count its tokens itself: let it send usage figures")
    assert lines[7].startswith("load generator: ")


def test_an_invalid_run_ends_with_its_problems() -> None:
    lines = summary("", point(dataclasses.replace(HEALTH, problems=("late: less load", "clock: wait"))))
    assert lines[-3:] == [
        "INVALID: this run says nothing about the server",
        "  late: less load",
        "  clock: wait",
    ]
