from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_llmperf.load.account import Account
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.health import CACHE_BLOCK_TOKENS, Health, examine
from pytest_llmperf.load.request import Request

MS = 1_000_000
INPUT_TOKENS = 128
ADVICE = "the load generator used 5% of a core: give it a core of its own, or lower the rate"
REQUEST = Request("r-0", b"", 2, INPUT_TOKENS)


def trace(number: int, lag_ms: float = 0.1, ttft_ms: float = 50, wait_ms: float = 0.25) -> Trace:
    """Handed over ``lag_ms`` after it was due, and taken by the connection ``wait_ms`` later."""
    due_ns = 1_000_000 * MS + number * 100 * MS
    handed_ns = due_ns + round(lag_ms * MS)
    first_ns = due_ns + round(ttft_ms * MS)
    return Trace(
        request=REQUEST,
        due_ns=due_ns,
        handed_ns=handed_ns,
        sent_ns=handed_ns + round(wait_ms * MS),
        first_byte_ns=first_ns,
        token_ns=(first_ns, first_ns + 10 * MS),
        merged_ns=(),
        ended_ns=first_ns + 10 * MS,
        status=200,
        output_tokens=2,
        prompt_tokens=INPUT_TOKENS,
        cached_tokens=None,
        error=None,
    )


def failed(error: str, number: int = 0) -> Trace:
    return replace(trace(number), sent_ns=0, token_ns=(), prompt_tokens=None, error=error)


def account(
    *,
    cpu_s: float = 0.5,
    cpu_wait_s: float = 0.0,
    steal_share: float = 0.0,
    read_lags_ms: Sequence[float] = (),
    drift_ms: float = 0.0,
    span_s: float = 10,
    processes: int = 1,
) -> Account:
    return Account(
        started_ns=0,
        ended_ns=round(span_s * 1e9),
        cpu_s=cpu_s,
        cpu_wait_s=cpu_wait_s,
        steal_share=steal_share,
        read_lags_ns=[round(lag * MS) for lag in read_lags_ms],
        clock_drift_ns=round(drift_ms * MS),
        processes=processes,
    )


def judged(traces: Sequence[Trace], cost: Account | None = None, *, is_open_loop: bool = True) -> Health:
    return examine(cost or account(), traces, is_open_loop=is_open_loop)


def test_a_run_on_time_has_no_problems() -> None:
    health = judged([trace(number) for number in range(100)])
    assert health.problems == ()
    assert health.dispatch_lag_p50_ms == pytest.approx(0.1)
    assert health.dispatch_lag_p99_ms == pytest.approx(0.1)
    assert health.connect_wait_p99_ms == pytest.approx(0.25)
    assert health.read_lag_p99_ms == 0
    assert health.merged_share == 0
    assert health.arrivals == pytest.approx(1)
    assert health.clock_drift_ms == 0
    assert not health.is_late
    assert health.cpu_share == pytest.approx(0.05)
    assert health.cpu_wait_share == health.steal_share == 0
    assert health.processes == 1
    assert health.clock == "process"
    assert judged([trace(0)], account(read_lags_ms=[0.1])).clock == "kernel"
    assert health.cached_prompt_share == 0
    assert health.wrong_prompt_lengths == 0


def test_requests_that_leave_late_are_a_problem_with_its_size_its_limit_and_a_remedy() -> None:
    health = judged([trace(number, lag_ms=12.5) for number in range(100)])
    assert health.is_late
    assert health.problems == (f"requests left 12.5 ms late (p99; limit 10.0 ms): {ADVICE}",)


def test_a_few_late_requests_are_seen_by_the_99th_percentile() -> None:
    late = [trace(number, lag_ms=30 if number % 33 == 0 else 0.1) for number in range(100)]
    health = judged(late)
    assert health.dispatch_lag_p50_ms < 1
    assert len(health.problems) == 1
    assert health.problems[0].startswith("requests left 30.0 ms late")


def test_the_limit_of_lateness_grows_with_the_time_to_first_token() -> None:
    assert judged([trace(number, lag_ms=40, ttft_ms=500) for number in range(20)]).problems == ()
    (problem,) = judged([trace(number, lag_ms=60, ttft_ms=500) for number in range(20)]).problems
    assert problem.startswith("requests left 60.0 ms late (p99; limit 50.0 ms): ")


def test_without_any_token_the_fixed_limit_of_lateness_holds() -> None:
    silent = [replace(trace(number, lag_ms=11), token_ns=(), error="timeout: x") for number in range(20)]
    (problem,) = judged(silent).problems
    assert "limit 10.0 ms" in problem


def test_a_connection_that_is_slow_to_take_requests_is_told_and_not_held_against_the_generator() -> None:
    health = judged([trace(number, wait_ms=200, ttft_ms=300) for number in range(20)])
    assert health.connect_wait_p99_ms == pytest.approx(200)
    assert health.dispatch_lag_p99_ms == pytest.approx(0.1)
    assert health.problems == ()


# -- reads that come late ----------------------------------------------------------------------------


def test_data_that_is_read_late_is_a_problem_because_tokens_then_share_a_time() -> None:
    health = judged([trace(number) for number in range(20)], account(read_lags_ms=[12.5] * 100))
    assert health.read_lag_p99_ms == pytest.approx(12.5)
    assert health.is_late
    assert health.problems == (
        "data was read 12.5 ms after it came (p99; limit 10.0 ms), so that "
        f"tokens which came in between share one time: {ADVICE}",
    )


def test_a_few_late_reads_are_seen_by_the_99th_percentile() -> None:
    one_in_33 = [30.0 if number % 33 == 0 else 0.1 for number in range(1000)]
    assert len(judged([trace(0)], account(read_lags_ms=one_in_33)).problems) == 1
    one_in_500 = [30.0 if number % 500 == 0 else 0.1 for number in range(1000)]
    assert judged([trace(0)], account(read_lags_ms=one_in_500)).problems == ()


def test_the_limit_of_late_reads_is_that_of_late_requests() -> None:
    slow = [trace(number, ttft_ms=500) for number in range(20)]
    assert judged(slow, account(read_lags_ms=[49.0] * 10)).problems == ()
    (problem,) = judged(slow, account(read_lags_ms=[51.0] * 10)).problems
    assert problem.startswith("data was read 51.0 ms after it came (p99; limit 50.0 ms), so that ")


# -- tokens that share a time ------------------------------------------------------------------------


def merged(shared: int, tokens: int, span_ms: float = 11) -> Trace:
    one = trace(0)
    return replace(one, token_ns=one.token_ns[:1] * tokens, merged_ns=(round(span_ms * MS),) * shared)


def test_one_token_in_a_hundred_may_share_a_later_ones_time() -> None:
    health = judged([merged(0, 50), merged(2, 150)])
    assert health.merged_share == pytest.approx(0.01)
    assert health.problems == ()


def test_more_tokens_that_share_a_later_ones_time_are_a_problem() -> None:
    health = judged([merged(0, 50), merged(3, 150)])
    assert health.merged_share == pytest.approx(0.015)
    assert health.is_late
    assert health.problems == (
        "1.5% of the tokens (limit 1%) were read together with later ones and got their time, which may be "
        f"over 10.0 ms too late: {ADVICE}",
    )


def test_tokens_that_are_a_little_too_late_count_but_are_no_problem() -> None:
    health = judged([merged(50, 100, span_ms=9)])
    assert health.merged_share == pytest.approx(0.5)
    assert health.problems == ()
    slow = [trace(number, ttft_ms=500) for number in range(3)]
    assert judged([*slow, merged(50, 100, span_ms=49)]).problems == ()
    assert judged([*slow, merged(50, 100, span_ms=51)]).is_late


def test_without_any_token_none_shares_a_time() -> None:
    assert judged([failed("timeout: x")]).merged_share == 0


# -- arrivals ----------------------------------------------------------------------------------------


def slipping(by_ms: float, count: int = 11, never_handed: int = 0) -> list[Trace]:
    """Requests due within ``count`` - 1 tenths of a second, each a little later than the one before it."""
    late = [trace(number, lag_ms=by_ms * number / (count - 1)) for number in range(count)]
    never = replace(failed("reset: the connection was closed before the request was due"), handed_ns=0)
    return [*late, *[never] * never_handed]


def test_nearly_all_arrivals_are_enough() -> None:
    health = judged(slipping(by_ms=9.9))
    assert health.arrivals == pytest.approx(1000 / 1009.9)
    assert health.problems == ()


def test_fewer_arrivals_than_were_asked_for_are_a_problem() -> None:
    health = judged([replace(one, token_ns=(one.due_ns + 500 * MS,)) for one in slipping(by_ms=60)])
    assert health.arrivals == pytest.approx(1000 / 1060)
    assert health.is_late
    assert health.problems[-1] == (
        f"94.3% of the arrivals per second that were asked for were achieved (limit 99%): {ADVICE}"
    )


def test_a_short_run_may_miss_a_few_milliseconds_of_its_time() -> None:
    slipped = slipping(by_ms=9, count=2)
    assert judged(slipped).arrivals < 0.99
    assert judged(slipped).problems == ()


def test_the_order_of_the_traces_does_not_matter_to_the_arrivals() -> None:
    late = slipping(by_ms=20)
    assert judged(late[::-1]).arrivals == judged(late).arrivals


def test_a_request_that_was_never_handed_over_did_not_arrive() -> None:
    assert judged(slipping(by_ms=0, count=9, never_handed=1)).arrivals == pytest.approx(0.9)


def test_a_closed_loop_was_not_asked_for_any_rate() -> None:
    health = judged(slipping(by_ms=500), is_open_loop=False)
    assert health.arrivals == 1
    assert not any("arrivals" in problem for problem in health.problems)


@pytest.mark.parametrize("numbers", [(), (0,), (5, 5)])
def test_arrivals_at_one_moment_have_no_rate(numbers: Sequence[int]) -> None:
    assert judged([trace(number) for number in numbers]).arrivals == 1


# -- what would help ---------------------------------------------------------------------------------

ALONE = "give it a core of its own, or lower the rate"


@pytest.mark.parametrize(
    ("cpu_s", "cpu_wait_s", "steal_share", "advice"),
    [
        (0.0, 0.0, 0.0, f"0% of a core: {ALONE}"),
        (6.0, 0.2, 0.05, f"60% of a core: {ALONE}"),
        (0.5, 0.21, 0.05, f"5% of a core and waited 2% of the time for one: {ALONE}"),
        (
            6.1,
            5.0,
            0.05,
            "61% of a core: use more worker processes (--llmperf-workers), or lower the rate",
        ),
        (6.1, 5.0, 0.06, "61% of a core, and the hypervisor kept 6%: use a machine of your own"),
    ],
)
def test_the_advice_depends_on_what_kept_the_generator(
    cpu_s: float, cpu_wait_s: float, steal_share: float, advice: str
) -> None:
    cost = account(cpu_s=cpu_s, cpu_wait_s=cpu_wait_s, steal_share=steal_share)
    health = judged([trace(number, lag_ms=20) for number in range(9)], cost)
    assert health.cpu_share == pytest.approx(cpu_s / 10)
    assert health.cpu_wait_share == pytest.approx(cpu_wait_s / 10)
    assert health.steal_share == steal_share
    assert health.problems == (
        f"requests left 20.0 ms late (p99; limit 10.0 ms): the load generator used {advice}",
    )


def test_a_busy_generator_that_was_on_time_is_no_problem() -> None:
    cost = account(cpu_s=9.9, cpu_wait_s=1.0, steal_share=0.5)
    assert judged([trace(number) for number in range(9)], cost).problems == ()


def test_how_many_processes_drove_the_load_is_told() -> None:
    assert judged([trace(0)], account(processes=3)).processes == 3


# -- the clock ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span_s", "drift_ms", "limit_ms"),
    [(10, 6.1, 6.0), (10, -6.1, 6.0), (0.001, 1.1, 1.0), (100, 51.2, 51.0), (100, -3600_000, 51.0)],
)
def test_a_clock_that_is_set_during_the_run_is_a_problem(
    span_s: float, drift_ms: float, limit_ms: float
) -> None:
    health = judged([trace(0)], account(drift_ms=drift_ms, span_s=span_s, cpu_s=0))
    assert health.clock_drift_ms == pytest.approx(drift_ms)
    assert health.is_late
    assert health.problems == (
        f"the machine's clock was set by {drift_ms:.1f} ms during the run (limit {limit_ms:.1f} ms): let it "
        "settle first",
    )


@pytest.mark.parametrize(
    ("span_s", "drift_ms"), [(10, 5.9), (10, -5.9), (0.001, 0.9), (100, 50.9), (0.001, -0.9)]
)
def test_a_clock_that_runs_a_little_fast_or_slow_is_none(span_s: float, drift_ms: float) -> None:
    health = judged([trace(0)], account(drift_ms=drift_ms, span_s=span_s, cpu_s=0))
    assert health.problems == ()
    assert not health.is_late


# -- the cache ---------------------------------------------------------------------------------------


def cached(tokens: int | None, prompt_tokens: int | None = INPUT_TOKENS, shared_tokens: int = 0) -> Trace:
    request = replace(REQUEST, shared_tokens=shared_tokens)
    return replace(trace(0), request=request, cached_tokens=tokens, prompt_tokens=prompt_tokens)


def test_hits_in_the_prefix_cache_are_a_problem() -> None:
    health = judged([cached(64), cached(64)])
    assert health.cached_prompt_share == pytest.approx(0.5)
    assert health.problems == (
        "50% of the prompt tokens came from the engine's prefix cache although every prompt was new (limit "
        "5%): is a proxy or a second client using the same server? Have it to yourself, without what caches "
        "answers in front of it",
    )


def test_a_token_or_two_from_the_cache_are_none() -> None:
    assert judged([cached(6), cached(0)]).problems == ()


@pytest.mark.parametrize(("hit", "share"), [(10, 0.0), (74, 0.0), (106, 0.25)])
def test_what_all_prompts_share_may_come_from_the_cache_in_whole_blocks(hit: int, share: float) -> None:
    assert judged([cached(hit, shared_tokens=10)]).cached_prompt_share == pytest.approx(share)


@pytest.mark.parametrize("claimed", [INPUT_TOKENS, INPUT_TOKENS + 1, 1_000_000])
def test_no_more_can_come_from_the_cache_than_there_is(claimed: int) -> None:
    assert judged([cached(claimed), cached(0)]).cached_prompt_share == pytest.approx(0.5)
    assert judged([cached(claimed, shared_tokens=INPUT_TOKENS)]).cached_prompt_share == 0


def test_each_request_says_itself_what_it_shares() -> None:
    traces = [cached(100), cached(100, shared_tokens=INPUT_TOKENS - CACHE_BLOCK_TOKENS)]
    assert judged(traces).cached_prompt_share == pytest.approx(100 / (2 * INPUT_TOKENS))


@pytest.mark.parametrize(("hits", "is_problem"), [(6, False), (7, True)])
def test_hits_up_to_a_twentieth_are_no_problem(hits: int, is_problem: bool) -> None:
    assert bool(judged([cached(hits, prompt_tokens=128)]).problems) is is_problem


def test_engines_that_do_not_tell_of_their_cache_are_not_accused() -> None:
    assert judged([cached(None), cached(None)]).cached_prompt_share == 0
    assert judged([cached(5, prompt_tokens=None), cached(5, prompt_tokens=0)]).cached_prompt_share == 0


def test_prompts_of_another_length_are_counted() -> None:
    traces = [replace(trace(0), prompt_tokens=tokens) for tokens in (INPUT_TOKENS, 127, 129, None)]
    health = judged(traces)
    assert health.wrong_prompt_lengths == 2
    assert health.problems == (
        "2 prompts were not as long as asked, as of 128 tokens that were 127 or 129 by the engine's count: "
        "does a proxy or the tokenizer add to them? Test the engine itself, with the tokenizer of its model",
    )
    assert not health.is_late


def asked_for(prompt_tokens: int | None, counted: int | None) -> Trace:
    return replace(trace(0), request=replace(REQUEST, prompt_tokens=prompt_tokens), prompt_tokens=counted)


def test_each_prompt_has_a_length_of_its_own_to_be() -> None:
    assert judged([asked_for(100, 100), asked_for(200, 200), asked_for(300, None)]).problems == ()
    (problem,) = judged([asked_for(100, 101), asked_for(200, 205), asked_for(100, 102)]).problems
    assert problem.startswith(
        "3 prompts were not as long as asked, as of 100 tokens that were 101 or 102 by the engine's count"
    )


def test_a_prompt_of_unknown_length_cannot_be_wrong() -> None:
    assert judged([asked_for(None, 7), asked_for(None, None)]).wrong_prompt_lengths == 0


def test_of_many_wrong_lengths_the_first_five_are_named() -> None:
    traces = [replace(trace(0), prompt_tokens=200 + number % 7) for number in range(21)]
    (problem,) = judged(traces).problems
    assert problem.startswith(
        "21 prompts were not as long as asked, as of 128 tokens that were 200 or 201 or 202 or 203 or 204 by "
        "the engine's count"
    )


# -- what this machine lacks -------------------------------------------------------------------------


def test_requests_that_failed_for_want_of_something_here_are_a_problem_and_not_the_engines() -> None:
    short = [failed("client: Cannot assign requested address", number) for number in range(3)]
    health = judged([trace(4), *short])
    assert not health.is_late
    assert health.problems == (
        "3 requests failed for want of something on this machine (client: Cannot assign requested address): "
        "lower the load, or give the machine more (of ports: net.ipv4.ip_local_port_range)",
    )


@pytest.mark.parametrize("error", ["connect: Connection refused", "reset: by peer", "HTTP 500: 'client: x'"])
def test_what_the_server_did_is_no_problem_of_the_run(error: str) -> None:
    assert judged([failed(error)] * 3).problems == ()


# -- all of it ---------------------------------------------------------------------------------------


def test_all_problems_are_named_at_once() -> None:
    traces = [replace(trace(number, lag_ms=20), cached_tokens=100, prompt_tokens=200) for number in range(50)]
    traces.append(failed("client: No buffer space available"))
    health = judged(traces, account(read_lags_ms=[20], drift_ms=20))
    beginnings = [" ".join(problem.split()[:3]) for problem in health.problems]
    assert beginnings == [
        *("requests left 20.0", "data was read", "the machine's clock"),
        *("50% of the", "50 prompts were", "1 requests failed"),
    ]
    assert health.is_late


def test_requests_that_were_never_sent_have_no_lateness() -> None:
    never = replace(failed("reset: the connection was closed before the request was due"), handed_ns=0)
    assert judged([never, never]).problems == ()
    health = judged([never, trace(1)])
    assert health.dispatch_lag_p50_ms == health.dispatch_lag_p99_ms == pytest.approx(0.1)
    assert health.connect_wait_p99_ms == pytest.approx(0.25)


def test_a_request_for_which_no_connection_came_was_late_or_not_all_the_same() -> None:
    refused = [
        replace(trace(number, lag_ms=50), sent_ns=0, token_ns=(), error="connect: x") for number in range(9)
    ]
    health = judged(refused)
    assert health.is_late
    assert health.dispatch_lag_p99_ms == pytest.approx(50)
    assert health.connect_wait_p99_ms == 0


@pytest.mark.parametrize(("lag_ms", "is_late"), [(9.9, False), (10.1, True)])
def test_the_limits_of_lateness_are_ten_milliseconds(lag_ms: float, is_late: bool) -> None:
    assert judged([trace(number, lag_ms=lag_ms) for number in range(9)]).is_late is is_late
    assert judged([trace(0)], account(read_lags_ms=[lag_ms])).is_late is is_late


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_nothing_can_be_judged_too(count: int) -> None:
    health = judged([trace(number) for number in range(count)])
    assert health.problems == ()
    assert not health.is_late
