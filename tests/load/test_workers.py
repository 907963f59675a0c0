from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pytest_llmperf.errors import EngineError, InvalidRun
from pytest_llmperf.load.job import Job
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.workers import perform, perform_at
from pytest_llmperf.places.protocol import Vantage
from tests.load.sources import Numbered
from tests.servers import TruthServer


def job(url: str, **more: object) -> Job:
    target = Target.of(url)
    settings: dict[str, object] = {"source": Numbered(target), "timeout_s": 30.0, "limit_bytes": 1_000_000}
    return Job(target, **{**settings, **more})  # type: ignore[arg-type]


def silent(sent: int, ended: int) -> None: ...


def children() -> set[str]:
    """Processes that this one started and that are still there."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_all_processes_together_drive_the_one_schedule(processes: int) -> None:
    offsets = [number * 0.01 for number in range(30)]
    with TruthServer() as server:
        before = children()
        outcome = perform(job(server.url, offsets_s=offsets), processes, silent)
        assert children() == before
        served = server.log()
    assert [trace.error for trace in outcome.traces] == [None] * 30
    assert [trace.request.id for trace in outcome.traces] == [f"r-{number}" for number in range(30)]
    due_s = np.array([trace.due_ns - outcome.traces[0].due_ns for trace in outcome.traces]) / 1e9
    assert due_s == pytest.approx(np.array(offsets), abs=1e-6)
    assert outcome.account.processes == processes
    for trace in outcome.traces:  # each on the clock that all of them share
        written = served[trace.request.id].token_ns
        assert len(trace.token_ns) == len(written)
        assert all(seen > wrote - 1_000_000 for seen, wrote in zip(trace.token_ns, written, strict=True))


def test_a_closed_loop_is_divided_into_its_streams() -> None:
    with TruthServer(ttft_s=0.05) as server:
        outcome = perform(job(server.url, concurrency=5, count=12), 2, silent)
        assert server.peak() <= 5
    assert sorted(trace.request.id for trace in outcome.traces) == sorted(f"r-{n}" for n in range(12))
    assert outcome.account.processes == 2


# -- elsewhere -------------------------------------------------------------------------------------------

# A machine that was started at another time, or one clock of it.
AHEAD_S = 1_000_000
SHIFTED = f"""
import time
_monotonic_ns, _monotonic = time.monotonic_ns, time.monotonic
time.monotonic_ns = lambda: _monotonic_ns() + {AHEAD_S} * 10**9
time.monotonic = lambda: _monotonic() + {AHEAD_S}
"""


def elsewhere(before: str = SHIFTED) -> Vantage:
    def run(program: str) -> subprocess.Popen[bytes]:
        code = f"{before}\n{program}"
        return subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
        )

    return Vantage("http://127.0.0.1", 4, run)


@pytest.mark.parametrize("processes", [1, 2])
def test_load_that_is_driven_elsewhere_comes_back_on_the_clock_of_this_process(processes: int) -> None:
    offsets = [number * 0.01 for number in range(20)]
    before, began_ns = children(), time.monotonic_ns()
    with TruthServer() as server:
        outcome = perform_at(elsewhere(), job(server.url, offsets_s=offsets), processes, silent)
        ended_ns = time.monotonic_ns()
        served = server.log()
    assert children() == before
    assert outcome.account.processes == processes
    assert began_ns < outcome.account.started_ns < outcome.account.ended_ns < ended_ns
    slack_ns = 500_000_000  # half of a question's way there and back, on a busy machine
    for trace in outcome.traces:
        assert trace.error is None
        assert trace.due_ns <= trace.handed_ns <= trace.sent_ns < trace.token_ns[0] <= trace.ended_ns
        assert abs(trace.token_ns[0] - served[trace.request.id].token_ns[0]) < slack_ns


def test_a_worker_elsewhere_that_died_is_explained_by_whoever_watches() -> None:
    class Gone(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def watch(sent: int, ended: int) -> None:
        seen.append((sent, ended))
        if len(seen) > 3:
            raise Gone

    with TruthServer() as server, pytest.raises(Gone):
        perform_at(elsewhere("raise SystemExit(3)"), job(server.url, offsets_s=[0.0]), 1, watch)


def test_what_a_worker_elsewhere_raises_on_purpose_is_told_at_once() -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        short = job(server.url, source=Numbered(target, refused_from=0), offsets_s=[0.0])
        with pytest.raises(EngineError, match="prompt 0 cannot be had"):
            perform_at(elsewhere(), short, 1, silent)


# -- here again ------------------------------------------------------------------------------------------


def test_no_more_processes_than_streams_or_arrivals() -> None:
    with TruthServer() as server:
        assert perform(job(server.url, concurrency=1, count=2), 4, silent).account.processes == 1
        assert perform(job(server.url, offsets_s=[0.0, 0.01]), 4, silent).account.processes == 2


def test_conversations_go_on_within_their_process() -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        talk = job(server.url, source=Numbered(target, turns=3), offsets_s=[0.0, 0.01, 0.02, 0.03])
        outcome = perform(talk, 2, silent)
    assert sorted(trace.request.id for trace in outcome.traces) == sorted(
        f"r-{number}{turn}" for number in range(4) for turn in ("", "-t2", "-t3")
    )


def test_progress_is_told_and_what_it_raises_ends_all_processes() -> None:
    class Enough(Exception):
        pass

    seen: list[tuple[int, int]] = []

    def watch(sent: int, ended: int) -> None:
        seen.append((sent, ended))
        if sent >= 4:
            raise Enough

    before = children()
    with TruthServer(ttft_s=60) as server, pytest.raises(Enough):
        perform(job(server.url, offsets_s=[0.0] * 4 + [0.3] * 4 + [30.0] * 4), 2, watch)
    assert seen[-1][0] >= 4
    assert children() == before


def test_a_worker_that_dies_makes_the_run_invalid_and_takes_the_others_along() -> None:
    before = children()
    with TruthServer() as server:
        target = Target.of(server.url)
        broken = job(server.url, source=Numbered(target, broken_from=3), offsets_s=[0.0, 0.1, 0.2, 0.3])
        with pytest.raises(InvalidRun, match=r"worker process .* ended with exit code 1"):
            perform(broken, 2, silent)
    assert children() == before


def test_what_a_worker_cannot_make_is_told_as_by_one_process() -> None:
    for processes in (1, 2):
        with TruthServer() as server:
            target = Target.of(server.url)
            short = job(server.url, source=Numbered(target, refused_from=3), offsets_s=[0.0, 0.1, 0.2, 0.3])
            with pytest.raises(EngineError, match="prompt 3 cannot be had"):
                perform(short, processes, silent)


def test_workers_end_when_their_parent_is_killed() -> None:
    """Killed as by the kernel, the parent can tell them nothing."""
    script = """
import sys
from pathlib import Path
from pytest_llmperf.load.workers import perform, perform_at
from pytest_llmperf.places.protocol import Vantage
from tests.load.test_workers import job
import os

def watch(sent, ended):
    print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)

perform(job(sys.argv[1], concurrency=4, duration_s=60), 2, watch)
"""
    with TruthServer(ttft_s=0.05) as server:
        with subprocess.Popen(
            [sys.executable, "-c", script, server.url], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
        ) as parent:
            assert parent.stdout is not None
            workers = parent.stdout.readline().split()
            parent.kill()
        assert len(workers) == 2
        for worker in workers:
            wait_for_the_end(int(worker))


def wait_for_the_end(pid: int) -> None:
    """Return when the process is gone, or is a zombie that nobody reaps here."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        subprocess.run(["sleep", "0.1"], check=True)
    raise AssertionError(f"process {pid} still runs")
