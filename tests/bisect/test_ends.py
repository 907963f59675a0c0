from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

from pytest_llmperf.bisect.ends import Ends, documented, judge_ends
from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.bisect.pair import Pair, Question, sampling
from pytest_llmperf.judge.verdict import Verdict

TPOT = Question("t.py::test_chat", "chat", "4/s", "tpot_p50_ms", "lower", 0.05)
TTFT = dataclasses.replace(TPOT, metric="ttft_p50_ms")
TOKENS = dataclasses.replace(TPOT, metric="output_tokens_per_s", better="higher")


def pairs(changes: dict[Question, float], count: int = 8, spread: float = 0.02, seed: int = 0) -> list[Pair]:
    """``changes`` are those from the first to the last position, +0.1: 10 % more."""
    rng = np.random.default_rng(seed)

    def figures() -> dict[Question, tuple[float, float]]:
        return {
            one: (40 * math.exp(a), 40 * (1 + change) * math.exp(b))
            for one, change in changes.items()
            for a, b in [spread * rng.standard_normal(2)]
        }

    return [Pair(0, 9, figures(), number) for number in range(1, count + 1)]


def judged(measured: Sequence[Pair], asked: Question | None = None) -> tuple[Ends, int]:
    """Until it is decided, and how many pairs that took."""
    for count in range(1, len(measured) + 1):
        ends = judge_ends(measured[:count], asked=asked)
        if ends.question or ends.outcome:
            return ends, count
    raise AssertionError("undecided after the last pair")


def test_what_is_worse_is_followed() -> None:
    ends, count = judged(pairs({TTFT: 0.0, TPOT: 0.15}))
    assert ends.question == TPOT
    assert ends.outcome is None
    assert ends.changes[TPOT].verdict is Verdict.REGRESSED
    assert 4 <= count <= 8


def test_of_two_the_clearest_is_followed() -> None:
    ends, _ = judged(pairs({TPOT: 0.3, TOKENS: -0.6}, spread=0.03))
    assert ends.question == TOKENS


def test_fewer_tokens_per_second_are_worse_and_more_are_better() -> None:
    assert judged(pairs({TOKENS: -0.2}))[0].question == TOKENS
    assert judged(pairs({TOKENS: 0.3}))[0].outcome is Outcome.BETTER


def test_no_difference_takes_three_pairs() -> None:
    ends, count = judged(pairs({TPOT: 0.0, TTFT: 0.0}, spread=0.005))
    assert ends.outcome is Outcome.NO_DIFFERENCE
    assert ends.question is None
    assert count == 3


def test_better_in_one_and_worse_in_none_is_better() -> None:
    assert judged(pairs({TPOT: -0.3, TOKENS: 0.0}, spread=0.01))[0].outcome is Outcome.BETTER


def test_better_in_one_and_worse_in_another_is_worth_a_search() -> None:
    assert judged(pairs({TPOT: -0.3, TOKENS: -0.3}, spread=0.01))[0].question == TOKENS


def test_what_eight_pairs_cannot_tell_is_undecided() -> None:
    ends, count = judged(pairs({TPOT: 0.05}, spread=0.05, seed=7))
    assert (ends.outcome, count) == (Outcome.ENDS_UNDECIDED, 8)


def test_only_the_question_that_was_asked_for_is_judged() -> None:
    measured = pairs({TTFT: 0.3, TPOT: 0.0}, spread=0.005)
    ends, _ = judged(measured, TPOT)
    assert list(ends.changes) == [TPOT]
    assert ends.outcome is Outcome.NO_DIFFERENCE


def test_a_metric_that_some_launch_lacks_is_not_judged() -> None:
    measured = pairs({TTFT: 0.3, TPOT: 0.15})
    measured[1] = dataclasses.replace(measured[1], figures={TPOT: measured[1].figures[TPOT]})
    assert list(judge_ends(measured).changes) == [TPOT]
    with pytest.raises(ValueError, match="no metric in common"):
        judge_ends(measured, asked=TTFT)


def test_without_anything_in_common_nothing_can_be_judged() -> None:
    with pytest.raises(ValueError, match="no metric in common"):
        judge_ends([Pair(0, 9, {})])


def test_the_spread_is_that_of_the_metric() -> None:
    assert documented(TTFT).spread == 0.05
    assert documented(TPOT).spread == 0.02


def test_equal_ends_are_seldom_called_worse() -> None:
    """Counted over 200 fixed seeds, three metrics each, launches that vary by 3 %."""
    called = [
        judged(pairs({TTFT: 0.0, TPOT: 0.0, TOKENS: 0.0}, spread=0.03, seed=seed))[0].question is not None
        for seed in range(200)
    ]
    assert sum(called) <= 3


def test_what_requests_leave_unknown_widens_the_interval_and_delays_a_verdict() -> None:
    """A launch of few requests is not as sure as the documented spread of launches has it."""
    sure = pairs({TPOT: 0.08}, count=4)
    unsure = [dataclasses.replace(one, uncertainty={TPOT: (0.06, 0.08)}) for one in sure]
    of_sure, of_unsure = (judge_ends(some).changes[TPOT] for some in (sure, unsure))
    assert of_unsure.error > 1.3 * of_sure.error
    assert of_unsure.estimate == pytest.approx(of_sure.estimate, abs=0.01)
    assert (of_sure.verdict, of_unsure.verdict) == (Verdict.REGRESSED, Verdict.INCONCLUSIVE)


def test_what_requests_leave_unknown_is_that_of_a_launch() -> None:
    pair = Pair(0, 1, {TPOT: (1.0, 1.0)}, uncertainty={TPOT: (0.03, 0.04)})
    assert sampling([pair, pair], TPOT) == pytest.approx(0.05 / math.sqrt(2))
    assert sampling([pair], TTFT) == sampling([], TPOT) == 0.0
