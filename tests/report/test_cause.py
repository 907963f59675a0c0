from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.report.cause import Cause, likely_cause
from tests.report.entries import FAST, SLOW, Writer

BUSY = LoadPoint(rate=16.0, duration_s=30.0)
NONE: Mapping[str, Any] = {}


def values(ttft: float = 1.0, tpot: float = 1.0) -> dict[str, float]:
    """Latencies that are so many times those of the base; means as they come with them."""
    return {"ttft_p50_ms": 100 * ttft, "ttft_mean_ms": 120 * ttft, "tpot_p50_ms": 8 * tpot}


def phases(queue_ms: float, prefill_ms: float, requests: float = 1000) -> dict[str, float]:
    return {
        "queue_s": queue_ms * requests / 1e3,
        "prefill_s": prefill_ms * requests / 1e3,
        "timed_requests": requests,
    }


class Sides(Writer):
    """Eight launches a side at each point; what is not said of the candidate is as in the base."""

    def point(
        self,
        point: LoadPoint = SLOW,
        ttft: float = 1.0,
        tpot: float = 1.0,
        now: Mapping[str, float] = NONE,
        before: Mapping[str, float] = NONE,
        **run: Any,
    ) -> None:
        for launch in range(1, 9):
            self.launch(launch, point, values(ttft, tpot), counters=now, **run)
            self.launch(launch, point, values(), counters=before, of_base=True)

    def cause(self) -> Cause | None:
        self.side_by_side("vllm==0.22.1", version="0.22.1")
        return likely_cause(self.entry())


class Alone(Sides):
    """The same beside a baseline, which has no counters."""

    def cause(self) -> Cause | None:
        self.judge(ttft_p50_ms=[100] * 8, tpot_p50_ms=[8] * 8)
        for point in self.result.points.values():
            point.base_runs.clear()
        return likely_cause(self.entry())


# -- metrics ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Sides, Alone])
@pytest.mark.parametrize(
    ("slow", "fast", "part", "basis"),
    [
        ((2.0, 1.0), (2.0, 1.0), "waiting or prefill", "TTFT rose at every load, TPOT did not"),
        (
            (1.0, 1.0),
            (2.0, 0.5),
            "waiting rather than prefill",
            "TTFT rose at 4/s (not at 1/s), TPOT did not",
        ),
        ((2.0, 1.0), (1.0, 1.0), "waiting or prefill", "TTFT rose at 1/s, TPOT did not"),
        ((1.0, 2.0), (1.0, 2.0), "decode", "TPOT rose at every load, TTFT did not"),
        ((1.0, 1.0), (1.0, 2.0), "decode", "TPOT rose at 4/s (not at 1/s), TTFT did not"),
        (
            (2.0, 2.0),
            (2.0, 2.0),
            "every step of the model, or too many requests at once",
            "TTFT and TPOT rose at every load",
        ),
        (
            (2.0, 1.0),
            (1.0, 2.0),
            "every step of the model, or too many requests at once",
            "TTFT rose at 1/s, TPOT at 4/s",
        ),
    ],
)
def test_metrics_alone_narrow_it_down(
    kind: type[Sides], slow: tuple[float, float], fast: tuple[float, float], part: str, basis: str
) -> None:
    sides = kind()
    sides.point(SLOW, *slow)
    sides.point(FAST, *fast)
    assert sides.cause() == Cause(part, (basis,), is_told=False)


@pytest.mark.parametrize(
    ("itl", "part", "basis"),
    [
        (1.0, "waiting or prefill", "TTFT rose at 1/s, ITL did not"),
        (2.0, "every step of the model, or too many requests at once", "TTFT and ITL rose at 1/s"),
    ],
)
def test_metrics_are_called_by_their_names(itl: float, part: str, basis: str) -> None:
    writer = Writer()
    for launch in range(1, 9):
        writer.launch(launch, values={"ttft_p50_ms": 200, "itl_p99_ms": 30 * itl})
    writer.judge(ttft_p50_ms=[100] * 8, itl_p99_ms=[30] * 8)
    assert likely_cause(writer.entry()) == Cause(part, (basis,), is_told=False)


def test_one_load_is_not_every_load() -> None:
    sides = Sides()
    sides.point(FAST, ttft=2.0)
    assert sides.cause() == Cause("waiting or prefill", ("TTFT rose at 4/s, TPOT did not",), is_told=False)


def test_loads_are_told_in_their_order() -> None:
    sides = Sides()
    for point, ttft in ((SLOW, 1.0), (FAST, 2.0), (BUSY, 3.0)):
        sides.point(point, ttft)
    cause = sides.cause()
    assert cause is not None
    assert cause.basis == ("TTFT rose at 4/s and 16/s (not at 1/s), TPOT did not",)


def test_a_quieter_load_of_another_workload_says_nothing() -> None:
    sides = Sides()
    sides.point(FAST, ttft=2.0)
    other = Workload(input_tokens=8, output_tokens=8)
    for launch in range(1, 9):
        sides.launch(launch, SLOW, values(), workload=other)
        sides.launch(launch, SLOW, values(), workload=other, of_base=True)
    cause = sides.cause()
    assert cause is not None
    assert cause.part == "waiting or prefill"


def test_where_the_other_metric_is_undecided_nothing_is_made_of_it() -> None:
    sides = Sides()
    for launch in range(1, 3):  # so few that a TPOT without a change is undecided
        sides.launch(launch, SLOW, values(2.0))
        sides.launch(launch, SLOW, values(), of_base=True)
    assert sides.cause() is None


def test_nothing_worse_has_no_cause() -> None:
    sides = Sides()
    sides.point(now={"preemptions": 500, **phases(50, 9)}, before=phases(2, 9))
    assert sides.cause() is None


# -- counters -----------------------------------------------------------------------------------------


def told(sides: Sides) -> tuple[str, str]:
    """The part, which counters tell, and the last of its grounds."""
    cause = sides.cause()
    assert cause is not None
    assert cause.is_told
    return cause.part, cause.basis[-1]


def test_waiting_is_told_by_the_engines_queue_at_the_load_where_most_got_worse() -> None:
    sides = Sides()
    sides.point(FAST, 1.5, now=phases(50, 9.4), before=phases(2, 9))
    sides.point(BUSY, 2.0, now=phases(110, 9.4), before=phases(2, 9))
    part, basis = told(sides)
    assert part == "waiting"
    assert basis == (
        "at 16/s the engine's own queue time rose from 2 ms to 110 ms a request, TTFT by 120 ms (means)"
    )


def test_prefill_is_told_by_the_engines_own_time_for_it() -> None:
    sides = Sides()
    sides.point(ttft=2.0, now=phases(2, 115), before=phases(2, 9))
    part, basis = told(sides)
    assert part == "prefill"
    assert basis == (
        "at 1/s the engine's own prefill time rose from 9 ms to 115 ms a request, TTFT by 120 ms (means)"
    )


def test_what_neither_queue_nor_prefill_explains_lies_outside() -> None:
    sides = Sides()
    sides.point(ttft=2.0, now=phases(2, 9), before=phases(2, 9))
    part, basis = told(sides)
    assert part == "the HTTP server, the tokenizer or the network"
    assert basis.startswith("at 1/s TTFT outside of queue and prefill rose from 109 ms to 229 ms a request")


def test_an_engine_without_a_queue_time_waits_where_prefill_does_not_explain_it() -> None:
    sides = Sides()
    sides.point(ttft=2.0, now={"prefill_s": 20}, before={"prefill_s": 19})
    part, basis = told(sides)
    assert part == "waiting"
    assert basis == (
        "at 1/s what the engine's own prefill time leaves of TTFT rose from 101 ms to 220 ms a request, TTFT "
        "by 120 ms (means)"
    )


def test_a_phase_counts_only_with_most_of_the_rise_and_in_every_launch() -> None:
    little = Sides()
    little.point(ttft=2.0, now={"queue_s": 40}, before={"queue_s": 2})
    assert little.cause() == Cause("waiting or prefill", ("TTFT rose at 1/s, TPOT did not",), is_told=False)
    mixed = Sides()
    mixed.point(ttft=2.0, now={"queue_s": 100}, before={"queue_s": 2})
    mixed.launch(9, SLOW, values(2.0), counters={"queue_s": 1})
    assert mixed.cause() == little.cause()


def test_requests_are_counted_as_the_engine_counts_them_or_as_they_were_answered() -> None:
    sides = Sides()
    failed = {"reset": (500, "reset: x")}
    sides.point(ttft=2.0, now={"queue_s": 55}, before={"queue_s": 2}, errors=failed)
    assert "from 2 ms to 110 ms a request" in told(sides)[1]
    sides = Sides()
    sides.point(ttft=2.0, now={"queue_s": 55, "timed_requests": 500}, before={"queue_s": 2})
    assert "from 2 ms to 110 ms a request" in told(sides)[1]


def test_beside_a_baseline_what_lasts_longer_than_all_of_ttft_did_is_new() -> None:
    alone = Alone()
    alone.point(ttft=2.0, now=phases(210, 9))
    assert told(alone) == (
        "waiting",
        "at 1/s the engine's own queue time is 210 ms a request (mean), more than TTFT p50 was (100 ms)",
    )


def test_beside_a_baseline_what_may_have_been_so_before_proves_nothing() -> None:
    alone = Alone()
    alone.point(ttft=2.0, now=phases(195, 30))
    assert alone.cause() == Cause("waiting or prefill", ("TTFT rose at 1/s, TPOT did not",), is_told=False)


def test_preemptions_are_told_where_there_were_fewer_before() -> None:
    sides = Sides()
    sides.point(tpot=2.0, now={"preemptions": 40}, before={"preemptions": 1})
    assert told(sides) == (
        "preemption",
        "at 1/s the engine ran out of KV cache 4 times in 100 requests, the other side 0.1 times in 100 "
        "requests",
    )
    as_before = Sides()
    as_before.point(tpot=2.0, now={"preemptions": 40}, before={"preemptions": 39})
    assert as_before.cause() == Cause("decode", ("TPOT rose at 1/s, TTFT did not",), is_told=False)


def test_preemptions_beside_a_baseline_may_have_been_there_before() -> None:
    alone = Alone()
    alone.point(tpot=2.0, now={"preemptions": 40})
    cause = alone.cause()
    assert cause == Cause(
        "decode",
        (
            "TPOT rose at 1/s, TTFT did not",
            "at 1/s the engine ran out of KV cache 4 times in 100 requests; a baseline does not tell whether "
            "it did before",
        ),
        is_told=False,
    )


@pytest.mark.parametrize("preemptions", [0, 9])
def test_a_few_preemptions_explain_nothing(preemptions: int) -> None:
    alone = Alone()
    alone.point(tpot=2.0, now={"preemptions": preemptions})
    assert alone.cause() == Cause("decode", ("TPOT rose at 1/s, TTFT did not",), is_told=False)


def test_a_cache_that_is_hit_less_makes_prefill_longer() -> None:
    sides = Sides()
    sides.point(ttft=2.0, now={"cached_prompt_tokens": 410_000}, before={"cached_prompt_tokens": 780_000})
    assert told(sides) == (
        "the prefix cache",
        "at 1/s 780 tokens of a prompt came from the prefix cache, now 410",
    )


@pytest.mark.parametrize(("ttft", "tpot", "now"), [(1.0, 2.0, 410_000), (2.0, 1.0, 700_000)])
def test_a_cache_is_not_accused_for_decode_or_for_a_little(ttft: float, tpot: float, now: float) -> None:
    sides = Sides()
    sides.point(SLOW, ttft, tpot, now={"cached_prompt_tokens": now}, before={"cached_prompt_tokens": 780_000})
    cause = sides.cause()
    assert cause is not None
    assert not cause.is_told


def test_drafts_that_are_accepted_less_make_decode_longer() -> None:
    sides = Sides()
    drafts = {"draft_tokens": 1000.0}
    sides.point(tpot=2.0, now=drafts | {"accepted_tokens": 610}, before=drafts | {"accepted_tokens": 740})
    assert told(sides) == (
        "speculative decoding",
        "at 1/s 61% of the drafted tokens were accepted, on the other side 74%",
    )
    gone = Sides()
    gone.point(
        tpot=2.0, now={"draft_tokens": 0, "accepted_tokens": 0}, before=drafts | {"accepted_tokens": 9}
    )
    assert told(gone)[0] == "speculative decoding"


def test_smaller_steps_of_the_model_are_told() -> None:
    sides = Sides()
    sides.point(
        ttft=2.0, now={"step_tokens": 38_000, "steps": 100}, before={"step_tokens": 81_000, "steps": 100}
    )
    assert told(sides) == (
        "smaller batches",
        "at 1/s a step of the model took 380 tokens, on the other side 810",
    )


def test_several_parts_are_told_together_and_the_pattern_of_the_metrics_first() -> None:
    sides = Sides()
    sides.point(
        FAST,
        2.0,
        now={"preemptions": 40, **phases(110, 9)},
        before={"preemptions": 0, **phases(2, 9)},
    )
    cause = sides.cause()
    assert cause is not None
    assert cause.part == "preemption and waiting"
    assert [basis.split()[0] for basis in cause.basis] == ["TTFT", "at", "at"]


# -- what is not the engine's -------------------------------------------------------------------------


def test_a_load_generator_that_is_late_by_what_ttft_rose_by_is_suspected() -> None:
    sides = Sides()
    late = {"clock": "kernel", "dispatch_lag_p99_ms": 8.0, "read_lag_p99_ms": 9.0}
    sides.point(ttft=1.12, health=late)
    cause = sides.cause()
    assert cause is not None
    assert not cause.is_told
    assert cause.basis[-1] == (
        "at 1/s the load generator was 8 ms late (p99), within its limits, but much of the 12 ms that TTFT "
        "rose by"
    )


def test_a_late_read_does_not_move_what_the_kernel_stamps() -> None:
    for clock, count in (("kernel", 1), ("process", 2)):
        sides = Sides()
        sides.point(ttft=1.12, health={"clock": clock, "dispatch_lag_p99_ms": 1.0, "read_lag_p99_ms": 7.0})
        cause = sides.cause()
        assert cause is not None
        assert len(cause.basis) == count


def test_what_disturbed_the_machine_on_one_side_only_is_told() -> None:
    sides = Sides()
    sides.point(ttft=2.0, disturbances=["GPU 0 was throttled (thermal)"])
    cause = sides.cause()
    assert cause is not None
    assert cause.basis[-1] == "at 1/s the machine was disturbed: GPU 0 was throttled (thermal)"
    assert not cause.is_told
