from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.warmup import AGREEMENT, AGREEMENT_MS, MAX_BURSTS, WarmUp, warm_up
from tests.measure.traces import answered
from tests.servers import DONE, MODEL, TruthServer, Wire, scripted_server

SHORT = Workload(input_tokens=8, output_tokens=2)
ONE = LoadPoint(concurrency=1, requests=1)


def warmed(url: str, point: LoadPoint = ONE) -> WarmUp:
    with httpx.Client(base_url=url, trust_env=False, verify=False) as control:
        description = Description(MODEL, None, token_ids=range(1000, 2000))
        client = Client(Target.of(url), control, OpenAiServer(), description, timeout_s=30.0)
        return warm_up(client, SHORT, point)


class Paced:
    """A script that takes as long for each request as the next of ``pauses_s``."""

    def __init__(self, pauses_s: Iterator[float]) -> None:
        self._pauses_s, self.count = pauses_s, 0
        self._lock = threading.Lock()

    def __call__(self, wire: Wire) -> None:
        with self._lock:
            self.count += 1
            pause_s = next(self._pauses_s)
        threading.Event().wait(pause_s)
        wire.stream(*wire.tokens(), wire.usage_event(), DONE)


def test_a_server_that_is_steady_is_warm_after_its_first_two_bursts_or_soon() -> None:
    with TruthServer(ttft_s=0.1) as server:
        result = warmed(server.url)
        assert len(server.log()) == 4 * len(result.medians_ms)
    # Latencies that are mostly a fixed wait of the server's agree within a tenth sooner or later.
    assert result.settled
    assert 2 <= len(result.medians_ms) <= MAX_BURSTS
    assert min(result.medians_ms) >= 100


def test_it_ends_with_the_first_two_medians_that_agree() -> None:
    with TruthServer(ttft_s=0.05) as server:
        medians = warmed(server.url).medians_ms
    agrees = [
        math.isclose(last, this, rel_tol=AGREEMENT, abs_tol=AGREEMENT_MS)
        for last, this in itertools.pairwise(medians)
    ]
    assert not any(agrees[:-1])
    assert agrees[-1] or len(medians) == MAX_BURSTS


def test_a_server_that_grows_ever_faster_is_not_warm_after_the_last_burst() -> None:
    pauses_s = (0.8 / 1.6**burst for burst in range(MAX_BURSTS) for _ in range(4))
    script = Paced(pauses_s)
    with scripted_server(script) as url:
        result = warmed(url, LoadPoint(concurrency=4, requests=1))
    assert not result.settled
    assert len(result.medians_ms) == MAX_BURSTS
    assert list(result.medians_ms) == sorted(result.medians_ms, reverse=True)
    assert script.count == 4 * MAX_BURSTS


@pytest.mark.parametrize(
    ("point", "at_once", "in_a_burst"),
    [
        (LoadPoint(concurrency=1, requests=1), 1, 4),
        (LoadPoint(concurrency=6, requests=1), 6, 6),
        (LoadPoint(rate=0.5, requests=1), 1, 4),
    ],
)
def test_a_burst_is_as_large_as_what_the_load_point_keeps_under_way(
    point: LoadPoint, at_once: int, in_a_burst: int
) -> None:
    with TruthServer(ttft_s=0.1) as server:
        result = warmed(server.url, point)
        assert server.peak() == at_once
        assert len(server.log()) == in_a_burst * len(result.medians_ms)


class Bursts:
    """Stands for a client: a burst is answered after the next of ``latencies_ms``, and noted in ``asked``."""

    def __init__(self, latencies_ms: list[float]) -> None:
        self._latencies_ms = iter(latencies_ms)
        self.asked: list[tuple[int, int]] = []

    def burst(self, workload: Workload, count: int, concurrency: int) -> list[Trace]:
        self.asked.append((count, concurrency))
        return [answered(0, 0.25 + next(self._latencies_ms))] * count


def bursts_of(point: LoadPoint, *latencies_ms: float) -> list[tuple[int, int]]:
    """How many requests, and how many of them at once, each burst had."""
    client = Bursts(list(latencies_ms))
    warm_up(cast("Client", client), SHORT, point)
    return client.asked


@pytest.mark.parametrize(
    ("rate", "first", "second"),
    [
        (0.5, (4, 1), (4, 1)),
        (2.5, (4, 3), (4, 2)),
        (10, (10, 10), (5, 5)),
        (500, (256, 256), (250, 250)),
        (5000, (256, 256), (256, 256)),
    ],
)
def test_an_open_loop_keeps_rate_times_latency_under_way(
    rate: float, first: tuple[int, int], second: tuple[int, int]
) -> None:
    # The first burst knows no latency and takes it for a second; then it was 500 ms.
    assert bursts_of(LoadPoint(rate=rate, duration_s=30), 500, 500) == [first, second]


def test_a_ramp_counts_with_its_highest_rate() -> None:
    for ramp in (Ramp(1, 40), Ramp(40, 1)):
        assert bursts_of(LoadPoint(rate=ramp, duration_s=30), 500, 500) == [(40, 40), (20, 20)]


def test_a_replay_counts_with_the_mean_rate_of_its_trace(tmp_path: Path) -> None:
    lines = [f"2024-05-10 00:00:0{second}+00:00,8,2" for second in (0, 0, 0, 1, 1, 2, 2, 3, 3, 4)]
    (path := tmp_path / "t.csv").write_text("\n".join(("TIMESTAMP,ContextTokens,GeneratedTokens", *lines)))
    client = Bursts([500, 500])
    warm_up(cast("Client", client), Workload(trace=path), LoadPoint(replay=4))
    assert client.asked == [(10, 10), (5, 5)]


def test_each_burst_follows_the_latency_of_the_one_before_it() -> None:
    point = LoadPoint(rate=20, duration_s=30)
    assert [at_once for _, at_once in bursts_of(point, 4000, 2000, 400, 100, 100)] == [20, 80, 40, 8, 2]


def test_the_size_of_a_closed_loops_bursts_does_not_depend_on_the_latency() -> None:
    assert bursts_of(LoadPoint(concurrency=6, requests=1), 9000, 3000, 3000) == [(6, 6)] * 3


def test_a_server_that_fails_altogether_is_left_to_the_measurement() -> None:
    with scripted_server("server_error") as url:
        assert warmed(url) == WarmUp((), settled=False)


def test_a_server_that_begins_to_fail_ends_the_warm_up_with_what_it_had() -> None:
    pauses_s = itertools.chain([0.2] * 4, itertools.repeat(0.0))
    script = Paced(pauses_s)

    def fail_after_four(wire: Wire) -> None:
        script(wire) if script.count < 4 else wire.reset()

    with scripted_server(fail_after_four) as url:
        result = warmed(url)
    assert len(result.medians_ms) == 1
    assert not result.settled


def test_failures_among_answers_are_left_out() -> None:
    turns = itertools.count()

    def every_second(wire: Wire) -> None:
        if next(turns) % 2:
            wire.reset()
        else:
            wire.stream(*wire.tokens(), wire.usage_event(), DONE)

    with scripted_server(every_second) as url:
        result = warmed(url)
    assert len(result.medians_ms) >= 2


def test_a_burst_is_not_larger_than_the_run_that_it_is_for() -> None:
    assert bursts_of(LoadPoint(rate=100, requests=9), 500, 500) == [(9, 9), (9, 9)]


def test_a_server_that_cannot_keep_up_is_not_warmed_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_s = itertools.count(0, 6)
    monkeypatch.setattr("pytest_llmperf.load.warmup.time.monotonic", lambda: next(passed_s))
    slower = bursts_of(LoadPoint(rate=10, duration_s=5), 500, 1000, 2000, 4000)
    assert len(slower) == 2
