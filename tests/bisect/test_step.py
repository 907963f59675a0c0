"""``llmperf step``, answered from diaries: nothing is launched."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pytest_llmperf.bisect import step
from pytest_llmperf.bisect.commits import Recipe
from pytest_llmperf.bisect.order import StepOrder
from pytest_llmperf.bisect.pair import Pair
from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.bisect.run import show_log
from pytest_llmperf.bisect.step import run_step
from pytest_llmperf.declare.order import Bisected, StepCode
from tests.bisect.histories import TTFT
from tests.git import Git


class Launching:
    """In place of what launches, which has tests of its own: the commit at hand has a level, the bad one is
    20 % worse, and launches vary by 2 %."""

    level, bad, asked = 1.0, 1.2, 0

    def __init__(self, *_: object) -> None:
        self._random = np.random.default_rng(3)

    def compare(self, left: int, right: int) -> Pair:
        Launching.asked += 1
        if math.isnan(self.level) and right == 1:
            raise Unusable(right, "it does not build")
        factor = self.level if right == 1 else self.bad
        noise = np.exp(0.02 * self._random.standard_normal(2))
        return Pair(left, right, {TTFT: (100.0 * noise[0], 100.0 * factor * noise[1])}, Launching.asked, 60.0)


@pytest.fixture
def repository(git: Git, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Git:
    for number in range(5):
        git.commit(f"number {number}")
    git("bisect", "start", "HEAD", "HEAD~4")
    monkeypatch.setattr(step, "PytestOracle", Launching)
    monkeypatch.setattr(Launching, "asked", 0)
    monkeypatch.chdir(tmp_path)
    return git


def judged(git: Git) -> int:
    return run_step(StepOrder(Recipe("vllm@{checkout}"), ["t.py"], Path("kept"), 8, repository=git.directory))


@pytest.mark.parametrize(
    ("level", "code", "words"),
    [
        (1.0, StepCode.GOOD, "is good (exit code 0): bad with a probability of "),
        (1.2, StepCode.BAD, "is bad (exit code 1): bad with a probability of "),
        (math.nan, StepCode.SKIP, "is skip (exit code 125): it does not build"),
    ],
)
def test_the_commit_is_like_the_good_or_like_the_bad_one(
    level: float,
    code: StepCode,
    words: str,
    repository: Git,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Launching, "level", level)
    assert judged(repository) == code
    assert words in capsys.readouterr().out
    if code is not StepCode.SKIP:
        assert show_log(None, Path("kept")) == Bisected.FOUND
        log = capsys.readouterr().out
        assert log.count("begun on ") == 2  # of the ends, and of the commit
        # The same commit again, and the ends for the next one, are known.
        asked = Launching.asked
        assert judged(repository) == code
        assert Launching.asked == asked


class Interrupted(Launching):
    """Someone presses Ctrl-C while the commit at hand is measured."""

    def __init__(self, axis: Axis, *_: object) -> None:
        super().__init__()
        self._axis = axis

    def compare(self, left: int, right: int) -> Pair:
        for position in (left, right):
            self._axis.subject(position)
        if right == 1:
            raise KeyboardInterrupt
        return super().compare(left, right)


def test_of_an_interrupted_step_only_what_the_next_one_needs_stays(
    repository: Git, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(step, "PytestOracle", Interrupted)
    assert judged(repository) == StepCode.INTERRUPTED
    (trees,) = Path("kept").absolute().glob("*/trees")
    assert [one.name for one in trees.iterdir()] == [repository("rev-parse", "main~4")[:12]]
    assert f"what was made of the ends stays in {trees}, " in capsys.readouterr().out
    listed = repository("worktree", "list", "--porcelain").split("\n\n")
    assert len(listed) == 2


@pytest.mark.parametrize(("name", "code"), [("main~4", StepCode.GOOD), ("main", StepCode.BAD)])
def test_an_end_needs_no_measurement(name: str, code: StepCode, repository: Git) -> None:
    repository("checkout", "--quiet", name)
    assert judged(repository) == code
    assert Launching.asked == 0


def test_ends_that_do_not_differ_stop_git(
    repository: Git, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Launching, "bad", 1.0)
    assert judged(repository) == StepCode.STOP
    assert "the good and the bad commit: no difference after " in capsys.readouterr().err
