"""Hypothesis looks for the smallest workload that breaks a limit, or the engine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Project
from tests.acceptance.test_faults import ENGINE

pytestmark = pytest.mark.beside_others
EXAMPLE = Path(__file__).parents[2] / "examples" / "test_smallest_breaking_workload.py"
SEARCH = """
from hypothesis import given, settings

settings.load_profile("default")  # the one for CI keeps no examples

from pytest_llmperf import slo, sweep
from pytest_llmperf.strategies import measured, workloads

@slo(ttft_p50_ms={limit})
@sweep(concurrency=[1], requests=4)
@measured
@given(workload=workloads(input_tokens={lengths}))
def test_prompts(llmperf, workload):
    llmperf.probe(workload).check()
"""
SHRUNK = re.compile(r"Workload\(input_tokens=(\d+), output_tokens=1\)")


def searched(
    project: Project, subject: str, *options: str, limit: float = 30, lengths: tuple[int, int] = (10, 400)
) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run the search; also what the record says of its probes."""
    project.write(conftest=ENGINE, test_it=SEARCH.format(limit=limit, lengths=lengths))
    result = project.run("--llmperf", "--llmperf-engine", f"faulty in-proportion {subject}", *options)
    (test,) = project.records()[-1]["tests"]
    assert test["points"] == []
    return result, test["probed"]


def smallest(result: pytest.RunResult) -> int:
    """As Hypothesis told it."""
    return int(SHRUNK.findall(result.stdout.str())[-1])


def test_it_shrinks_to_where_the_limit_is_and_begins_there_the_next_time(project: Project) -> None:
    # 60 tokens take 30 ms, and then some, so that nothing above that is within the limit.
    result, probed = searched(project, "0.5 99999", "--llmperf-sweep-budget", "4")
    assert result.parseoutcomes() == {"failed": 1}
    found = smallest(result)
    if "assumed" not in probed["answers"]:  # else there was no time to shrink it
        assert found <= 120
    broken = probed["last_broken"]
    assert (broken["workload"], broken["load"]) == (
        f"{found} in / 1 out",
        "closed loop, 1 at once of 4 requests",
    )
    assert broken["values"]["ttft_p50_ms"] > 30
    assert probed["answers"]["broken"] >= 1
    assert probed["repeated"] >= 1  # the one that is left is run again at the end, and is not measured again
    assert probed["probes"] == sum(probed["answers"].values())
    (alone,) = [line for line in broken["by_hand"] if line.startswith("alone:")]
    assert f"--input-tokens {found} --output-tokens 1 --concurrency 1 --requests 4" in alone
    again, _ = searched(project, "0.5 99999", "--llmperf-sweep-budget", "1")
    assert f"probe 1: {found} in / 1 out" in again.stdout.str()


def test_the_smallest_prompt_that_ends_the_engine(project: Project) -> None:
    result, probed = searched(project, "0 25", "--llmperf-sweep-budget", "6", limit=5000, lengths=(20, 32))
    assert result.parseoutcomes() in ({"errors": 1}, {"error": 1})
    found = smallest(result)
    assert found >= 25
    if "assumed" not in probed["answers"]:  # else there was no time to shrink it
        assert found == 25
    assert probed["answers"]["engine failed"] >= 1
    assert probed["last_broken"]["workload"] == f"{found} in / 1 out"
    assert "the engine died while it was measured" in result.stdout.str()
    # It was started anew each time, and each start has a log.
    assert project.starts() >= probed["answers"]["engine failed"]


def test_after_the_budget_nothing_is_measured_and_everything_passes(project: Project) -> None:
    result, probed = searched(project, "0.1 99999", "--llmperf-sweep-budget", "1", limit=60_000)
    assert result.parseoutcomes() == {"passed": 1}
    assert probed["answers"]["assumed"] >= 1
    assert "its probes had 1 s" in result.stdout.str()
    assert "not measured" in result.stdout.str()


def test_llamacpp_has_a_prompt_that_it_does_not_answer_in_time(project: Project) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    project.write(test_it=EXAMPLE.read_text())
    result = project.run(
        *("--llmperf", "--llmperf-slo", "ttft_p50_ms=8", "--llmperf-requests", "4"),
        *("--llmperf-sweep-budget", "4"),
    )
    (test,) = project.records()[-1]["tests"]
    if test["verdict"] == "invalid" or set(test["probed"]["answers"]) <= {
        "met",
        "invalid",
        "undecided",
        "assumed",
    }:
        pytest.skip("the machine is too busy to measure anything")
    assert result.parseoutcomes() == {"failed": 1}
    broken = test["probed"]["last_broken"]
    assert broken["workload"] == f"{smallest(result)} in / 1 out"
    assert broken["values"]["ttft_p50_ms"] > 8


def test_an_engine_that_a_probe_asked_for_is_the_one_that_failed(project: Project) -> None:
    project.write(
        conftest=ENGINE,
        test_it="""
        from pytest_llmperf import Workload

        W = Workload(input_tokens=8, output_tokens=1)

        def test_another(llmperf):
            llmperf.probe(W, concurrency=1, requests=4, ttft_ms=300, engine="faulty nosuch-fault")
        """,
    )
    result = project.run("--llmperf", "--llmperf-engine", "faulty sound")
    result.assert_outcomes(errors=1)
    (record,) = project.records()
    assert [failure["text"] for failure in record["failures"]] == ["faulty nosuch-fault"]
    assert record["tests"][0]["probed"]["last_broken"]["engine"] == "faulty nosuch-fault"


def test_mistakes_are_told_at_once(project: Project) -> None:
    project.write(
        conftest=ENGINE,
        test_it="""
        import pytest
        from pytest_llmperf import DeclarationError, Workload, sweep

        W = Workload(input_tokens=8, output_tokens=1)
        ONE = {"concurrency": 1, "requests": 8}

        @pytest.mark.parametrize(("asked", "told"), [
            ({}, "which limits"),
            ({"ttft_ms": 300, "rates": [1, 2]}, "unknown metric 'rates'"),
            ({"ttft_ms": 300, "startup_s": 3}, "which limits"),
            ({"ttft_ms": 300, "engine": "nosuch"}, "engine 'nosuch' is not known"),
            ({"ttft_ms": 300, "concurrency": 0}, "concurrency=0"),
        ])
        def test_of_an_argument(llmperf, asked, told):
            with pytest.raises(DeclarationError, match=told):
                llmperf.probe(W, **{**ONE, **asked})
            pytest.skip("told")

        @sweep(concurrency=[1, 2], requests=1)
        def test_of_several_loads(llmperf):
            with pytest.raises(DeclarationError, match="at which load"):
                llmperf.probe(W, ttft_ms=300)
            with pytest.raises(DeclarationError, match="expected a Workload"):
                llmperf.probe("W", **ONE, ttft_ms=300)
            pytest.skip("told")

        def test_of_the_order(llmperf):
            slow = llmperf.probe(W, **ONE, ttft_ms=5, engine="faulty late 20")
            # Where the machine is busy, the load generator is late.
            assert slow.breaks or slow.answer == "invalid"
            assert slow.breaks == ("limit 5 ms: broken" in str(slow))
            with pytest.raises(DeclarationError, match="measure load points first"):
                llmperf(W, **ONE)
            # Back to its own, which answers at once.
            assert not llmperf.probe(W, **ONE, ttft_ms=30_000).breaks
            pytest.skip("told")
        """,
    )
    result = project.run("--llmperf", "--llmperf-engine", "faulty sound")
    assert result.parseoutcomes() == {"skipped": 7}
