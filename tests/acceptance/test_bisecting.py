"""Exit codes for ``git bisect run``."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.acceptance.conftest import Project
from tests.git import Git

BISECT = ("--llmperf", "--llmperf-exit-codes", "bisect")
SHORT = """
import pytest
from pytest_llmperf import Workload, slo
WORKLOAD = Workload(input_tokens=64, output_tokens=4)
"""
TEST = "def test_it(llmperf):\n    llmperf(WORKLOAD, requests=4)\n"
FAILING = "def test_it(llmperf):\n    assert False\n"


@pytest.mark.beside_others
def test_git_bisect_finds_the_commit_that_misses_its_slo(project: Project, git: Git) -> None:
    (project.path / ".gitignore").write_text("__pycache__/\n.pytest_cache/\n.cache/\n")

    def commit(engine: str, body: str, message: str) -> str:
        project.write(test_it=SHORT + body)
        (project.path / "pyproject.toml").write_text(
            f"# {message}\n[tool.pytest.ini_options]\nllmperf_engine = {engine!r}\n"
        )
        return git.commit(message)

    slow = "@slo(ttft_ms=0.001)\n" + TEST
    good = commit("llamacpp", TEST, "good")
    commit("llamacpp", TEST, "harmless")
    commit("lamacpp", TEST, "no engine at all")
    commit("llamacpp", TEST, "harmless again")
    culprit = commit("llamacpp", slow, "too slow")
    commit("llamacpp", slow, "later")
    git("bisect", "start", "HEAD", good)
    found = git("bisect", "run", sys.executable, "-m", "pytest", "-q", *BISECT)
    assert f"{culprit} is the first bad commit" in found
    for word in ("good (exit code 0)", "bad (exit code 1)", "skip (exit code 125)"):
        assert f"git bisect: {word}" in found


@pytest.mark.beside_others  # and an SLO of 1 µs is missed on any machine
@pytest.mark.parametrize(("body", "code"), [(TEST, 0), ("@slo(ttft_ms=0.001)\n" + TEST, 1)])
def test_a_measured_commit_is_good_or_bad(project: Project, body: str, code: int) -> None:
    project.write(test_it=SHORT + body)
    assert project.run(*BISECT).ret == code


@pytest.mark.beside_others
@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        (FAILING, (), 1),
        (FAILING, ("-x",), 1),
        (TEST, ("-k", "nothing"), 125),
        (TEST, ("no_such_file.py",), 125),
        (TEST, ("--llmperf-baseline", "./none"), 125),
        (TEST, ("--llmperf-engine", "llamacpp --no-such-flag"), 125),
        ("@slo(nope=1)\n" + TEST, (), 125),
        ("import nothing_of_this_name\n" + TEST, (), 125),
        ("@pytest.mark.skip\n" + TEST, (), 125),
        (TEST + "    pytest.exit('enough')\n", (), 130),
    ],
)
def test_the_exit_code_says_what_git_is_to_think_of_the_commit(
    project: Project, body: str, options: tuple[str, ...], code: int
) -> None:
    project.write(test_it=SHORT + body)
    assert project.run(*BISECT, *options).ret == code


@pytest.mark.beside_others
def test_the_codes_are_the_same_under_xdist(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_it=FAILING, test_plain="def test_plain():\n    pass\n")
    result = project.run(*BISECT, "-n", "2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["git bisect: bad (exit code 1)"])
    assert project.run(*BISECT, "-n", "2", "-x").ret == 1
    assert project.run(*BISECT, "-n", "2", "test_plain.py").ret == 125
    project.write(test_broken="import nothing_of_this_name\n")
    assert project.run(*BISECT, "-n", "2", "test_plain.py", "test_broken.py").ret == 125


@pytest.mark.beside_others
def test_ctrl_c_stops_the_bisection(project: Project) -> None:
    project.write(test_it=SHORT + "def test_it(llmperf):\n    llmperf(WORKLOAD, rate=4, duration=60)\n")
    process = project.start(*BISECT)
    while not project.starts():
        assert process.poll() is None
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output


@pytest.mark.beside_others
def test_codes_that_are_not_asked_for_are_those_of_pytest(project: Project) -> None:
    project.write(test_it=SHORT + TEST)
    assert project.run("--llmperf", "-k", "nothing").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert project.run("--llmperf", "no_such_file.py").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.beside_others
def test_without_llmperf_a_commit_is_not_called_good(project: Project) -> None:
    project.write(test_it=SHORT + TEST)
    result = project.run("--llmperf-exit-codes", "bisect")
    assert result.ret == 125
    result.stderr.fnmatch_lines(["ERROR: --llmperf-exit-codes does nothing without --llmperf"])
