"""Start-up as an objective, of a real engine and of one that compiles at its first start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Project

pytestmark = pytest.mark.beside_others
SCRIPT = Path(__file__).with_name("faulty_engine.py")
TEST = """
from pytest_llmperf import Workload, slo

@slo(startup_s=60)
def test_enough(llmperf):
    llmperf(Workload(input_tokens=16, output_tokens=4), concurrency=1, requests=20)

@slo({})
def test_other(llmperf):
    for requests in (20, 21):
        llmperf(Workload(input_tokens=16, output_tokens=4), concurrency=1, requests=requests)
"""


def test_a_start_of_a_real_engine_meets_a_limit_and_misses_another(project: Project) -> None:
    project.write(test_it=TEST.format("startup_s=0.001"))
    result = project.run("--llmperf")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "start-up is * s, limit 0.001 s: test_other misses its SLO (llamacpp).",
            "  SLO       start-up is * s (95% interval * to *; 1 launch), limit 0.001 s, *% over",
            "    see what the start spends its time on: its phases, and the engine's log",
            "llamacpp started in * s: process *, port *, ready *, first token *",
        ]
    )
    (launch,) = project.records()[0]["launches"]
    assert (launch["startup_cache"], launch["startup_phases"]) == (None, {})
    judged = [
        [objective["metric"] for objective in point["objectives"]]
        for point in project.records()[0]["tests"][1]["points"]
    ]
    assert judged == [["startup_s", "error_rate"], ["error_rate"]]


def test_a_cold_start_is_followed_by_a_warm_one_and_each_has_its_limit(project: Project) -> None:
    project.write(test_it=TEST.format("startup_s=60, cold_startup_s=60"))
    engine = f"command -- {sys.executable} {SCRIPT} {{port}} compiles-once {project.path / 'compiled'}"
    result = project.run("--llmperf", "--llmperf-engine", engine)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*started 2 times: cold in * s, warm in * s; the last: * (compile 0.0)"])
    record = project.records()[0]
    cold, warm = record["launches"]
    assert (cold["startup_cache"], warm["startup_cache"]) == ("cold", "warm")
    assert (cold["startup_phases"], warm["startup_phases"]) == ({"compile": 1.0}, {"compile": 0.02})
    for test in record["tests"]:
        runs = test["points"][0]["runs"]
        values = [run["values"].keys() & {"startup_s", "cold_startup_s"} for run in runs]
        assert values == [{"cold_startup_s"}, {"startup_s"}]
