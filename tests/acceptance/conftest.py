"""A project of its own for each test, in which pytest runs as a person would run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git import Git
from tests.leftovers import MARK, gone
from tests.schemas import checked

CHAT = """
from pytest_llmperf import Workload, slo, sweep

@slo(ttft_ms=2000, tpot_ms=500)
@sweep(rates=[4], duration=1)
def test_chat(llmperf):
    llmperf(Workload(input_tokens=64, output_tokens=16))
"""


UNHURRIED = """
def pytest_sessionstart(session):
    if session.config.getoption("--llmperf"):
        from pytest_llmperf.load import health, warmup
        health.MAX_LAG_MS = 1e6
        warmup.MAX_BURSTS = 2
"""
"""However busy the machine is, what is measured counts, and is measured once."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """What measures has the machine to itself, but for those that hold whatever the measurement is worth."""
    if item.get_closest_marker("beside_others") is None:
        item.add_marker("alone")


def was_measured(result: pytest.RunResult, tests: int = 1) -> bool:
    """Whether all tests were measured; on a busy machine what was measured may be called invalid."""
    outcomes = result.parseoutcomes()
    errors = outcomes.get("errors", outcomes.get("error", 0))
    invalid = result.stdout.str().count("\nthe measurement is invalid:")
    return invalid == errors and outcomes.get("passed", 0) + errors == tests


class Project:
    """A directory with tests, and pytest in it."""

    def __init__(self, pytester: pytest.Pytester, mark: str, head: str) -> None:
        """``head`` is what every conftest.py of the project begins with."""
        self.pytester, self.mark, self._head = pytester, mark, head
        self.path: Path = pytester.path

    def run(self, *args: str) -> pytest.RunResult:
        """Run pytest to its end."""
        return self.pytester.runpytest_subprocess(*args, timeout=120)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Start pytest and leave it running."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *args],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def write(self, **files: str) -> None:
        if "conftest" in files:
            files["conftest"] = self._head + textwrap.dedent(files["conftest"])
        self.pytester.makepyfile(**files)

    def records(self, *added: str) -> list[dict[str, Any]]:
        """Each of them as its schema says, but for what a hook added."""
        paths = sorted(self.path.glob(".llmperf/runs/*.json"))
        return [checked(json.loads(path.read_text()), *added) for path in paths]

    def baselines(self) -> list[Path]:
        return sorted(self.path.glob(".llmperf/baselines/*.json"))

    def starts(self) -> int:
        """How many engines were started, by their logs."""
        return len(list(self.path.glob(".llmperf/logs/*.log")))

    def nothing_is_left(self) -> bool:
        scratch = [*self.path.rglob("*.part"), *self.path.rglob(".tiny-*")]
        return gone(self.mark) and not scratch


@pytest.fixture
def project(
    request: pytest.FixtureRequest, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    mark = uuid.uuid4().hex
    # Whatever falls back to a temporary directory is to be found, and found empty.
    (scratch := pytester.path.parent / f"{pytester.path.name}-tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    monkeypatch.setenv(MARK, mark)
    # Tests that run at the same time are not to wait for each other.
    monkeypatch.setenv("LLMPERF_LEASE_DIR", str(pytester.path.parent / f"{pytester.path.name}-leases"))
    # A session of a project is not one of the workers that test it.
    for variable in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(variable)
    # Other plugins that are installed here take a third of the time that a short session takes.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest -p no:anyio")
    made = Project(pytester, mark, UNHURRIED if request.node.get_closest_marker("beside_others") else "")
    made.write(conftest="")
    yield made
    assert made.nothing_is_left()


@pytest.fixture
def git(project: Project, monkeypatch: pytest.MonkeyPatch) -> Git:
    """The project's directory as a repository."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    return Git(project.path)
