"""Several launches: tests run more than once, and pytest must not notice."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured
from tests.servers import TruthServer

SHORT = """
from pytest_llmperf import Workload, slo
WORKLOAD = Workload(input_tokens=8, output_tokens=4)
"""


@pytest.mark.beside_others
def test_launches_need_no_performance_test(project: Project) -> None:
    project.write(test_it=CHAT, test_plain="def test_plain():\n    pass\n")
    project.run("--llmperf", "--llmperf-launches", "3", "test_plain.py").assert_outcomes(passed=1)
    project.run("--llmperf", "--llmperf-launches", "2", "-k", "nothing").assert_outcomes(deselected=2)
    assert project.starts() == 0


@pytest.mark.beside_others
def test_each_launch_serves_all_tests_before_the_next_begins(project: Project) -> None:
    project.write(
        test_it=CHAT
        + CHAT.replace("_chat", "_other")
        + """
import pytest
rounds = []

@pytest.fixture(scope="module")
def module_wide():
    rounds.append("module")
    yield
    assert rounds.count("module") == 1

def test_fails_in_the_second_round(llmperf, module_wide):
    llmperf(Workload(input_tokens=8, output_tokens=4), requests=2)
    rounds.append("round")
    assert rounds.count("round") < 2
"""
    )
    result = project.run("--llmperf", "--llmperf-launches", "3")
    result.assert_outcomes(passed=2, failed=1)
    assert project.starts() == 3
    (record,) = project.records()
    launches = {test["test"].rpartition("::")[2]: test["launches"] for test in record["tests"]}
    assert launches == {"test_chat": 3, "test_other": 3, "test_fails_in_the_second_round": 2}
    assert [launch["launch"] for launch in record["launches"]] == [1, 2, 3]


@pytest.mark.beside_others
def test_a_failure_in_an_early_round_leaves_the_fixtures_of_others_in_order(project: Project) -> None:
    module = """
import pytest

@pytest.fixture(scope="module", autouse=True)
def module_wide():
    yield

"""
    one = module + SHORT + "def test_one(llmperf):\n    llmperf(WORKLOAD, requests=2)\n"
    project.write(test_a=one + "def test_two(llmperf):\n    assert False\n", test_b=one)
    result = project.run("--llmperf", "--llmperf-launches", "2")
    result.assert_outcomes(passed=2, failed=1)


@pytest.mark.beside_others
def test_an_slo_that_is_expected_to_break_is_judged_in_the_last_round(project: Project) -> None:
    project.write(
        test_it=SHORT
        + """
import pytest

@pytest.mark.xfail(strict=True)
@slo(ttft_ms=0.001)
def test_strict(llmperf):
    llmperf(WORKLOAD, requests=2)

@pytest.mark.xfail(strict=True)
def test_raises(llmperf):
    llmperf(WORKLOAD, requests=2)
    raise RuntimeError

def test_skips(llmperf):
    pytest.skip("not now")
"""
    )
    result = project.run("--llmperf", "--llmperf-launches", "2")
    result.assert_outcomes(xfailed=2, skipped=1)


@pytest.mark.beside_others
def test_other_tests_come_first_and_a_failure_stops_at_once_if_asked(project: Project) -> None:
    project.write(
        test_it=SHORT
        + """
def test_fails(llmperf):
    assert False

def test_never(llmperf):
    llmperf(WORKLOAD, requests=2)
""",
        test_plain="""
from pathlib import Path
def test_plain():
    assert not Path(".llmperf").exists()
""",
    )
    result = project.run("--llmperf", "--llmperf-launches", "3", "-x")
    result.assert_outcomes(passed=1, failed=1)
    assert project.starts() == 1


@pytest.mark.beside_others
def test_output_and_properties_of_a_test_are_those_of_one_round(project: Project) -> None:
    project.write(
        test_it=SHORT
        + """
@slo(ttft_ms=0.001)
def test_talks(llmperf, record_property):
    print("hello")
    record_property("colour", "blue")
    llmperf(WORKLOAD, requests=2)
"""
    )
    result = project.run("--llmperf", "--llmperf-launches", "3", "--junitxml", "junit.xml")
    result.assert_outcomes(failed=1)
    assert result.outlines.count("hello") == 1
    assert (project.path / "junit.xml").read_text().count('name="colour"') == 1


def test_each_round_has_its_own_time_out(project: Project) -> None:
    pytest.importorskip("pytest_timeout")
    project.write(
        test_it=SHORT
        + """
import time
def test_one(llmperf):
    time.sleep(1)
    llmperf(WORKLOAD, requests=2)
"""
    )
    # A server that runs already, so that a round is its second of sleep and little else.
    with TruthServer() as server:
        options = ("--llmperf-engine", server.url, "--llmperf-launches", "5", "--timeout", "4.5")
        result = project.run("--llmperf", *options)
    result.assert_outcomes(passed=1)
    (test,) = project.records()[0]["tests"]
    assert len(test["points"][0]["runs"]) == 5
    result.stdout.fnmatch_lines([f"*llmperf: round 2 of 5: connecting to {server.url}*"])
    result.stdout.no_fnmatch_line("*llmperf:*st[ao]*ing http*")  # neither starting nor stopping


@pytest.mark.beside_others
def test_a_crash_with_several_launches_is_blamed_on_the_test_that_crashed(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(
        test_it=SHORT
        + """
import os
def test_one(llmperf):
    llmperf(WORKLOAD, requests=2)

def test_crash(llmperf):
    os._exit(3)

def test_three(llmperf):
    llmperf(WORKLOAD, requests=2)
"""
    )
    result = project.run("--llmperf", "-n", "2", "--llmperf-launches", "2")
    assert was_measured(result, 2)
    assert result.parseoutcomes()["failed"] == 1
    result.stdout.fnmatch_lines(["worker * crashed while running 'test_it.py::test_crash'"])


@pytest.mark.beside_others
def test_performance_tests_have_the_machine_to_themselves_under_xdist(project: Project) -> None:
    pytest.importorskip("xdist")
    plain = "".join(
        f"def test_{i}():\n    begin = time.time()\n    time.sleep(0.2)\n    note('plain', begin)\n"
        for i in range(7)
    )
    note = """
import time
from pathlib import Path

def note(what, begin):
    with open(Path(__file__).with_name("times.txt"), "a") as file:
        file.write(f"{what} {begin} {time.time()}\\n")
"""
    project.write(
        test_plain=note + plain,
        test_it=note
        + SHORT
        + """
def test_one(llmperf):
    begin = time.time()
    llmperf(WORKLOAD, requests=20)
    note("measured", begin)

def test_two(llmperf):
    begin = time.time()
    llmperf(WORKLOAD, requests=20)
    note("measured", begin)
""",
    )
    result = project.run("--llmperf", "-n", "3")
    assert was_measured(result, 9)
    times = [line.split() for line in (project.path / "times.txt").read_text().splitlines()]
    first_measured = min(float(begin) for what, begin, _ in times if what == "measured")
    assert first_measured >= max(float(end) for what, _, end in times if what == "plain")


@pytest.mark.beside_others
def test_launches_from_unlike_machines_are_not_put_together(project: Project) -> None:
    project.write(
        test_it=SHORT + "def test_one(llmperf):\n    llmperf(WORKLOAD, requests=2)\n",
        conftest="""
        import itertools
        from pytest_llmperf.places.local import LocalServer

        honest, drivers = LocalServer.environment, itertools.count(550)
        LocalServer.environment = lambda self: {**honest(self), "driver": str(next(drivers))}
        """,
    )
    result = project.run("--llmperf", "--llmperf-launches", "2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["its launches are from unlike environments, which are never put together: driver: 550 → 551"]
    )
