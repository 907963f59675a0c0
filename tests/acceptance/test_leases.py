"""Test runs that would disturb each other wait, and what disturbs them all the same is named."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured
from tests.acceptance.test_processes import until
from tests.places import smi

ON_GPUS = """
from pytest_llmperf.engines.llamacpp import LlamaCpp

class OnGpus(LlamaCpp):
    name = "ongpus"
    def gpus(self, subject):
        return int(dict(subject.env).get("HOW_MANY", 1))

def pytest_llmperf_engines():
    return [OnGpus()]
"""


@pytest.fixture
def two(project: Project, monkeypatch: pytest.MonkeyPatch) -> smi.Gpus:
    """Two GPUs, as far as nvidia-smi tells, for an engine that believes to run on one."""
    project.write(conftest=ON_GPUS, test_it=CHAT)
    return smi.install(project.path.parent / f"{project.path.name}-bin", monkeypatch, 2)


@contextmanager
def measuring(project: Project, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A test run that measures for as long as this lasts; the tests are the ordinary ones again then."""
    project.write(test_it=CHAT.replace("duration=1", "duration=60"))
    process = project.start("--llmperf", *options)
    try:
        until(process, "measuring")
        project.write(test_it=CHAT)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.beside_others
def test_a_second_run_waits_until_the_first_has_ended(project: Project) -> None:
    with measuring(project) as first:
        second = project.start("--llmperf")
        waiting = until(second, "waiting for")[-1]
        assert (
            f"waiting for the machine's CPU: it is leased by pytest (pid {first.pid}, llamacpp, for "
            in waiting
        )
    until(second, "starting llamacpp")
    output, _ = second.communicate(timeout=60)
    assert "record: " in output


@pytest.mark.beside_others
def test_a_run_that_is_killed_keeps_nobody_waiting(project: Project) -> None:
    project.write(test_it=CHAT.replace("duration=1", "duration=60"))
    first = project.start("--llmperf")
    until(first, "measuring")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    project.write(test_it=CHAT)
    assert was_measured(project.run("--llmperf"))


@pytest.mark.beside_others
def test_the_wait_has_an_end_that_says_who_was_waited_for(project: Project) -> None:
    with measuring(project) as first:
        result = project.run("--llmperf", "--llmperf-lease-timeout", "1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "waited 1 s (--llmperf-lease-timeout) for the machine's CPU: it is leased by pytest "
            f"(pid {first.pid}, *"
        ]
    )


@pytest.mark.beside_others
def test_workers_of_xdist_take_one_lease(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_a=CHAT, test_b=CHAT, test_c=CHAT)
    result = project.run("--llmperf", "-n", "2")
    assert was_measured(result, 3)
    assert project.starts() == 1


@pytest.mark.beside_others
def test_a_run_inside_a_run_does_not_wait_for_ever(project: Project) -> None:
    project.write(
        test_it=CHAT,
        test_outer=f"""
        import subprocess, sys
        from pytest_llmperf import Workload

        def test_outer(llmperf):
            llmperf(Workload(input_tokens=8, output_tokens=4), requests=2)
            inner = [{sys.executable!r}, "-m", "pytest", "--llmperf", "test_it.py"]
            said = subprocess.run(inner, capture_output=True, text=True, timeout=100).stdout
            assert "this would wait for itself: it is leased by pytest" in said
        """,
    )
    assert was_measured(project.run("--llmperf", "test_outer.py"))


@pytest.mark.beside_others
def test_runs_on_different_gpus_do_not_wait(two: smi.Gpus, project: Project) -> None:
    options = ("--llmperf-engine", "ongpus")
    with measuring(project, *options) as first:
        assert was_measured(project.run("--llmperf", *options))
        refused = project.run("--llmperf", *options, "--llmperf-gpus", "0", "--llmperf-lease-timeout", "1")
    refused.stdout.fnmatch_lines(
        [f"waited 1 s * for a GPU: 0 is leased by pytest (pid {first.pid}, ongpus, *"]
    )
    launched = [record["launches"] for record in project.records() if record["launches"]]
    assert [launch["hardware"]["gpus"][0]["index"] for launch in launched[-1]] == [1]


@pytest.mark.beside_others
def test_a_disturbed_measurement_is_recorded_and_told_as_such(two: smi.Gpus, project: Project) -> None:
    two.say(1, {"memory.used": "2000", "power.limit": "350.00"})
    project.write(
        test_it=CHAT.replace("def test_chat(llmperf):\n", "def test_chat(llmperf):\n    heat()\n")
        + f"""
import json
from pathlib import Path

def heat():
    path = Path({str(project.path.parent / f"{project.path.name}-bin" / "nvidia-smi.json")!r})
    told = json.loads(path.read_text())
    told["gpus"][1]["clocks_event_reasons_counters.hw_thermal_slowdown"] = "1200000"
    path.write_text(json.dumps(told))
"""
    )
    result = project.run("--llmperf", "--llmperf-engine", "ongpus", "--llmperf-gpus", "1")
    assert was_measured(result)
    limited = "GPU 1 is limited to 350 W, where 700 W are its default"
    shared = "GPU 1 is shared: 2000 MiB were in use before ongpus started"
    hot = "GPU 1 was throttled: hardware thermal slowdown for 1.2 s"
    result.stdout.fnmatch_lines([f"ongpus: {told}" for told in (limited, shared, hot)])
    (record,) = project.records()
    (launch,) = record["launches"]
    assert launch["disturbances"] == [limited, shared]
    gpu = launch["hardware"]["gpus"][0]
    assert (gpu["index"], gpu["uuid"], gpu["memory_before_mib"], gpu["memory_after_mib"]) == (
        *(1, smi.uuid(1)),
        *(2000, 2000),
    )
    (test,) = record["tests"]
    assert test["points"][0]["runs"][0]["disturbances"] == [limited, shared, hot]
    assert test["environment"]["accelerators"] == "NVIDIA H100 80GB HBM3"
    assert test["environment"]["power limit"] == "350 W"


@pytest.mark.beside_others
def test_another_gpu_or_driver_is_not_compared_and_named(two: smi.Gpus, project: Project) -> None:
    options = ("--llmperf", "--llmperf-engine", "ongpus", "--llmperf-launches", "1")
    project.run(*options, "--llmperf-update").assert_outcomes(passed=1)
    two.say(0, {"name": "NVIDIA A10", "driver_version": "580.1"})
    project.run(*options, "--llmperf-update").assert_outcomes(passed=1)
    two.say(0, {"power.limit": "600.00"})
    project.run(*options).stdout.fnmatch_lines(
        [
            "  baseline: not compared: all 2 baselines are from other environments (the closest: "
            "power limit: 700 W → 600 W)"
        ]
    )
    assert len(project.baselines()) == 2


@pytest.mark.beside_others
def test_more_gpus_than_there_are(two: smi.Gpus, project: Project) -> None:
    result = project.run("--llmperf", "--llmperf-engine", "HOW_MANY=3 ongpus")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["HOW_MANY=3 ongpus needs 3 GPUs; there are 2 here"])
    assert project.starts() == 0
