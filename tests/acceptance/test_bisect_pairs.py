"""Pairs of a bisection as they are measured: real pytest, real llama.cpp."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.bisect.arguments import pair_arguments
from pytest_llmperf.bisect.diary import Replay, keeping
from pytest_llmperf.bisect.events import Asked
from pytest_llmperf.bisect.oracle import PytestOracle
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.pytest_process import run_pytest
from tests.acceptance.conftest import Project
from tests.bisect.histories import Flags
from tests.leftovers import gone
from tests.recorded import entry, point, record, write

TEST = """
from pytest_llmperf import Workload, slo

@slo(ttft_p50_ms=0.001)
def test_chat(llmperf):
    llmperf(Workload(input_tokens=64, output_tokens=8), requests=10)
    assert False, "the test's own opinion"

def test_other(llmperf):
    raise AssertionError("is left out by -k")
"""
AXIS = Flags("llamacpp", "llamacpp --parallel 1", "llamacpp --paralell 1")
GATE = ("--llmperf-gate", "ttft_p50_ms, output_tokens_per_s")


@pytest.fixture(autouse=True)
def at_home(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.path)
    # What would change a pair, and is outranked.
    monkeypatch.setenv("LLMPERF_EXIT_CODES", "bisect")
    project.pytester.makeini("[pytest]\nllmperf_launches = 7\naddopts = -n 2 -x\n")


def valid(runs: list[dict[str, Any]]) -> dict[str, float]:
    """What the run says that counts: one that the machine disturbed is made up for by another."""
    values: dict[str, float] = next(run["values"] for run in runs if not run["health"]["problems"])
    return values


@pytest.mark.beside_others
def test_a_pair_is_measured_whatever_the_test_says_and_a_broken_end_is_named(project: Project) -> None:
    """A missed SLO and a failed assertion keep no figures back."""
    project.write(test_it=TEST)
    asked, told = Asked("flags", "llamacpp", "llamacpp --paralell 1", ("-k", "chat")), list[str]()
    arguments = ("test_it.py", "-k", "chat", *GATE)
    with keeping(project.path / "state", asked, AXIS.positions, told.append) as diary:
        oracle = Replay(PytestOracle(AXIS, arguments, diary.directory, tell=told.append), diary)
        first, second = oracle.compare(0, 1), oracle.compare(0, 1)
        with pytest.raises(Unusable, match=r"it does not know the flag --paralell .*; it said: ") as caught:
            oracle.compare(0, 2)
        assert caught.value.position == 2
    for pair in (first, second):
        metrics = {question.metric for question in pair.figures}
        assert metrics == {"ttft_p50_ms", "output_tokens_per_s"}
        assert {question.test for question in pair.figures} == {"test_it.py::test_chat"}
    sides = []
    for pair in (first, second):
        record = json.loads(Path(pair.record).read_text())
        sides.append([launch["text"] for launch in record["launches"]])
        (point,) = record["tests"][0]["points"]
        for question, values in pair.figures.items():
            by_text = {
                record["tests"][0]["subject"]["text"]: valid(point["runs"])[question.metric],
                record["tests"][0]["compared_with"]["text"]: valid(point["base_runs"])[question.metric],
            }
            # A mean of numbers with six digits, in one order or another.
            assert values == pytest.approx([by_text[AXIS.positions[i].name] for i in (0, 1)], rel=1e-5)
    assert sides == [["llamacpp", "llamacpp --parallel 1"], ["llamacpp --parallel 1", "llamacpp"]]
    with keeping(project.path / "state", asked, AXIS.positions, told.append) as diary:
        again = Replay(PytestOracle(AXIS, arguments, diary.directory, diary.pairs, told.append), diary)
        assert [again.compare(0, 1), again.compare(0, 1)] == [first, second]
    assert len(list(project.path.glob("state/logs/*.log"))) == 3


@pytest.mark.beside_others
def test_a_mistake_is_told_with_what_pytest_said_of_it(project: Project) -> None:
    project.write(test_it=TEST, test_bad="import nothing_like_it")
    for arguments, why in (
        (("test_it.py", "-k", "nothing"), "2 deselected"),
        (("test_bad.py",), "nothing_like_it"),
        (("test_it.py", "--llmperf-rates", "fast"), "--llmperf-rates"),
    ):
        with pytest.raises(DeclarationError, match=rf"(?s)pytest measured nothing .*{why}"):
            PytestOracle(AXIS, arguments, project.path / "state").compare(0, 1)


SWEEP = """
from pytest_llmperf import Workload, sweep

@sweep(rates="adaptive:4", duration=0.5)
def test_sweep(llmperf):
    llmperf(Workload(input_tokens=64, output_tokens=8))
"""


@pytest.mark.beside_others
def test_a_sweep_keeps_to_the_rates_that_another_pair_found(project: Project) -> None:
    project.write(test_it=SWEEP)
    rates = [f"64 in / 8 out, poisson {rate}/s for 0.5 s" for rate in (7, 11)]
    points = [{**point(1, []), "key": key, "explored": True} for key in rates]
    before = write(project.path / "before.json", record(entry("x", points, test="test_it.py::test_sweep")))
    subjects = AXIS.subject(1), AXIS.subject(0)
    after = project.path / "after.json"
    arguments = pair_arguments(*subjects, after, before, ("test_it.py",))
    with (project.path / "log").open("wb") as log:
        run_pytest(arguments, os.environ, log)
    (test,) = json.loads(after.read_text())["tests"]
    loads = {point["load"]: (len(point["base_runs"]), len(point["runs"])) for point in test["points"]}
    assert loads == {"1 at once": (1, 1), "7/s": (1, 1), "11/s": (1, 1)}


PROGRAM = """
import sys
from pathlib import Path
from pytest_llmperf.bisect.oracle import PytestOracle
from pytest_llmperf.pytest_process import interrupted_by_signals
from tests.bisect.histories import Flags
with interrupted_by_signals():
    try:
        PytestOracle(Flags("llamacpp", "llamacpp --parallel 1"), ("test_it.py",), Path("state")).compare(0, 1)
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.beside_others
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_it_nothing_is_left_running(project: Project, number: signal.Signals) -> None:
    project.write(test_it=TEST.replace("requests=10", "requests=100000"))
    root = Path(__file__).parent.parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}){PROGRAM}"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        log = project.path / "state" / "logs" / "001.log"
        deadline = time.monotonic() + 60
        while not (log.exists() and "measuring" in log.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
    assert out == ("interrupted\n" if number == signal.SIGINT else "")
    assert gone(project.mark)
