"""What a job at GitHub gets: by the action's own script, and under pytest-xdist."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.acceptance.conftest import Project
from tests.ci.loading import MEASURE
from tests.report.test_annotations import commands_in

TESTS = """
import pytest
from pytest_llmperf import Workload, slo, sweep

@slo(ttft_p50_ms=0.001)
@sweep(rates=[4], requests=4)
def test_chat(llmperf, record_property):
    record_property("mine", "1")
    llmperf(Workload(input_tokens=64, output_tokens=16))

@pytest.mark.engine("llamacpp --no-such '::error::owned ##[error]owned'")
def test_dead(llmperf):
    llmperf(Workload(input_tokens=64, output_tokens=16), rate=4, requests=4)
"""


def at_github(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The files that a runner gives to a job."""
    files = {
        name: project.path / name.lower() for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "RUNNER_TEMP")
    }
    for name, path in {**files, "GITHUB_WORKSPACE": project.path.parent}.items():
        monkeypatch.setenv(name, str(path))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    return files


def check_annotations(output: str, folder: str) -> None:
    found = commands_in(output)
    assert sorted({command.properties["title"].split(": ")[1] for command in found}) == [
        "test_chat",
        "test_dead",
    ]
    assert {command.properties["file"] for command in found} == {f"{folder}/test_it.py"}
    assert {command.properties["line"] for command in found} == {"4", "10"}
    assert "owned" in "".join(command.data for command in found)


def properties_of(junit: Path, test: str) -> dict[str, str]:
    (case,) = [case for case in ElementTree.parse(junit).iter("testcase") if case.attrib["name"] == test]
    return {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}


@pytest.mark.beside_others
def test_the_action_leaves_all_that_a_job_needs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    files = at_github(project, monkeypatch)
    project.write(test_it=TESTS)
    inputs = {
        "TESTS": "test_it.py",
        "ENGINE": "",
        "AGAINST": "",
        "BASELINE": "",
        "ARGS": "--llmperf-launches 1",
    }
    ran = subprocess.run(
        [sys.executable, str(MEASURE)],
        cwd=project.path,
        env={**os.environ, **{f"INPUT_{name}": value for name, value in inputs.items()}},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    check_annotations(ran.stdout, project.path.name)
    told = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    record = json.loads(Path(told["record"]).read_text())
    assert told["verdict"] in ("slo broken", "error")
    assert [test["test"] for test in record["tests"]] == ["test_it.py::test_chat"]
    comment = Path(told["markdown"]).read_text()
    assert comment.startswith("<!-- llmperf:llamacpp -->\n")
    assert "`test_dead`" in comment
    assert files["GITHUB_STEP_SUMMARY"].read_text().strip() == comment.strip()
    found = properties_of(Path(told["directory"], "junit.xml"), "test_chat")
    assert found["mine"] == "1"
    assert found["llmperf.verdict"] == record["tests"][0]["verdict"]
    assert float(found["llmperf.ttft_p50_ms at 4/s"]) > 0
    assert properties_of(Path(told["directory"], "junit.xml"), "test_dead") == {"llmperf.verdict": "error"}
    assert len(list(Path(told["directory"], "logs").iterdir())) == 2


@pytest.mark.beside_others
def test_workers_tell_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    files = at_github(project, monkeypatch)
    project.write(test_it=TESTS)
    ran = project.run(
        "--llmperf", "-n", "1", "--llmperf-launches", "1", "--junitxml", "j.xml", "-p", "no:cacheprovider"
    )
    check_annotations(ran.stdout.str(), project.path.name)
    assert files["GITHUB_STEP_SUMMARY"].read_text().count("<!-- llmperf:") == 1
    found = properties_of(project.path / "j.xml", "test_chat")
    assert (found["mine"], found["llmperf.launches"]) == ("1", "1")


@pytest.mark.beside_others
def test_a_job_in_which_nothing_is_found_says_so(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    files = at_github(project, monkeypatch)
    inputs = {"TESTS": "", "ENGINE": "", "AGAINST": "", "BASELINE": "", "ARGS": "--no-such-option"}
    ran = subprocess.run(
        [sys.executable, str(MEASURE)],
        cwd=project.path,
        env={**os.environ, **{f"INPUT_{name}": value for name, value in inputs.items()}},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 4
    told = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    assert told["verdict"] == "nothing measured"
    assert "an option or an argument is wrong" in Path(told["markdown"]).read_text()
    assert "record" not in told


@pytest.mark.beside_others
def test_whatever_a_test_is_called_or_says_is_no_command(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The failure, the table and the annotation, as pytest prints them."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    project.write(
        test_it="""
        import pytest
        from pytest_llmperf import Workload

        @pytest.mark.parametrize("x", [1], ids=["##[error]name"])
        def test_chat(llmperf, x):
            try:
                llmperf(Workload(input_tokens=64, output_tokens=16), rate=8, requests=4)
            finally:
                pytest.fail("500: ##[error]boom\\n ::error::line", pytrace=False)
        """
    )
    result = project.run("--llmperf", "--llmperf-launches", "1", "-rN")
    shown = [line for line in result.outlines if not line.startswith("____")]  # pytest's own title
    (found,) = commands_in("\n".join(shown))
    assert (
        found.properties["title"] == "llmperf: test_chat[## [error]name]: failed by an assertion of its own"
    )
    assert "500: ## [error]boom" in shown
