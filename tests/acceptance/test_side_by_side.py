"""Two subjects, launched in turns under the same load, and what becomes of it when one of them fails."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Project
from tests.acceptance.test_processes import until
from tests.servers import TruthServer

HEAD = """
import httpx, pytest
from pytest_llmperf import Workload
WORKLOAD = Workload(input_tokens=64, output_tokens=8)
"""
SHORT = HEAD + "\ndef test_short(llmperf):\n    llmperf(WORKLOAD, requests=10)\n"
# A twentieth of the rate is not worse, however busy the machine is.
LENIENT = ("--llmperf-gate", "requests_per_s", "--llmperf-tolerance", "95%")
AGAINST_ITSELF = ("--llmperf", "--llmperf-against", "llamacpp", *LENIENT)


def launches(record: dict[str, Any]) -> list[tuple[str, int]]:
    return [(launch["side"], launch["launch"]) for launch in record["launches"]]


def sides_of(point: dict[str, Any]) -> dict[str, list[tuple[int, int]]]:
    """Launch and round of the runs of a load point."""
    return {side: [(run["launch"], run["round"]) for run in point[side]] for side in ("base_runs", "runs")}


@pytest.mark.beside_others
def test_a_subject_against_itself_is_launched_anew_in_turns(project: Project) -> None:
    project.write(test_it=SHORT + SHORT.removeprefix(HEAD).replace("_short", "_other"))
    result = project.run(*AGAINST_ITSELF, "--llmperf-launches", "2")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*llmperf: round 1 of 2, base: starting llamacpp*",
            "*llmperf: test_short: round 1 of 2, base, measuring at 1 at once*",
            "*llmperf: round 1 of 2, candidate: starting llamacpp*",
            "*llmperf: round 2 of 2, candidate: starting llamacpp*",
            "*llmperf: round 2 of 2, base: starting llamacpp*",
        ]
    )
    (record,) = project.records()
    assert launches(record) == [("base", 1), ("candidate", 1), ("candidate", 2), ("base", 2)]
    logs = [Path(launch["log"]) for launch in record["launches"]]
    assert [log.exists() and "-base-" in log.name for log in logs] == [True, False, False, True]
    assert len({log.name for log in logs}) == project.starts() == 4
    for test in record["tests"]:
        (point,) = test["points"]
        assert sides_of(point) == {"base_runs": [(1, 1), (2, 2)], "runs": [(1, 1), (2, 2)]}
        assert point["changes"]
        assert {(change["base_launches"], change["candidate_launches"]) for change in point["changes"]} == {
            (2, 2)
        }


def test_what_is_much_worse_is_told_after_one_more_look(project: Project) -> None:
    # Four streams that share one slot wait for each other: several times the TTFT, on any machine.
    project.write(
        test_it=HEAD.replace("output_tokens=8", "output_tokens=64")
        + """
def test_crowd(llmperf):
    llmperf(WORKLOAD, concurrency=4, requests=40)
"""
    )
    options = ("--llmperf-against", "llamacpp", "--llmperf-gate", "ttft_p50_ms", "--llmperf-launches", "3..5")
    result = project.run("--llmperf", "--llmperf-engine", "llamacpp --parallel 1", *options)
    result.assert_outcomes(failed=1)
    (record,) = project.records()
    (test,) = record["tests"]
    assert test["verdict"] == "regressed"
    assert test["launches"] in (4, 5)
    assert launches(record)[:4] == [("base", 1), ("candidate", 1), ("candidate", 2), ("base", 2)]
    assert {launch["text"] for launch in record["launches"] if launch["side"] == "base"} == {"llamacpp"}
    assert "flag --parallel: (none) → 1" in test["subject_differences"]
    assert test["points"][0]["changes"][0]["estimate"] > 0.5
    assert project.baselines() == []


@pytest.mark.beside_others
def test_a_base_that_does_not_start_is_named_and_nothing_else_is_started(project: Project) -> None:
    project.write(test_it=SHORT + "\ndef test_other(llmperf):\n    pass\n")
    result = project.run("--llmperf", "--llmperf-against", "llamacpp --paralell 3")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "the base of the comparison did not start: llamacpp --paralell 3: it does not know the flag *",
            "*(not tried again for this test)*",
        ]
    )
    assert project.starts() == 1


@pytest.mark.beside_others
def test_a_base_that_dies_is_named(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
import os, signal
from pathlib import Path

def test_kills(llmperf):
    llmperf(WORKLOAD, requests=4)
    port = llmperf.url.rpartition(":")[2]
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\\0") if entry.name.isdigit() else []
        except OSError:  # it has ended meanwhile
            continue
        if port in words:
            os.kill(int(entry.name), signal.SIGKILL)
    llmperf(WORKLOAD, requests=4)
"""
    )
    result = project.run(*AGAINST_ITSELF, "--llmperf-launches", "2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the base of the comparison failed: llamacpp: *"])
    (record,) = project.records()
    (failed,) = record["failures"]
    assert failed["side"] == "base"
    assert failed["error"].startswith("llamacpp: ")
    assert launches(record) == [("base", 1)]


@pytest.mark.beside_others
def test_a_body_that_fails_against_the_base_only_decides_nothing(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
def test_slots(llmperf):
    llmperf(WORKLOAD, requests=10)
    assert httpx.get(f"{llmperf.url}/props").json()["total_slots"] > 1, "one slot is too few"
    llmperf(WORKLOAD, concurrency=2, requests=10)
"""
    )
    base = ("--llmperf-against", "llamacpp --parallel 1", *LENIENT)
    result = project.run("--llmperf", *base, "--llmperf-launches", "2")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_slots: its body failed against the base, *one slot is too few*"]
    )
    one, two = project.records()[0]["tests"][0]["points"]
    assert len(sides_of(one)["base_runs"]) == len(sides_of(one)["runs"]) == 2
    assert sides_of(two) == {"base_runs": [], "runs": [(1, 1), (2, 2)]}


@pytest.mark.beside_others
def test_a_body_that_fails_against_the_candidate_is_over(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
def test_slots(llmperf):
    llmperf(WORKLOAD, requests=4)
    assert httpx.get(f"{llmperf.url}/props").json()["total_slots"] > 1, "one slot is too few"
"""
    )
    options = ("--llmperf-engine", "llamacpp --parallel 1", "--llmperf-against", "llamacpp")
    result = project.run("--llmperf", *options)
    result.assert_outcomes(failed=1)
    (record,) = project.records()
    assert launches(record) == [("base", 1), ("candidate", 1)]
    assert record["tests"][0]["verdict"] == "failed by itself"


@pytest.mark.beside_others
def test_one_base_serves_tests_of_several_subjects(project: Project) -> None:
    marked = "\n@pytest.mark.engine('llamacpp --parallel 2')" + SHORT.removeprefix(HEAD).replace(
        "_short", "_two"
    )
    project.write(test_it=SHORT + marked)
    project.run(*AGAINST_ITSELF, "--llmperf-launches", "1").assert_outcomes(passed=2)
    (record,) = project.records()
    started = [(launch["side"], launch["text"]) for launch in record["launches"]]
    assert started == [
        ("base", "llamacpp"),
        ("candidate", "llamacpp"),
        ("candidate", "llamacpp --parallel 2"),
    ]
    assert [len(test["points"][0]["base_runs"]) for test in record["tests"]] == [1, 1]


@pytest.mark.beside_others
def test_sides_in_unlike_environments_are_not_compared(project: Project) -> None:
    project.write(
        test_it=SHORT,
        conftest="""
        import itertools
        from pytest_llmperf.places.local import LocalServer

        honest, drivers = LocalServer.environment, itertools.count(550)
        LocalServer.environment = lambda self: {**honest(self), "driver": str(next(drivers))}
        """,
    )
    result = project.run(*AGAINST_ITSELF)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["the base and the candidate are in unlike environments, *: driver: 550 → 551"]
    )
    assert project.records()[0]["tests"][0]["verdict"] == "invalid"


@pytest.mark.beside_others
def test_a_budget_ends_the_rounds(project: Project) -> None:
    project.write(test_it=SHORT)
    result = project.run(*AGAINST_ITSELF, "--llmperf-launches", "3..8", "--llmperf-budget", "1s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["the budget of 1 s has no time for more than 1 launch a side: 1 test would have had another"]
    )
    assert launches(project.records()[0]) == [("base", 1), ("candidate", 1)]


@pytest.mark.parametrize("where", ["round 1 of 2, base", "round 1 of 2, candidate", "round 2 of 2, base"])
def test_ctrl_c_leaves_nothing_and_keeps_what_was_measured(project: Project, where: str) -> None:
    project.write(test_it=SHORT.replace("requests=10", "requests=2000"))
    process = project.start(*AGAINST_ITSELF, "--llmperf-launches", "2", "--llmperf-requests", "50")
    until(process, f"{where}, measuring")
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert project.nothing_is_left()
    (record,) = project.records()
    assert record["status"] == "interrupted"
    runs = [sides_of(point) for test in record["tests"] for point in test["points"]]
    assert (
        runs
        == {
            "round 1 of 2, base": [],
            "round 1 of 2, candidate": [{"base_runs": [(1, 1)], "runs": []}],
            "round 2 of 2, base": [{"base_runs": [(1, 1)], "runs": [(1, 1), (2, 2)]}],
        }[where]
    )


@pytest.mark.beside_others
def test_under_xdist_each_test_has_its_launches_to_itself(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_it=SHORT)
    project.run(*AGAINST_ITSELF, "--llmperf-launches", "2", "-n", "1").assert_outcomes(passed=1)
    (record,) = project.records()
    assert launches(record) == [("base", 1), ("candidate", 1), ("candidate", 2), ("base", 2)]


@pytest.mark.beside_others
def test_two_servers_that_run_already_are_one_launch_each_however_often_they_are_measured(
    project: Project,
) -> None:
    project.write(
        test_it=HEAD + "\ndef test_url(llmperf):\n    llmperf(WORKLOAD, concurrency=2, requests=40)\n"
    )
    with TruthServer(ttft_s=0.02, itl_s=0.002) as base, TruthServer(ttft_s=0.02, itl_s=0.002) as candidate:
        sides = ("--llmperf", "--llmperf-engine", candidate.url, "--llmperf-against", base.url)
        for rounds in ((), ("--llmperf-launches", "2")):
            project.run(*sides, *LENIENT, *rounds).assert_outcomes(passed=1)
    once, twice = sorted(project.records(), key=lambda record: len(record["launches"]))
    (point,) = once["tests"][0]["points"]
    assert sides_of(point) == {"base_runs": [(1, 1)], "runs": [(1, 1)]}
    (point,) = twice["tests"][0]["points"]
    assert sides_of(point) == {"base_runs": [(1, 1), (1, 2)], "runs": [(1, 1), (1, 2)]}
    assert launches(twice) == [("base", 1), ("candidate", 1), ("candidate", 1), ("base", 1)]
