"""In one session with pytest-benchmark."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.acceptance.conftest import Project

BOTH = """
from pytest_llmperf import Workload

def test_sorting(benchmark):
    assert benchmark(sorted, [3, 1, 2]) == [1, 2, 3]

def test_chat(llmperf):
    llmperf(Workload(input_tokens=16, output_tokens=8), concurrency=1, requests=4)
"""
STRICT = """
[pytest]
filterwarnings = error
"""
ONCE = ("--llmperf", "--llmperf-launches", "1", "--benchmark-max-time", "0.01")


def outcomes(project: Project, *options: str) -> tuple[dict[str, int], str]:
    """A measurement that a busy machine made invalid counts as made."""
    project.write(test_both=BOTH)
    (project.path / "pytest.ini").write_text(STRICT)
    result = project.run(*ONCE, *options)
    found = result.parseoutcomes()
    text = result.stdout.str()
    if "\nthe measurement is invalid:" in text:
        found["passed"] = found.get("passed", 0) + found.pop("errors", found.pop("error", 0))
    return found, text


@pytest.mark.beside_others
@pytest.mark.parametrize(
    ("options", "expected", "starts"),
    [
        (("--benchmark-only",), {"passed": 1, "skipped": 1}, 0),
        (("--benchmark-skip",), {"passed": 1, "skipped": 1}, 1),
        (("-n", "2"), {"passed": 2}, 1),
    ],
)
def test_each_plugin_has_its_options_to_itself(
    options: tuple[str, ...], expected: dict[str, int], starts: int, project: Project
) -> None:
    found, text = outcomes(project, *options)
    assert found == expected, text
    assert project.starts() == starts


@pytest.mark.parametrize("theirs", ["--benchmark-json", "--llmperf-json"])
@pytest.mark.beside_others
def test_two_outputs_are_two_files(theirs: str, project: Project) -> None:
    project.write(test_both=BOTH)
    result = project.run(*ONCE, theirs, "one.json", "--llmperf-benchmark-json", "./one.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"*--llmperf-benchmark-json: ./one.json is what {theirs} writes: name another file"]
    )
    assert not (project.path / "one.json").exists()


@pytest.mark.beside_others
def test_each_plugin_writes_a_file_of_its_own_and_both_are_compared(project: Project) -> None:
    found, text = outcomes(
        project, "--benchmark-json", "theirs.json", "--llmperf-benchmark-json", "ours.json"
    )
    assert found == {"passed": 2}, text
    theirs, ours = (json.loads((project.path / f"{name}.json").read_text()) for name in ("theirs", "ours"))
    assert [one["name"] for one in theirs["benchmarks"]] == ["test_sorting"]
    assert {one["extra_info"]["test"] for one in ours["benchmarks"]} <= {"test_both.py::test_chat"}
    for one in ours["benchmarks"]:
        assert theirs["benchmarks"][0].keys() == one.keys()
    compared = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", "theirs.json", "ours.json"],
        cwd=project.path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "test_sorting (theirs)" in compared.stdout
    # What llmperf report makes of the record is the same.
    again = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest_llmperf.cli",
            "report",
            *map(str, project.path.glob(".llmperf/runs/*.json")),
            "--benchmark-json",
            "again.json",
        ],
        cwd=project.path,
        capture_output=True,
        text=True,
    )
    assert again.returncode == 0, again.stderr
    assert json.loads((project.path / "again.json").read_text()) == ours
