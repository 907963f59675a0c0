"""vLLM through the plugin, as a person would use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Project
from tests.vllm.conftest import NEW, OLD, subject

CHAT = """
from pytest_llmperf import Workload, slo, sweep

@slo(ttft_p50_ms=5000, error_rate=0.0)
@sweep(rates=[2], requests=20)
def test_chat(llmperf):
    llmperf(Workload(input_tokens=128, output_tokens=32))
"""


def run(
    project: Project, model: Path, version: str, *options: str, tries: int = 3
) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Measure; again, if the machine was too busy for a measurement to be valid."""
    # With a space, pytest would take the model's folder for one of tests, and look for its root above it.
    arguments = ["--llmperf", "--llmperf-engine", subject(version), f"--llmperf-model={model}", *options]
    for _ in range(tries):
        result = project.pytester.runpytest_subprocess(*arguments, timeout=1000)
        (entry,) = project.records()[-1]["tests"]
        if entry["verdict"] != "invalid":
            break
    return result, entry


def test_an_upgrade_is_compared_and_what_differs_is_said(vllm_project: Project, model: Path) -> None:
    vllm_project.write(test_it=CHAT)
    result, entry = run(vllm_project, model, OLD, "--llmperf-update")
    result.assert_outcomes(passed=1)
    assert entry["subject"]["fields"]["version"] == OLD
    assert vllm_project.baselines()

    # Far below what one launch on each side can decide: there is always something to explain.
    result, entry = run(
        vllm_project, model, NEW, "--llmperf-tolerance", "0.5%", "--llmperf-inconclusive", "fail"
    )
    assert entry["subject"]["fields"]["version"] == NEW
    assert entry["is_compared"]
    differences = dict(line.split(": ", 1) for line in entry["subject_differences"])
    assert differences["version"] == f"{OLD} → {NEW}"
    assert "packages) → " in differences["packages"]
    (point,) = entry["points"]
    assert {change["metric"] for change in point["changes"]} >= {"ttft_p50_ms", "tpot_p50_ms"}
    assert point["runs"][0]["counters"]["prompt_tokens"] == 128 * point["runs"][0]["requests"]
    if entry["verdict"] in ("regressed", "inconclusive"):
        result.stdout.fnmatch_lines(["*What differs:", f"*version: {OLD} → {NEW}", "*packages: *"])
