from __future__ import annotations

import itertools
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.load.gauge import Gauge, Moment, asking
from pytest_llmperf.load.gauge_process import MOST, Pace, write_command
from tests.load.test_workers import children
from tests.servers import Wire, dead_url, head, scripted_server

PAGE = b"llamacpp:requests_processing 3\nllamacpp:requests_deferred 2\n"
SHORT_S = 0.01  # a run that is over at once, so that it asks as often as it may
FEW = 3


class Pages:
    """What was asked for, and a script that answers it as long as :attr:`may_answer` is set."""

    def __init__(self, page: bytes = PAGE) -> None:
        self.asked: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._page = page

    def __call__(self, wire: Wire) -> None:
        assert wire.request.path == "/metrics"
        self.asked.put(wire.request.headers)
        self.may_answer.wait(60)
        wire.send(head(length=len(self._page)) + self._page)

    def wait_for(self, count: int) -> list[Mapping[str, str]]:
        return [self.asked.get(timeout=60) for _ in range(count)]


@contextmanager
def gauge_at(url: str, engine: Engine | None = None, api_key: str | None = None) -> Iterator[Gauge]:
    """One that asks as often as an engine has to bear it."""
    before = children()
    gauge = Gauge(engine or LlamaCpp(), url, api_key)
    gauge.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_llmperf.load.gauge._SHORTEST_S", 0.02)
        patch.setattr("pytest_llmperf.load.gauge._MOST_OF_THE_TIME", 1.0)
        try:
            yield gauge
        finally:
            gauge.close()
            gauge.close()
            assert children() == before


def serving(pages: Pages) -> AbstractContextManager[str]:
    return scripted_server(pages, everything=True)


def soon(has_come: Callable[[], bool]) -> bool:
    """Within a time that is generous on a busy machine."""
    deadline = time.monotonic() + 30
    while not has_come():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def one_run(gauge: Gauge, pages: Pages, asked: int) -> tuple[Moment, ...]:
    gauge.begin(SHORT_S)
    pages.wait_for(asked)
    return gauge.end()


# -- one run after the other --------------------------------------------------------------------------


def test_the_engine_is_asked_while_a_run_goes_on() -> None:
    pages = Pages()
    with serving(pages) as url, gauge_at(url) as gauge:
        before_ns = time.monotonic_ns()
        moments = one_run(gauge, pages, FEW)
        after_ns = time.monotonic_ns()
    assert len(moments) in (FEW - 1, FEW)  # the last answer may still be on its way
    assert all(before_ns < moment.at_ns < after_ns for moment in moments)
    assert {(m.running, m.waiting, m.cache_use) for m in moments} == {(3.0, 2.0, None)}


def test_between_runs_nobody_is_asked_and_each_run_has_its_own() -> None:
    pages = Pages()
    with serving(pages) as url, gauge_at(url) as gauge:
        gauge.begin(None)  # of a length that is not known: a first answer after half a second
        gauge.end()
        assert pages.asked.empty()
        first = one_run(gauge, pages, FEW)
        second = one_run(gauge, pages, FEW)
    assert max(moment.at_ns for moment in first) < min(moment.at_ns for moment in second)
    assert pages.asked.qsize() <= 1  # one that was under way when the run ended


def test_an_answer_that_comes_after_its_run_is_not_of_the_next() -> None:
    pages = Pages()
    with serving(pages) as url, gauge_at(url) as gauge:
        pages.may_answer.clear()
        assert one_run(gauge, pages, 1) == ()  # and nobody waited for it
        gauge.begin(SHORT_S)
        began_ns = time.monotonic_ns()
        pages.may_answer.set()
        pages.wait_for(FEW)
        moments = gauge.end()
    assert moments
    assert all(moment.at_ns > began_ns for moment in moments)


def test_the_key_goes_to_the_server_and_is_seen_nowhere_else() -> None:
    pages, before = Pages(), children()
    with serving(pages) as url, gauge_at(url, api_key="sk-abc") as gauge:
        gauge.begin(SHORT_S)
        (headers,) = pages.wait_for(1)
        (process,) = children() - before
        seen = b"".join(Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ"))
    assert headers["authorization"] == "Bearer sk-abc"
    assert b"sk-abc" not in seen


# -- what must not matter -----------------------------------------------------------------------------


@pytest.mark.parametrize("page", [b"", b"other_total 3\n", b"llamacpp:requests_processing NaN\n"])
def test_what_is_not_told_is_missing(page: bytes) -> None:
    pages = Pages(page)
    with serving(pages) as url, gauge_at(url) as gauge:
        assert one_run(gauge, pages, FEW) == ()


def test_a_server_that_is_gone() -> None:
    with dead_url() as url, gauge_at(url) as gauge:
        gauge.begin(SHORT_S)
        time.sleep(0.5)
        assert gauge.end() == ()


class Unfit(LlamaCpp):
    """An engine that no other process can have."""

    def __reduce__(self) -> str:
        raise pickle.PicklingError("not me")


class Large(LlamaCpp):
    def __init__(self) -> None:
        self.weights = bytes(1 << 20)


class Broken(LlamaCpp):
    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        raise ValueError("nothing to see here")


class Wordy(LlamaCpp):
    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        print("asking", flush=True)
        return super().counters(client)


@pytest.mark.parametrize("engine", [Unfit(), Large(), Broken()], ids=["unfit", "large", "broken"])
def test_without_the_process_nothing_is_known_and_nothing_fails(engine: Engine) -> None:
    with serving(Pages()) as url, gauge_at(url, engine) as gauge:
        for _ in range(2):
            gauge.begin(SHORT_S)
            time.sleep(0.5)
            assert gauge.end() == ()


def test_what_an_engine_prints_is_no_answer() -> None:
    pages = Pages()
    with serving(pages) as url, gauge_at(url, Wordy()) as gauge:
        assert one_run(gauge, pages, FEW)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_was_killed_or_stopped_is_done_without(how: signal.Signals) -> None:
    pages = Pages()
    before = children()
    with serving(pages) as url, gauge_at(url) as gauge:
        gauge.begin(SHORT_S)
        pages.wait_for(FEW)
        (process,) = children() - before
        os.kill(int(process), how)
        assert gauge.end()  # what had come by then
        for _ in range(5000):  # far more than the pipe takes
            gauge.begin(SHORT_S)
            assert gauge.end() == ()


def test_never_started() -> None:
    gauge = Gauge(LlamaCpp(), "", None)
    gauge.begin(1.0)
    assert gauge.end() == ()
    gauge.close()


STARTER = """
import sys, time
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.load.gauge import Gauge
gauge = Gauge(LlamaCpp(), sys.argv[1], None)
gauge.start()
gauge.begin(0.01)
print("started", flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_hanging", [False, True], ids=["idle", "asking"])
def test_it_ends_with_the_process_that_started_it_whatever_ends_that(is_hanging: bool) -> None:
    pages = Pages()
    if is_hanging:
        pages.may_answer.clear()
    with (
        serving(pages) as url,
        subprocess.Popen([sys.executable, "-c", STARTER, url], stdout=subprocess.PIPE) as starter,
    ):
        pages.wait_for(1)
        (process,) = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
        starter.kill()
        assert soon(lambda: not Path(f"/proc/{process}/cmdline").exists() or not _command(process))
        pages.may_answer.set()


def _command(process: str) -> bytes:
    """Empty for one that has ended and was not waited for."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


# -- how often ----------------------------------------------------------------------------------------

RUNS = st.floats(0.5, 100_000)


def asked(
    run_s: float, expected_s: float | None, took_s: float = 0.001
) -> tuple[list[float], tuple[Moment, ...]]:
    """When a run of this length has the engine asked, and what is kept of it."""
    gauge = Gauge(LlamaCpp(), "", None)
    gauge.begin(expected_s)
    pace, times = Pace(asking(expected_s), 0.0), []
    while pace.due_s < run_s:
        times.append(pace.due_s)
        gauge.take([1, round(pace.due_s * 1e9), {"running": 0.0}])
        pace.asked(pace.due_s, pace.due_s + took_s)
    return times, gauge.end()


@given(run_s=RUNS, error=st.floats(0.1, 10), is_known=st.booleans())
def test_no_run_has_more_than_so_many_answers_and_they_are_of_all_of_it(
    run_s: float, error: float, is_known: bool
) -> None:
    times, kept = asked(run_s, run_s * error if is_known else None)
    assert len(kept) <= MOST
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert all(gap > 0.499 for gap in gaps)
    if times:
        stamps = [moment.at_ns / 1e9 for moment in kept]
        between = [after - before for before, after in itertools.pairwise(stamps)]
        assert max(between, default=0.0) < 2.01 * min(between, default=1.0)
        assert run_s - stamps[-1] < 2.01 * (max(between, default=0.0) or run_s)


@given(run_s=st.floats(1.0, 1000))
def test_a_run_of_the_length_that_was_expected_has_some_answers(run_s: float) -> None:
    times, kept = asked(run_s, run_s)
    assert len(times) == len(kept) >= min(2, run_s)
    assert run_s < 10 or 9 <= len(kept) <= 100


@given(took_s=st.floats(0.001, 5))
def test_an_engine_that_takes_long_to_answer_is_asked_less_often(took_s: float) -> None:
    times, _ = asked(1000.0, 60.0, took_s)
    assert times[1] - times[0] == pytest.approx(min(5.0, max(1.0, 500 * took_s)))


def test_what_a_pipe_takes_a_part_of_was_not_told() -> None:
    theirs, ours = os.pipe()
    os.set_blocking(ours, False)
    try:
        write_command(ours, b"short")
        with pytest.raises(OSError, match="a part of it"):
            write_command(ours, bytes(1 << 20))
    finally:
        os.close(theirs)
        os.close(ours)
