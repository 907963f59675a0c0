from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.load.connection import KERNEL_STAMPS
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.driver import Drive
from pytest_llmperf.load.health import Health, examine

MS = 1_000_000
OPEN = LoadPoint(rate=10, duration_s=10)
CLOSED = LoadPoint(concurrency=2, duration_s=10)
INPUT_TOKENS = 128
ADVICE = "give the load generator a core of its own, or lower the rate"


def trace(number: int, lag_ms: float = 0.1, ttft_ms: float = 50) -> Trace:
    due_ns = 1_000_000 * MS + number * 100 * MS
    sent_ns = due_ns + round(lag_ms * MS)
    first_ns = due_ns + round(ttft_ms * MS)
    tokens = (first_ns, first_ns + 10 * MS)
    return Trace(due_ns, sent_ns, first_ns, tokens, first_ns + 10 * MS, 2, INPUT_TOKENS, None, None)


def judged(
    traces: list[Trace], point: LoadPoint = OPEN, cpu_s: float = 0.5, shared_tokens: int = 0
) -> Health:
    return examine(Drive([], 0, 10_000 * MS, cpu_s), traces, point, INPUT_TOKENS, shared_tokens)


def test_a_run_on_time_has_no_problems() -> None:
    health = judged([trace(number) for number in range(100)])
    assert health.problems == ()
    assert health.dispatch_lag_p50_ms == pytest.approx(0.1)
    assert health.dispatch_lag_p99_ms == pytest.approx(0.1)
    assert health.achieved_share == pytest.approx(1)
    assert health.cpu_share == pytest.approx(0.05)
    assert health.clock == ("kernel" if KERNEL_STAMPS else "process")
    assert health.cached_prompt_share == 0
    assert health.wrong_prompt_lengths == 0


def test_requests_that_leave_late_are_a_problem_with_its_size_its_limit_and_a_remedy() -> None:
    health = judged([trace(number, lag_ms=12.5) for number in range(100)])
    assert health.problems == (
        f"requests left 12.5 ms late (p99; limit 10.0 ms; this process used 5% of a core): {ADVICE}",
    )


def test_a_few_late_requests_are_seen_by_the_99th_percentile() -> None:
    late = [trace(number, lag_ms=30 if number % 33 == 0 else 0.1) for number in range(100)]
    health = judged(late)
    assert health.dispatch_lag_p50_ms < 1
    assert len(health.problems) == 1
    assert health.problems[0].startswith("requests left 30.0 ms late")


def test_the_limit_of_lateness_grows_with_the_time_to_first_token() -> None:
    assert judged([trace(number, lag_ms=40, ttft_ms=500) for number in range(20)]).problems == ()
    (problem,) = judged([trace(number, lag_ms=60, ttft_ms=500) for number in range(20)]).problems
    assert problem.startswith("requests left 60.0 ms late (p99; limit 50.0 ms; ")


def test_without_any_token_the_fixed_limit_of_lateness_holds() -> None:
    silent = [replace(trace(number, lag_ms=11), token_ns=(), error="timeout: x") for number in range(20)]
    (problem,) = judged(silent).problems
    assert "limit 10.0 ms" in problem


def test_falling_ever_further_behind_is_a_problem_of_the_rate() -> None:
    slow = [trace(number, lag_ms=number * 3.0, ttft_ms=5000) for number in range(100)]
    health = judged(slow, cpu_s=9.7)
    assert health.achieved_share == pytest.approx(100 / 103)
    assert health.problems == (
        "only 97.1% of the requested rate was driven (limit 98%; this process used 97% of a core): " + ADVICE,
    )


def test_a_closed_loop_has_no_rate_to_fall_behind() -> None:
    slow = [trace(number, lag_ms=number * 3.0, ttft_ms=5000) for number in range(100)]
    assert judged(slow, CLOSED).achieved_share == 1
    assert judged(slow, CLOSED).problems == ()


def cached(tokens: int | None, prompt_tokens: int | None = INPUT_TOKENS) -> Trace:
    return replace(trace(0), cached_tokens=tokens, prompt_tokens=prompt_tokens)


def test_hits_in_the_prefix_cache_are_a_problem() -> None:
    health = judged([cached(64), cached(64)])
    assert health.cached_prompt_share == pytest.approx(0.5)
    assert health.problems == (
        "50% of the prompt tokens came from the engine's prefix cache although every prompt was new (limit "
        "5%): is a proxy or a second client using the same server?",
    )


def test_a_token_or_two_from_the_cache_are_none() -> None:
    assert judged([cached(6), cached(0)]).problems == ()


@pytest.mark.parametrize(("hit", "share"), [(10, 0.0), (74, 0.0), (106, 0.25)])
def test_what_all_prompts_share_may_come_from_the_cache_in_whole_blocks(hit: int, share: float) -> None:
    assert judged([cached(hit)], shared_tokens=10).cached_prompt_share == pytest.approx(share)


def test_engines_that_do_not_tell_of_their_cache_are_not_accused() -> None:
    assert judged([cached(None), cached(None)]).cached_prompt_share == 0
    assert judged([cached(5, prompt_tokens=None), cached(5, prompt_tokens=0)]).cached_prompt_share == 0


def test_prompts_of_another_length_are_counted() -> None:
    traces = [replace(trace(0), prompt_tokens=tokens) for tokens in (INPUT_TOKENS, 127, 129, None)]
    health = judged(traces)
    assert health.wrong_prompt_lengths == 2
    assert health.problems == ("2 prompts were not 128 tokens long by the engine's count",)


def test_all_problems_are_named_at_once() -> None:
    traces = [
        replace(trace(number, lag_ms=20 + number * 5), cached_tokens=100, prompt_tokens=200)
        for number in range(50)
    ]
    beginnings = [problem.split()[0] for problem in judged(traces).problems]
    assert beginnings == ["requests", "only", "50%", "50"]


def test_requests_that_were_never_sent_have_no_lateness() -> None:
    never = replace(trace(0), sent_ns=0, token_ns=(), error="connect: Connection refused")
    assert judged([never, never]).problems == ()
    assert judged([never, trace(1)]).dispatch_lag_p99_ms == pytest.approx(0.1)


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_can_be_judged_too(count: int) -> None:
    health = judged([trace(number) for number in range(count)])
    assert health.problems == ()
    assert health.achieved_share == 1
