from __future__ import annotations

import pytest

from tests.measure.traces import START_MS, answered, failed, ns, timeline


def test_successful_requests_become_columns_in_their_order() -> None:
    run = timeline([answered(1000, 1100, 1120, 1150), answered(1500, 1700, 1710)])
    assert run.requests == 2
    assert run.due_ns.tolist() == [ns(1000), ns(1500)]
    assert run.first_ns.tolist() == [ns(1100), ns(1700)]
    assert run.last_ns.tolist() == [ns(1150), ns(1710)]
    assert run.tokens.tolist() == [3, 2]
    assert run.errors == {}


def test_gaps_are_pooled_but_never_span_two_requests() -> None:
    run = timeline([answered(1000, 1100, 1120, 1150), answered(1500, 1700), answered(1600, 1800, 1801)])
    assert run.gaps_ns.tolist() == [ns(20), ns(30), ns(1)]


def test_tokens_are_the_engines_own_count_and_not_the_number_of_events() -> None:
    assert timeline([answered(1000, 1100, 1200, tokens=17)]).tokens.tolist() == [17]


def test_a_failed_request_counts_but_its_times_do_not() -> None:
    run = timeline([answered(1000, 1100), failed(1000, "cut short: 1 of 3 tokens", 1050, 9999)])
    assert run.requests == 2
    assert run.due_ns.size == run.first_ns.size == run.last_ns.size == run.tokens.size == 1
    assert run.gaps_ns.size == 0
    assert run.window_s == pytest.approx(0.1)


def test_errors_are_counted_by_kind_most_frequent_first_with_the_first_example() -> None:
    run = timeline(
        [
            failed(1000, "HTTP 500: out of memory"),
            failed(1001, "reset: by peer"),
            failed(1002, "reset: after 3 tokens"),
            failed(1003, "timeout"),
        ]
    )
    assert run.errors == {
        "reset": (2, "reset: by peer"),
        "HTTP 500": (1, "HTTP 500: out of memory"),
        "timeout": (1, "timeout"),
    }
    assert list(run.errors) == ["reset", "HTTP 500", "timeout"]


@pytest.mark.parametrize(
    ("scheduled_s", "window_s"),
    [(0.0, 2.5), (2.0, 2.5), (30.0, 30.0)],
)
def test_rates_are_over_the_schedule_or_up_to_the_last_token_whichever_is_later(
    scheduled_s: float, window_s: float
) -> None:
    run = timeline([answered(1000, 1100, START_MS + 2500), answered(1000, 1200)], scheduled_s)
    assert run.window_s == pytest.approx(window_s)


@pytest.mark.parametrize("count", [0, 3])
def test_a_run_without_a_success_has_empty_columns(count: int) -> None:
    run = timeline([failed(1000, "refused: nobody listens")] * count, scheduled_s=30.0)
    assert run.requests == count
    assert run.window_s == 30.0
    assert [c.size for c in (run.due_ns, run.first_ns, run.last_ns, run.tokens, run.gaps_ns)] == [0] * 5


def test_times_beyond_a_float_keep_every_nanosecond() -> None:
    late = answered(1000, 1001)
    shifted = late.__class__(**{**vars(late), "due_ns": 2**62 + 1, "token_ns": (2**62 + 3,)})
    run = timeline([shifted])
    assert (run.first_ns - run.due_ns).tolist() == [2]
