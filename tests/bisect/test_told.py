"""Real bisections of git's, and what is read of them."""

from __future__ import annotations

import os
import subprocess

import pytest

from pytest_llmperf.bisect.told import first_told, is_last
from pytest_llmperf.keep.repository import Repository
from tests.git import Git


@pytest.fixture
def made(git: Git) -> list[str]:
    return [git.commit(f"number {number}") for number in range(6)]


def told(git: Git, answer: str) -> str:
    """What git says of an answer; it fails where only skipped commits are left."""
    command = ["git", "-C", str(git.directory), "bisect", answer]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    return ran.stdout + ran.stderr


@pytest.mark.parametrize("words", [("bad", "good"), ("new", "old")])
def test_the_ends_are_the_first_that_git_was_told_of(
    git: Git, made: list[str], words: tuple[str, str]
) -> None:
    repository = Repository(git.directory)
    assert first_told(repository) == {}
    if words[0] == "new":
        git("bisect", "start")
        git("bisect", words[0], made[5])
        git("bisect", words[1], made[0])
    else:
        git("bisect", "start", made[5], made[0])
    git("bisect", words[0], made[4])
    git("bisect", words[1], made[1])
    assert first_told(repository) == {"good": made[0], "bad": made[5]}


@pytest.mark.parametrize("skipped", [set(), {2, 3}, {1, 4}, {1, 2, 3, 4}])
@pytest.mark.parametrize("culprit", [1, 3, 5])
def test_the_last_answer_is_known_as_such(git: Git, made: list[str], culprit: int, skipped: set[int]) -> None:
    """Whether it is the last, git itself says: it has checked out another commit, or ends."""
    repository = Repository(git.directory)
    git("bisect", "start", made[5], made[0])
    for _ in range(6):
        here = git("rev-parse", "HEAD")
        number = made.index(here)
        answer = "skip" if number in skipped else "bad" if number >= culprit else "good"
        expected = is_last(repository, here, answer)
        said = told(git, answer)
        ended = "is the first bad commit" in said or "only 'skip'ped commits left" in said
        assert expected == ended, said
        if ended:
            return
    raise AssertionError("git does not end")


def test_without_a_bisection_every_answer_is_the_last(git: Git, made: list[str]) -> None:
    repository = Repository(git.directory)
    assert all(is_last(repository, made[3], answer) for answer in ("good", "bad", "skip"))
