from __future__ import annotations

import gc
import itertools
import selectors
import threading
import time
from collections.abc import Callable

import pytest

import pytest_llmperf.load.loop as loop_module
from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.decode import decode
from pytest_llmperf.load.driver import Drive
from pytest_llmperf.load.target import Target
from tests.leftovers import open_files
from tests.load.asking import ask, asking, driver
from tests.servers import DONE, TruthServer, Wire, dead_url, scripted_server

LONG = 120

# --- what is due goes first ---------------------------------------------------------------------------


def test_what_is_due_is_sent_before_the_sockets_that_are_ready_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun_ns: list[int] = []

    class Slow(Connection):
        def on_readable(self, since_ns: int) -> None:
            begun_ns.append(time.monotonic_ns())
            time.sleep(0.01)
            super().on_readable(since_ns)

    monkeypatch.setattr(loop_module, "Connection", Slow)
    # Sixteen streams of which nearly all are ready whenever somebody looks.
    offsets = [0.0] * 16 + [0.3 + 0.027 * number for number in range(30)]
    with TruthServer(ttft_s=0.05, itl_s=0.02) as server:
        target = Target.of(server.url)
        requests = [ask(target, number, 60 if number < 16 else 1) for number in range(len(offsets))]
        drive = driver(target).open_loop(requests, offsets)
    assert {decode(done).error for done in drive.exchanges} == {None}
    waited_for = [
        sum(done.due_ns < moment < done.handed_ns for moment in begun_ns) for done in drive.exchanges[16:]
    ]
    # One that began as it came due, and one more where its connection had to be opened first.
    assert max(waited_for) <= 2


def test_requests_of_one_moment_are_sent_in_the_order_they_were_given() -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        requests = [ask(target, number) for number in range(20)]
        drive = driver(target).open_loop(requests, [0.05] * 20)
    handed = sorted(drive.exchanges, key=lambda done: done.handed_ns)
    assert [done.request.id for done in handed] == [f"r-{number}" for number in range(20)]


def test_requests_need_not_be_given_in_the_order_of_their_times() -> None:
    offsets = [0.2, 0.0, 0.3, 0.1, 0.25]
    with TruthServer() as server:
        target = Target.of(server.url)
        drive = driver(target).open_loop([ask(target, number) for number in range(5)], offsets)
    start = drive.account.started_ns
    due = {done.request.id: done.due_ns - start for done in drive.exchanges}
    assert due == {f"r-{number}": round(offset * 1e9) for number, offset in enumerate(offsets)}
    handed = [done.handed_ns for done in sorted(drive.exchanges, key=lambda done: done.due_ns)]
    assert handed == sorted(handed)


# --- what may have come when --------------------------------------------------------------------------


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_nothing_of_a_read_came_before_the_moment_at_which_nothing_was_there() -> None:
    with TruthServer(itl_s=0.002) as server:
        target = Target.of(server.url)
        requests = [ask(target, number, 40) for number in range(12)]
        drive = driver(target).open_loop(requests, [0.01 * number for number in range(12)])
    for done in drive.exchanges:
        assert len(done.since_ns) == len(done.reads) > 1
        assert list(done.since_ns) == sorted(done.since_ns)
        # The clocks' mapping may be off by microseconds.
        assert all(
            stamp > since - 500_000 for (stamp, _), since in zip(done.reads, done.since_ns, strict=True)
        )


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
@pytest.mark.parametrize("finds", [24, 25, 26])
@pytest.mark.parametrize("found", [True, False])
def test_who_is_held_up_just_after_a_look_knows_that_more_may_have_come(
    finds: int, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether that look found something or not."""
    held_up: list[tuple[int, int]] = []

    class HeldUp(selectors.DefaultSelector):
        finds = 0

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            ready = super().select(timeout)
            self.finds += bool(ready)
            if not held_up and self.finds >= finds and bool(ready) is found:
                began_ns = time.monotonic_ns()
                written = len(server.log()["r-0"].token_ns)
                while len(server.log()["r-0"].token_ns) < min(LONG, written + 12):
                    time.sleep(0.001)
                held_up.append((began_ns, time.monotonic_ns()))
            return ready

    monkeypatch.setattr(selectors, "DefaultSelector", HeldUp)
    with TruthServer(ttft_s=0.05, itl_s=0.01) as server:
        target = Target.of(server.url)
        # In turns, so that whoever is looked at alone is held up with the others' data to come.
        requests = [ask(target, number, LONG) for number in range(3)]
        drive = driver(target).open_loop(requests, [0.0, 0.003, 0.006])
        log = server.log()
    ((began_ns, over_ns),) = held_up
    for done in drive.exchanges:
        missed = sum(began_ns < moment < over_ns for moment in log[done.request.id].token_ns)
        assert missed >= 10
        # One of those on each side of the hold-up may have come in another read.
        assert len(decode(done).merged_ns) >= missed - 3


# --- servers that stall -------------------------------------------------------------------------------


def test_a_server_that_stalls_holds_up_nobody_but_its_own_request() -> None:
    turns, others = itertools.count(), threading.Semaphore(0)

    def stall(wire: Wire) -> None:
        if next(turns) == 0:
            first, *rest = wire.tokens()
            wire.stream(first)
            for _ in range(9):
                others.acquire(timeout=30)
            wire.send(*rest, wire.usage_event(), DONE)
        else:
            wire.stream(*wire.tokens(), wire.usage_event(), DONE)
            others.release()

    with scripted_server(stall) as url:
        target = Target.of(url)
        drive = driver(target).open_loop([ask(target, n) for n in range(10)], [0.02 * n for n in range(10)])
    traces = [decode(done) for done in drive.exchanges]
    assert [trace.error for trace in traces] == [None] * 10
    stalled = max(traces, key=lambda trace: trace.token_ns[-1] - trace.token_ns[0])
    # It saw its own second token after the others had sent everything.
    assert all(stalled.token_ns[1] > other.token_ns[0] for other in traces if other is not stalled)
    assert all(stalled.token_ns[0] < other.handed_ns for other in traces[-2:] if other is not stalled)


def test_a_server_that_stalls_altogether_loses_no_request() -> None:
    resumed = threading.Event()
    all_there = threading.Barrier(6, action=resumed.set)

    def stall(wire: Wire) -> None:
        first, *rest = wire.tokens()
        wire.stream(first)
        all_there.wait(30)
        wire.send(*rest, wire.usage_event(), DONE)

    with scripted_server(stall) as url:
        target = Target.of(url)
        drive = driver(target).closed_loop(asking(target), 6, duration_s=None, count=6)
    assert resumed.is_set()
    assert [decode(done).error for done in drive.exchanges] == [None] * 6


# --- what a run leaves behind -------------------------------------------------------------------------


class Died(Exception):
    pass


def raising_after(count: int) -> Callable[[int, int], None]:
    calls = itertools.count(1)

    def watch(sent: int, ended: int) -> None:
        if next(calls) == count:
            raise Died

    return watch


def an_open_loop(target: Target, watch: Callable[[int, int], None]) -> Drive:
    # Under way, about to be opened, and far off.
    offsets = [0.0] * 5 + [0.02 * number for number in range(60)] + [60.0] * 5
    requests = [ask(target, number) for number in range(len(offsets))]
    return driver(target, watch=watch).open_loop(requests, offsets)


def a_closed_loop(target: Target, watch: Callable[[int, int], None]) -> Drive:
    return driver(target, watch=watch).closed_loop(asking(target), 8, duration_s=60, count=None)


@pytest.mark.parametrize("drive", [an_open_loop, a_closed_loop])
@pytest.mark.parametrize("calls", [1, 3])
def test_what_watch_raises_leaves_no_file_open_and_the_process_as_it_was(
    drive: Callable[[Target, Callable[[int, int], None]], Drive], calls: int
) -> None:
    with TruthServer(ttft_s=0.15) as server:
        target = Target.of(server.url)
        before = open_files()
        with pytest.raises(Died):
            drive(target, raising_after(calls))
        assert open_files() == before
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_requests_that_cannot_be_had_end_the_run_and_leave_no_file_open() -> None:
    with TruthServer(ttft_s=0.1) as server:
        target = Target.of(server.url)

        def too_few() -> object:
            yield from itertools.islice(asking(target), 300)
            raise InvalidRun("no more prompts")

        before = open_files()
        with pytest.raises(InvalidRun, match="no more prompts"):
            driver(target).closed_loop(too_few(), 50, duration_s=60, count=None)  # type: ignore[arg-type]
        assert open_files() == before
    assert gc.isenabled()


@pytest.mark.parametrize("script", ["close_at_once", "reset_at_once"])
def test_watch_never_hears_of_more_than_there_are(script: str) -> None:
    heard: list[tuple[int, int]] = []
    with scripted_server(script) as url:
        target = Target.of(url)
        watching = driver(target, watch=lambda sent, ended: heard.append((sent, ended)))
        watching.open_loop([ask(target, n) for n in range(20)], [0.03 * n for n in range(20)])
    assert heard
    assert all(0 <= ended <= 20 and sent <= 20 for sent, ended in heard)
    assert heard == sorted(heard)


def test_nobody_there_at_all_ends_a_run_of_many() -> None:
    with dead_url() as url:
        target = Target.of(url)
        drive = driver(target).open_loop(
            [ask(target, n) for n in range(300)], [0.001 * n for n in range(300)]
        )
    assert len(drive.exchanges) == 300
    assert all(done.handed_ns >= done.due_ns for done in drive.exchanges)
