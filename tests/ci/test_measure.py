from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.ci.loading import MEASURE, load

script = load(MEASURE)
NOTHING = dict.fromkeys(("tests", "engine", "against", "baseline", "args"), "")


def test_what_is_not_said_is_left_to_the_configuration() -> None:
    words = script.command(NOTHING, Path("/d"))[1:]
    assert words[:3] == ["-m", "pytest", "--llmperf"]
    assert not [word for word in words if word.startswith(("--llmperf-engine", "--llmperf-against"))]
    assert "--junitxml=/d/junit.xml" in words


HOSTILE = ("$(touch x); `id`", "--collect-only", "a 'b", '"', "\n-x", "vllm --flag 'x y'")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_value_is_one_word_whatever_it_is(hostile: str) -> None:
    words = script.command({**NOTHING, "engine": hostile, "against": hostile}, Path("/d"))
    assert [word for word in words if hostile in word] == [
        f"--llmperf-engine={hostile}",
        f"--llmperf-against={hostile}",
    ]


def test_arguments_and_tests_are_words_as_in_a_shell() -> None:
    said = {**NOTHING, "args": "-k 'a or b' --llmperf-budget 20m", "tests": "perf/ 'my tests/t.py'"}
    assert script.command(said, Path("/d"))[-6:] == [
        *shlex.split(said["args"]),
        "perf/",
        "my tests/t.py",
    ]
