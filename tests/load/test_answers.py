from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import EngineError, InvalidRun, NotReadyYet
from pytest_llmperf.load.account import Account
from pytest_llmperf.load.answers import MAX_ANSWER_BYTES, check_length, read_answer
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.job import Outcome
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.workers import perform_at
from pytest_llmperf.places.protocol import Vantage
from tests.load.test_workers import job, silent


class Calls:
    """Pickled, it calls a function with an argument wherever it is unpickled."""

    def __init__(self, function: Callable[..., object], argument: str) -> None:
        self._call = function, (argument,)

    def __reduce__(self) -> Any:
        return self._call


def outcome() -> Outcome:
    trace = Trace(Request("r-0", b"", 2), 1, 2, 3, None, (4, 5), (0, 0), 6, 200, 2, None, None, None)
    return Outcome((trace,), Account(1, 2, 0.5, 0.0, 0.0, [1, 2], 3))


@pytest.mark.parametrize("answer", [("ready",), ("clock", 1 << 60), ("progress", 3, 2), ("done", outcome())])
def test_what_a_worker_says_is_read_as_it_is(answer: tuple[object, ...]) -> None:
    assert read_answer(pickle.dumps(answer, protocol=5)) == answer


def test_an_error_keeps_its_kind_and_words() -> None:
    for error in (EngineError("no"), NotReadyYet("not now"), InvalidRun("late")):
        kind, told = read_answer(pickle.dumps(("failed", error), protocol=5))
        assert (kind, type(told), str(told)) == ("failed", type(error), str(error))


@pytest.mark.parametrize(
    "wrap", [lambda evil: evil, lambda evil: ("ready", evil), lambda evil: ("done", evil)]
)
def test_nothing_in_an_answer_is_run(wrap: Callable[[object], object], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for function, argument in (
        (os.system, f"touch {ran}"),
        (os.mkdir, str(ran)),
        (eval, "1"),
        (getattr, "x"),
    ):
        with pytest.raises(InvalidRun, match="has no place in an answer"):
            read_answer(pickle.dumps(wrap(Calls(function, argument)), protocol=5))
    assert not ran.exists()


@pytest.mark.parametrize(
    "answer", ["ready", ("clock",), ("clock", "now"), ("done", None), ("failed", "x"), ("more",), None, 3]
)
def test_what_is_no_answer_makes_the_run_invalid(answer: object) -> None:
    with pytest.raises(InvalidRun, match="none of the kinds that there are"):
        read_answer(pickle.dumps(answer, protocol=5))


@pytest.mark.parametrize("data", [b"", b"\x80", b"hello", pickle.dumps(("done", outcome()))[:-9]])
def test_broken_bytes_make_the_run_invalid(data: bytes) -> None:
    with pytest.raises(InvalidRun, match="sent what is no answer of it"):
        read_answer(data)


def test_an_answer_has_a_limit() -> None:
    check_length(MAX_ANSWER_BYTES)
    with pytest.raises(InvalidRun, match="over the limit of 2 GiB"):
        check_length(MAX_ANSWER_BYTES + 1)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("(1 << 60).to_bytes(8)", "over the limit"),
        ("len(data := pickle.dumps(os.system)).to_bytes(8) + data", "system has no place in an answer"),
    ],
)
def test_a_container_that_lies_makes_the_run_invalid_and_is_left(said: str, why: str) -> None:
    lie = f"import os, pickle; os.write(1, {said}); import sys; sys.stdin.buffer.read()"
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, "-c", lie], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        return started[-1]

    with pytest.raises(InvalidRun, match=why):
        perform_at(Vantage("http://127.0.0.1", 4, run), job("http://127.0.0.1:9", offsets_s=[0.0]), 1, silent)
    assert [process.poll() is not None for process in started] == [True]
