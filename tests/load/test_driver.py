from __future__ import annotations

import gc
import itertools
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

import pytest_llmperf.load.account as account_module
import pytest_llmperf.load.loop as loop_module
from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.backlog import Backlog
from pytest_llmperf.load.clock import Offset
from pytest_llmperf.load.connection import KERNEL_STAMPS, Connection
from pytest_llmperf.load.decode import Trace, decode
from pytest_llmperf.load.driver import Drive
from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target
from tests.leftovers import open_files
from tests.load.asking import TOKENS, ask, asking, driver
from tests.servers import DONE, TruthServer, Wire, dead_url, scripted_server

FILES = Path("/proc/self/fd")
needs_proc = pytest.mark.skipif(not FILES.is_dir(), reason="counts open files in /proc")


def open_loop(url: str, offsets_s: list[float], timeout_s: float = 30.0, tokens: int = TOKENS) -> Drive:
    target = Target.of(url)
    requests = [ask(target, number, tokens) for number in range(len(offsets_s))]
    return driver(target, timeout_s).open_loop(requests, offsets_s)


def closed_loop(
    url: str,
    concurrency: int,
    *,
    duration_s: float | None = None,
    count: int | None = None,
    timeout_s: float = 30.0,
    watch: Callable[[int, int], None] = lambda sent, ended: None,
) -> Drive:
    target = Target.of(url)
    return driver(target, timeout_s, watch=watch).closed_loop(
        asking(target), concurrency, duration_s=duration_s, count=count
    )


def traces_of(drive: Drive) -> list[Trace]:
    return [decode(exchange) for exchange in drive.exchanges]


def most_at_once(exchanges: list[Exchange]) -> int:
    moments = sorted(
        itertools.chain.from_iterable(((e.sent_ns, 1), (e.ended_ns, -1)) for e in exchanges),
        key=lambda moment: (moment[0], moment[1]),
    )
    return max(itertools.accumulate(change for _, change in moments))


# --- the open loop ------------------------------------------------------------------------------------


def test_every_request_is_due_at_its_offset_from_the_start() -> None:
    offsets = [0.0, 0.01, 0.01, 0.035, 0.2]
    with TruthServer() as server:
        drive = open_loop(server.url, offsets)
    due_ns = [exchange.due_ns - drive.account.started_ns for exchange in drive.exchanges]
    assert due_ns == [round(offset * 1e9) for offset in offsets]
    assert all(exchange.sent_ns >= exchange.due_ns for exchange in drive.exchanges)
    assert [trace.error for trace in traces_of(drive)] == [None] * 5


def test_a_server_that_hangs_does_not_delay_the_requests() -> None:
    offsets = [number * 0.01 for number in range(40)]
    with scripted_server("hang_before_head") as url:
        drive = open_loop(url, offsets, timeout_s=1.5)
    lags_ns = [exchange.sent_ns - exchange.due_ns for exchange in drive.exchanges]
    assert min(lags_ns) >= 0
    # A loop that waits for answers would be a whole time-out late.
    assert statistics.median(lags_ns) < 0.1e9
    assert max(e.sent_ns for e in drive.exchanges) < min(e.ended_ns for e in drive.exchanges)
    assert {trace.error_kind for trace in traces_of(drive)} == {"timeout"}


def test_a_slow_server_has_as_many_requests_as_are_due() -> None:
    with TruthServer(ttft_s=1.5) as server:
        drive = open_loop(server.url, [number * 0.005 for number in range(40)])
        assert server.peak() == 40
    assert {trace.error for trace in traces_of(drive)} == {None}


def test_requests_leave_in_the_order_of_their_times_and_all_arrive() -> None:
    with TruthServer(slots=2) as server:
        drive = open_loop(server.url, [number * 0.003 for number in range(50)])
        assert server.log().keys() == {f"r-{number}" for number in range(50)}
    sent = [exchange.sent_ns for exchange in drive.exchanges]
    assert sent == sorted(sent)


def test_many_at_the_same_moment_are_all_answered() -> None:
    with TruthServer(itl_s=0.005) as server:
        drive = open_loop(server.url, [0.0] * 200)
        assert len(server.log()) == 200
    assert [trace.error for trace in traces_of(drive)] == [None] * 200


def test_an_open_loop_without_requests_ends() -> None:
    with dead_url() as url:
        assert open_loop(url, []).exchanges == []


@pytest.mark.parametrize("script", ["close_at_once", "reset_at_once"])
def test_a_connection_that_is_closed_before_its_request_is_due_is_an_error_of_that_request(
    script: str,
) -> None:
    with scripted_server(script) as url:
        traces = traces_of(open_loop(url, [0.0, 0.05, 0.1, 0.3]))
    # A reset may come as early as the connection itself.
    assert {trace.error_kind for trace in traces} <= {"reset", "connect"}
    assert traces[-1].sent_ns == 0
    assert traces[-1].due_ns - traces[0].due_ns == 300_000_000


def test_a_refused_connection_ends_each_request_and_not_the_run() -> None:
    with dead_url() as url:
        traces = traces_of(open_loop(url, [0.0, 0.02, 0.2]))
    assert [trace.error for trace in traces] == ["connect: Connection refused"] * 3
    assert all(trace.due_ns <= trace.handed_ns for trace in traces)


def test_a_connection_that_never_takes_its_request_does_not_make_it_late() -> None:
    # Connected by the kernel, but nobody shakes hands.
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"https://127.0.0.1:{nobody.getsockname()[1]}"
        traces = traces_of(open_loop(url, [0.0, 0.05], timeout_s=0.6))
    assert [trace.error_kind for trace in traces] == ["timeout"] * 2
    assert [trace.sent_ns for trace in traces] == [0, 0]
    assert all(0 <= trace.handed_ns - trace.due_ns < 0.3e9 for trace in traces)


def test_a_process_that_is_held_up_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sends = itertools.count()

    class HeldUp(Connection):
        def send(self) -> None:
            super().send()
            if next(sends) == 0:
                time.sleep(0.3)  # longer than connections are opened ahead

    monkeypatch.setattr(loop_module, "Connection", HeldUp)
    with TruthServer() as server:
        traces = traces_of(open_loop(server.url, [number * 0.06 for number in range(8)]))
    assert [trace.error for trace in traces] == [None] * 8
    assert traces[1].handed_ns - traces[1].due_ns > 0.1e9
    assert traces[1].sent_ns >= traces[1].handed_ns


def test_a_time_out_of_the_last_request_ends_the_run() -> None:
    with scripted_server("hang_before_head") as url:
        (trace,) = traces_of(open_loop(url, [0.0], timeout_s=0.3))
    assert trace.error == "timeout: not complete after 0.3 s"
    assert trace.ended_ns - trace.sent_ns > 0.2e9


def test_a_time_out_is_each_request_s_own() -> None:
    with scripted_server("hang_before_head", well_before=2) as url:
        traces = traces_of(open_loop(url, [0.0, 0.0, 0.1, 0.2], timeout_s=0.5))
    assert sorted(str(trace.error_kind) for trace in traces) == ["None", "None", "timeout", "timeout"]


@pytest.mark.parametrize("ahead_s", [1.5, 0.0, -5.0])
def test_an_open_loop_starts_when_it_is_told_to(ahead_s: float) -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        start_ns = time.monotonic_ns() + round(ahead_s * 1e9)
        requests = [ask(target, number) for number in range(3)]
        drive = driver(target).open_loop(requests, [0.0, 0.02, 0.1], start_ns)
    assert drive.account.started_ns == start_ns
    assert [exchange.due_ns - start_ns for exchange in drive.exchanges] == [0, 20_000_000, 100_000_000]
    assert all(exchange.due_ns <= exchange.handed_ns <= exchange.sent_ns for exchange in drive.exchanges)
    assert [trace.error for trace in traces_of(drive)] == [None] * 3


def test_an_open_loop_that_is_told_no_start_is_not_late_for_its_first_request() -> None:
    with TruthServer() as server:
        before_ns = time.monotonic_ns()
        drive = open_loop(server.url, [0.0])
    assert drive.account.started_ns > before_ns + loop_module.OPEN_AHEAD_NS


# --- the closed loop ----------------------------------------------------------------------------------


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_a_closed_loop_keeps_so_many_under_way_and_never_more(concurrency: int) -> None:
    with TruthServer(ttft_s=0.1) as server:
        drive = closed_loop(server.url, concurrency, count=concurrency * 5)
        assert server.peak() == concurrency
        assert len(server.log()) == concurrency * 5
    assert {trace.error for trace in traces_of(drive)} == {None}
    assert most_at_once(drive.exchanges) == concurrency


def test_with_one_at_a_time_each_request_follows_the_end_of_the_last() -> None:
    with TruthServer(itl_s=0.001) as server:
        drive = closed_loop(server.url, 1, count=8)
    for before, after in itertools.pairwise(drive.exchanges):
        assert before.ended_ns <= after.due_ns <= after.sent_ns


def test_a_slower_request_holds_up_its_own_stream_alone() -> None:
    with scripted_server("hang_before_head", well_before=30) as url:
        # The first one to hang is followed by others until all streams hang.
        traces = traces_of(closed_loop(url, 4, count=34, timeout_s=1.0))
    assert sum(trace.error is None for trace in traces) == 30
    assert sum(trace.error_kind == "timeout" for trace in traces) == 4


def test_a_count_that_is_smaller_than_the_concurrency_counts() -> None:
    with TruthServer() as server:
        drive = closed_loop(server.url, 10, count=3)
        assert len(server.log()) == 3
    assert len(drive.exchanges) == 3


def test_a_duration_ends_the_sending_and_lets_the_last_ones_end() -> None:
    with TruthServer(ttft_s=0.05) as server:
        drive = closed_loop(server.url, 2, duration_s=0.4)
    until = drive.account.started_ns + 0.4e9
    traces = traces_of(drive)
    assert {trace.error for trace in traces} == {None}
    assert len(traces) > 2
    # Opened before the end; so the requests at the end begin before it, and end after it.
    assert drive.account.ended_ns >= until
    assert drive.exchanges[-1].ended_ns >= until


@pytest.mark.parametrize("ahead_s", [1.5, 0.0, -5.0])
def test_a_closed_loop_starts_when_it_is_told_to_and_not_in_the_past(ahead_s: float) -> None:
    with TruthServer(ttft_s=0.02) as server:
        target = Target.of(server.url)
        before_ns = time.monotonic_ns()
        drive = driver(target).closed_loop(
            asking(target), 2, duration_s=0.2, count=None, start_ns=before_ns + round(ahead_s * 1e9)
        )
    assert drive.account.started_ns >= before_ns + max(0, round(ahead_s * 1e9))
    if ahead_s > 0:
        assert drive.account.started_ns == before_ns + round(ahead_s * 1e9)
    assert all(exchange.due_ns >= drive.account.started_ns for exchange in drive.exchanges)
    # It has its whole duration from there.
    assert drive.exchanges[-1].ended_ns >= drive.account.started_ns + 200_000_000
    assert [trace.error for trace in traces_of(drive)] == [None] * len(drive.exchanges)


def test_whichever_bound_comes_first_ends_it() -> None:
    with TruthServer() as server:
        assert len(closed_loop(server.url, 2, duration_s=60, count=5).exchanges) == 5


def test_a_closed_loop_without_any_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="a duration or a number"):
        closed_loop("http://127.0.0.1:1", 1)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_closed_loop_against_nobody_gives_up(concurrency: int) -> None:
    with dead_url() as url:
        drive = closed_loop(url, concurrency, duration_s=120)
    assert 20 * concurrency <= len(drive.exchanges) <= 21 * concurrency
    assert {trace.error for trace in traces_of(drive)} == {"connect: Connection refused"}


@pytest.mark.parametrize("script", ["not_found", "server_error", "reset", "close_without_answer"])
def test_a_closed_loop_against_a_server_that_only_fails_gives_up(script: str) -> None:
    with scripted_server(script) as url:
        drive = closed_loop(url, 2, duration_s=120)
    assert 40 <= len(drive.exchanges) <= 42


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_closed_loop_against_a_server_that_hangs_gives_up_after_two_time_outs_each(
    concurrency: int,
) -> None:
    with scripted_server("hang_before_head") as url:
        drive = closed_loop(url, concurrency, count=500, timeout_s=0.2)
    assert 2 * concurrency <= len(drive.exchanges) <= 3 * concurrency
    assert all(exchange.failure and "timeout" in exchange.failure for exchange in drive.exchanges)


def test_a_server_once_given_up_is_not_tried_again_for_one_late_answer() -> None:
    turns, late, given_up = itertools.count(), threading.Event(), threading.Timer(0.5, lambda: late.set())

    def script(wire: Wire) -> None:
        turn = next(turns)
        if turn == 0:
            late.wait(20)
            wire.stream(*wire.tokens(), wire.usage_event(), DONE)
        else:
            wire.reset()
        if turn == 40:
            given_up.start()

    with scripted_server(script) as url:
        traces = traces_of(closed_loop(url, 2, duration_s=120))
    given_up.join()
    assert len(traces) == 41
    # One of the first two, whichever the server took first.
    assert sum(trace.error is None for trace in traces[:2]) == 1
    assert all(trace.error for trace in traces[2:])


@pytest.mark.parametrize(
    ("concurrency", "duration_s", "count", "prepared"),
    [(1, 0.2, None, 256), (100, 0.2, None, 400), (2, None, 5, 5), (2, None, 300, 256)],
)
def test_requests_are_prepared_before_the_clock_runs(
    concurrency: int,
    duration_s: float | None,
    count: int | None,
    prepared: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    made_at_start: list[int] = []

    class Noting(Connection):
        def __init__(self, target: Target, request: Request, limit_bytes: int) -> None:
            made_at_start.append(len(made))
            super().__init__(target, request, limit_bytes)

    def requests(target: Target) -> Iterator[Request]:
        for number in itertools.count():
            made.append(number)
            yield ask(target, number)

    monkeypatch.setattr(loop_module, "Connection", Noting)
    with TruthServer(ttft_s=0.2 if count is None else 0) as server:
        target = Target.of(server.url)
        drive = driver(target).closed_loop(requests(target), concurrency, duration_s=duration_s, count=count)
        asked = list(server.log())
    assert made_at_start[0] == prepared
    assert len(made) == max(prepared, count or 0)
    assert len(set(asked)) == len(asked) == len(drive.exchanges)


def test_a_server_that_answers_in_single_bytes_is_not_hopeless() -> None:
    with scripted_server("byte_per_write") as url:
        drive = closed_loop(url, 1, count=30)
    assert len(drive.exchanges) == 30
    assert {trace.error for trace in traces_of(drive)} == {None}


def test_a_burst_against_nobody_ends_with_its_errors() -> None:
    with dead_url() as url:
        drive = closed_loop(url, 4, count=4)
    assert [trace.error for trace in traces_of(drive)] == ["connect: Connection refused"] * 4


def test_time_outs_make_room_for_the_next_requests() -> None:
    with scripted_server("hang_in_stream") as url:
        traces = traces_of(closed_loop(url, 2, count=6, timeout_s=0.3))
    assert [trace.error_kind for trace in traces] == ["timeout"] * 6
    assert [len(trace.token_ns) for trace in traces] == [2] * 6


# --- the times of tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize("chunked", [True, False])
def test_token_times_are_those_of_the_server(chunked: bool) -> None:
    itl_ms = 20.0
    with TruthServer(ttft_s=0.05, itl_s=itl_ms / 1e3, chunked=chunked) as server:
        drive = open_loop(server.url, [number * 0.05 for number in range(10)], tokens=20)
        log = server.log()
    errors_ms, gap_errors_ms = [], []
    for number, trace in enumerate(traces_of(drive)):
        assert trace.error is None
        written_ns = log[f"r-{number}"].token_ns
        assert len(trace.token_ns) == len(written_ns) == 20
        assert trace.sent_ns <= log[f"r-{number}"].received_ns
        errors_ms += [(seen - wrote) / 1e6 for seen, wrote in zip(trace.token_ns, written_ns, strict=True)]
        gap_errors_ms += [
            abs((seen[1] - seen[0]) - (wrote[1] - wrote[0])) / 1e6
            for seen, wrote in zip(
                itertools.pairwise(trace.token_ns), itertools.pairwise(written_ns), strict=True
            )
        ]
    # Nothing arrives before it was written; the clocks' mapping may be off by microseconds.
    assert min(errors_ms) > -0.5
    assert statistics.median(errors_ms) < itl_ms / 10
    assert statistics.median(gap_errors_ms) < itl_ms / 10


# --- what it says of itself ---------------------------------------------------------------------------


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_every_read_tells_how_long_its_data_had_been_there() -> None:
    with TruthServer(itl_s=0.002) as server:
        drive = open_loop(server.url, [0.0, 0.01, 0.02])
    assert len(drive.account.read_lags_ns) >= sum(len(exchange.reads) for exchange in drive.exchanges) >= 3
    assert min(drive.account.read_lags_ns) > -1e6
    assert statistics.median(drive.account.read_lags_ns) < 50e6


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_a_process_that_is_held_up_reads_late_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class HeldUp(Connection):
        def on_readable(self, since_ns: int) -> None:
            time.sleep(0.05)
            super().on_readable(since_ns)

    monkeypatch.setattr(loop_module, "Connection", HeldUp)
    with TruthServer() as server:
        drive = open_loop(server.url, [0.0])
    assert max(drive.account.read_lags_ns) >= 40e6  # of the last of several segments


def test_a_clock_that_stands_well_has_hardly_any_drift() -> None:
    with TruthServer() as server:
        assert abs(open_loop(server.url, [0.0, 0.1]).account.clock_drift_ns) < 5e6


@pytest.mark.parametrize("by_ns", [3_600_000_000_000, -25_000_000])
def test_a_clock_that_is_set_meanwhile_has_drifted_by_that_much(
    by_ns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = iter([Offset(0, 1_000), Offset(1_000_000_000, 1_000 + by_ns)])
    monkeypatch.setattr(account_module, "read_offset", lambda: next(offsets))
    with TruthServer() as server:
        assert open_loop(server.url, [0.0]).account.clock_drift_ns == by_ns


# --- what it leaves behind ----------------------------------------------------------------------------


@pytest.fixture
def _collecting() -> Iterator[None]:
    assert gc.isenabled()
    yield
    gc.enable()


def test_nothing_is_collected_while_it_runs_and_again_afterwards() -> None:
    seen = []
    with TruthServer(ttft_s=0.6) as server:
        closed_loop(server.url, 1, count=1, watch=lambda sent, ended: seen.append(gc.isenabled()))
    assert seen
    assert not any(seen)
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_froze_stays_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with TruthServer() as server:
            closed_loop(server.url, 1, count=1)
        assert 0 < gc.get_freeze_count() <= frozen
    finally:
        gc.unfreeze()


@pytest.mark.usefixtures("_collecting")
def test_collection_that_was_off_stays_off() -> None:
    gc.disable()
    with TruthServer() as server:
        closed_loop(server.url, 1, count=1)
    assert not gc.isenabled()


@needs_proc
@pytest.mark.parametrize("script", ["well", "hang_in_stream", "reset", "close_at_once", "flood"])
def test_no_file_is_left_open(script: str) -> None:
    before = open_files()
    with scripted_server(script) as url:
        open_loop(url, [0.0] * 10, timeout_s=0.5)
        closed_loop(url, 5, count=10, timeout_s=0.5)
    assert open_files() == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InvalidRun("the engine died")])
def test_what_watch_raises_ends_the_run_and_leaves_no_socket_open(error: BaseException) -> None:
    def interrupt(sent: int, ended: int) -> None:
        if sent >= 9:
            raise error

    with scripted_server("hang_before_head") as url:
        target = Target.of(url)
        drives: list[Callable[[], Drive]] = [
            lambda: driver(target, watch=interrupt).open_loop([ask(target)] * 10, [0.0] * 9 + [60.0]),
            lambda: driver(target, watch=interrupt).closed_loop(
                asking(target), 10, duration_s=60, count=None
            ),
        ]
        for drive in drives:
            connections = connections_of_a_drive_that_raises(drive, error)
            assert len(connections) >= 9
            assert {connection.fileno() for connection in connections} == {-1}
            assert gc.isenabled()
            assert gc.get_freeze_count() == 0


def connections_of_a_drive_that_raises(drive: Callable[[], Drive], error: BaseException) -> list[Connection]:
    """Kept alive by the list, so that it is not their destruction that closes them."""
    connections: list[Connection] = []

    def kept(target: Target, request: Request, limit_bytes: int) -> Connection:
        connections.append(Connection(target, request, limit_bytes))
        return connections[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop_module, "Connection", kept)
        with pytest.raises(type(error)):
            drive()
    return connections


def test_watch_hears_how_many_were_sent_and_ended() -> None:
    heard: list[tuple[int, int]] = []
    with TruthServer(ttft_s=0.15) as server:
        closed_loop(server.url, 2, count=10, watch=lambda sent, ended: heard.append((sent, ended)))
    assert heard == sorted(heard)
    assert all(ended <= sent <= 10 for sent, ended in heard)
    assert heard[-1][0] > 2


def test_the_time_this_process_was_busy_is_told() -> None:
    with TruthServer() as server:
        drive = closed_loop(server.url, 4, count=40)
    assert drive.account.cpu_s > 0
    assert drive.account.started_ns < min(exchange.sent_ns for exchange in drive.exchanges)
    assert max(exchange.ended_ns for exchange in drive.exchanges) <= drive.account.ended_ns


class Impatient:
    """Says that the queue grows as soon as so many were sent."""

    def __init__(self, most: int) -> None:
        self._most, self.seen = most, list[tuple[float, int, int]]()

    def see(self, at_s: float, sent: int, ended: int) -> bool:
        self.seen.append((at_s, sent, ended))
        return sent >= self._most


def test_an_open_loop_that_is_given_up_waits_for_what_it_sent_and_sends_no_more() -> None:
    impatient = Impatient(5)
    with TruthServer(ttft_s=0.5) as server:
        target = Target.of(server.url)
        requests = [ask(target, number) for number in range(60)]
        offsets = [0.1 * number for number in range(60)]
        drive = driver(target).open_loop(requests, offsets, backlog=cast("Backlog", impatient))
        served = server.log()
    assert drive.gave_up
    # It is looked at five times a second or so, and a request has its connection a little ahead of time.
    assert 5 <= len(drive.exchanges) < 60
    assert all(exchange.failure is None for exchange in drive.exchanges)
    assert len(served) == len(drive.exchanges)
    assert impatient.seen[0][0] < impatient.seen[-1][0]


def test_an_open_loop_that_is_kept_up_with_is_not_given_up() -> None:
    with TruthServer() as server:
        target = Target.of(server.url)
        requests = [ask(target, number) for number in range(40)]
        drive = driver(target).open_loop(requests, [0.05 * n for n in range(40)], backlog=Backlog(20.0))
    assert not drive.gave_up
    assert len(drive.exchanges) == 40
