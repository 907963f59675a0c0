"""The script that measures, of the action, and the one that installs."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_llmperf.declare.options import OUTPUTS
from tests.ci.loading import INSTALL, MEASURE, load

script = load(MEASURE)
NOTHING = dict.fromkeys(("tests", "engine", "against", "baseline", "args"), "")


def test_what_is_not_said_is_left_to_the_configuration() -> None:
    words = script.command(NOTHING, Path("/d"))[1:]
    assert words[:3] == ["-m", "pytest", "--llmperf"]
    assert not [word for word in words if word.startswith(("--llmperf-engine", "--llmperf-against"))]
    assert "--junitxml=/d/junit.xml" in words
    assert {word.partition("=")[0].removeprefix("--llmperf-") for word in words} & set(OUTPUTS) == set(
        script.FILES
    )


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


def test_an_interpreter_that_has_all_is_taken_as_it_is(tmp_path: Path) -> None:
    environment = {
        "INPUT_INSTALL": " none ",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "out"),
    }
    subprocess.run([sys.executable, str(INSTALL)], env=environment, check=True, timeout=60)
    assert (tmp_path / "out").read_text() == f"python={sys.executable}\n"


def test_logs_of_this_run_are_kept_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (logs := Path(".llmperf/logs")).mkdir(parents=True)
    for name, written in (("old.log", 1000.0), ("new.log", 3000.0), ("new.txt", 3000.0)):
        (logs / name).write_text(name)
        os.utime(logs / name, (written, written))
    script.keep_logs(tmp_path / "kept", since=2000.0)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["new.log"]


INTERRUPTED = """
import pathlib, time

def test_long():
    pathlib.Path("begun").touch()
    try:
        time.sleep(60)
    finally:
        pathlib.Path("cleaned up").touch()
"""


def test_a_job_that_is_cancelled_lets_pytest_clean_up(tmp_path: Path) -> None:
    (tmp_path / "test_long.py").write_text(INTERRUPTED)
    environment = {
        **os.environ,
        **{f"INPUT_{name.upper()}": value for name, value in NOTHING.items()},
        "INPUT_TESTS": "test_long.py",
        "INPUT_ARGS": "-p pytest_llmperf.plugin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the others take their time
        "RUNNER_TEMP": str(tmp_path / "temp"),
        "GITHUB_OUTPUT": str(tmp_path / "out"),
    }
    with subprocess.Popen(
        [sys.executable, str(MEASURE)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "begun").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)  # to this process alone, as a runner does
        assert process.wait(60) == pytest.ExitCode.INTERRUPTED
    assert (tmp_path / "cleaned up").exists()
    assert "verdict=nothing measured" in (tmp_path / "out").read_text()
