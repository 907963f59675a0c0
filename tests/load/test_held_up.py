"""A client process that is stopped for a moment, and limits that are not the tests' own to lower."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import statistics
import sys
import time
from pathlib import Path

import pytest

from pytest_llmperf.load.connection import KERNEL_STAMPS
from tests.load.child import LOW, STREAMS, TOKENS, child, told_by
from tests.servers import TruthServer

CROWD = 1100


def wait_for_tokens(server: TruthServer, count: int) -> None:
    """Until each stream has so many."""
    while True:
        log = server.log()
        if len(log) == STREAMS and min(len(served.token_ns) for served in log.values()) >= count:
            return
        time.sleep(0.01)


def wait_until_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


@pytest.mark.skipif(not KERNEL_STAMPS, reason="needs the kernel's receive stamps")
def test_a_stopped_client_has_the_times_of_all_tokens_that_were_not_merged_and_counts_the_others() -> None:
    with TruthServer(ttft_s=0.05, itl_s=0.02) as server, child("stream", server.url) as process:
        wait_for_tokens(server, 5)
        os.kill(process.pid, signal.SIGSTOP)
        wait_until_stopped(process.pid)
        stopped_ns = time.monotonic_ns()
        # Until all has long arrived, so that nothing of it can come after the awakening.
        wait_for_tokens(server, TOKENS)
        time.sleep(0.3)
        continued_ns = time.monotonic_ns()
        os.kill(process.pid, signal.SIGCONT)
        told = told_by(process)
        log = server.log()
    merged_of_all = 0
    lags_ns = []
    for trace in told["traces"]:
        assert trace["error"] is None
        written_ns, token_ns = log[trace["id"]].token_ns, trace["token_ns"]
        assert len(token_ns) == len(written_ns) == TOKENS
        assert token_ns == sorted(token_ns)
        # All of those but the last; others may be merged on a busy machine.
        missed = sum(moment > stopped_ns for moment in written_ns)
        assert missed >= 2
        assert trace["merged_tokens"] >= missed - 1
        merged_of_all += trace["merged_tokens"]
        # The kernel was there when the last one came.
        assert stopped_ns < token_ns[-1] < continued_ns
        own = [
            seen - written
            for written, seen, later in itertools.zip_longest(written_ns, token_ns, token_ns[1:])
            if seen != later
        ]
        assert len(own) <= TOKENS - (missed - 1)
        lags_ns += own
    # The clocks' mapping may be off by microseconds.
    assert min(lags_ns) > -500_000
    assert statistics.median(lags_ns) < (continued_ns - stopped_ns) / 10
    health = told["health"]
    assert health["merged_share"] == pytest.approx(merged_of_all / (STREAMS * TOKENS))
    assert health["is_late"]
    assert any("were read together with later ones" in text for text in health["problems"])


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] != resource.RLIM_INFINITY
    and resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4 * CROWD,
    reason="this machine does not allow so many open files",
)
def test_more_connections_than_the_soft_limit_of_open_files_are_open_at_once() -> None:
    with child("crowd", CROWD) as process:
        told = told_by(process)
    assert told["errors"] == [None] * CROWD
    assert told["limits"][0] == LOW


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere more files may be open from the beginning")
def test_too_many_requests_for_the_open_files_are_an_invalid_run_that_says_so() -> None:
    with TruthServer(ttft_s=10) as server, child("exhaust", server.url) as process:
        told = told_by(process)
    under_way, _, rest = told["error"].partition(" ")
    assert 0 < int(under_way) < 60
    assert rest == (
        f"requests under way exhaust this process's open files (limit {told['limit']}): raise it with ulimit "
        "-n, or lower the load"
    )
