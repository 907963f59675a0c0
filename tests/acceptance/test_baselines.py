"""Baselines from one accepted run to the next, and those of somewhere else."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.acceptance.conftest import CHAT, Project
from tests.git import Git

pytestmark = pytest.mark.beside_others
# Nine requests in ten can be missing before that is worse.
STEADY = (
    *("--llmperf", "--llmperf-launches", "1"),
    *("--llmperf-gate", "requests_per_s", "--llmperf-tolerance", "90%"),
)


def test_a_baseline_that_replaces_another_knows_what_it_grew_from(project: Project) -> None:
    project.write(test_it=CHAT)
    project.run(*STEADY, "--llmperf-update").assert_outcomes(passed=1)
    (path,) = project.baselines()
    first = json.loads(path.read_text())
    assert (first["origins"], first["history"]) == ({}, [])
    project.run(*STEADY, "--llmperf-update").assert_outcomes(passed=1)
    second = json.loads(path.read_text())
    (point,) = second["points"]
    # Kept for the SLO and not in the gate, so nothing was decided about it.
    origin = second["origins"][point]["ttft_p95_ms"]
    assert origin["values"] == first["points"][point]["ttft_p95_ms"]
    assert (origin["accepted"], origin["steps"]) == (first["accepted"], 1)
    assert [past["accepted"] for past in second["history"]] == [first["accepted"]]


def test_baselines_of_another_directory_are_written_and_compared_with(project: Project) -> None:
    project.write(test_it=CHAT)
    golden = ("--llmperf-baseline", "./golden")
    project.run(*STEADY, *golden, "--llmperf-update").assert_outcomes(passed=1)
    assert project.baselines() == []
    assert len(list((project.path / "golden").glob("*.json"))) == 1
    project.run(*STEADY, *golden).stdout.fnmatch_lines(["*compared with llamacpp, accepted *, 1 launch*"])


def test_a_commit_is_compared_with_what_is_committed_on_a_branch(project: Project, git: Git) -> None:
    project.write(test_it=CHAT)
    project.run(*STEADY, "--llmperf-update").assert_outcomes(passed=1)
    git.commit("accepted")
    for path in project.baselines():
        path.unlink()
    compared = project.run(*STEADY, "--llmperf-baseline", "main")
    compared.stdout.fnmatch_lines(["*compared with llamacpp, accepted *, 1 launch*"])
    refused = project.run("--llmperf", "--llmperf-baseline", "mian")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["ERROR: --llmperf-baseline: 'mian': no such path, and no such *(did you mean main[?])"]
    )
    ran = subprocess.run(["git", "status", "--porcelain"], cwd=project.path, capture_output=True, text=True)
    assert " D .llmperf/baselines/" in ran.stdout
