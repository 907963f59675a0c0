# ruff: noqa: E501 - what a person sees is not folded
from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.engines.protocol import TOTALS
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.outcome import outcomes
from pytest_llmperf.report.overview import overview
from pytest_llmperf.report.told import told
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block
from tests.report.records import record


def test_a_broken_slo_says_where_by_how_much_and_how_sure_that_is() -> None:
    writer = Writer(ttft_ms=160, output_tokens_per_s=1000)
    for launch in (1, 2):
        writer.launch(launch, SLOW, values=latencies())
        writer.launch(launch, FAST, values=latencies(2))
    writer.judge()
    expected = """
TTFT p95 at 4/s is 300 ms, limit 160 ms: test_chat misses its SLO (vllm --max-num-seqs 256).

  SLO       TTFT p95 at 4/s is 300 ms (95% interval 292 to 308; 2 launches), limit 160 ms, 88% over
  SLO       output tokens at 4/s is 617/s (95% interval 600 to 635; 2 launches), limit 1000/s, 38% short of

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: one of those that were measured, or less in --llmperf-rates or --llmperf-concurrency
"""
    assert text_block(explain(writer.entry())) == expected


def test_an_slo_that_may_or_may_not_be_met_is_said_to_be_so() -> None:
    writer = Writer(ttft_ms=152)
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies())
    writer.judge()
    expected = """
test_chat may or may not meet its SLO (vllm --max-num-seqs 256).

  undecided TTFT p95 at 1/s is 150 ms (95% interval 147 to 153; 3 launches), limit 152 ms, 1.3% under

  Next:
    decide it with about 9 launches: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 9..13
"""
    assert text_block(explain(writer.entry())) == expected


def test_errors_break_the_slo_with_an_example_of_each_kind() -> None:
    writer = Writer()
    errors = {"HTTP 503": (3, "HTTP 503: busy"), "reset": (1, "reset: by peer")}
    writer.launch(1, requests=50, errors=errors, values=latencies())
    writer.launch(2, requests=50, errors={"HTTP 503": (2, "HTTP 503: very busy")}, values=latencies())
    writer.judge()
    expected = """
error rate at 1/s is 6%, limit 0%: test_chat misses its SLO (vllm --max-num-seqs 256).

  SLO       error rate at 1/s is 6% (missed in 2 of 2 launches), limit 0%
              5 × HTTP 503: busy
              1 × reset: by peer

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: one of those that were measured, or less in --llmperf-rates or --llmperf-concurrency
"""
    assert text_block(explain(writer.entry())) == expected


def test_every_account_of_a_test_begins_with_its_failed_requests_then_with_what_missed_by_most() -> None:
    """The sentence of the terminal, the page and the annotation; the line of many tests; the comment."""
    for errors, first in (({}, "TTFT p50"), ({"HTTP 503": (1, "busy")}, "error rate")):
        writer = Writer(ttft_p95_ms=100, ttft_p50_ms=10)
        writer.launch(1, requests=50, errors=errors, values=latencies())
        writer.judge()
        entry = {**writer.entry(), "verdict": "slo broken"}
        assert explain(entry).startswith(f"{first} at 1/s is")
        ((_, line),) = overview([entry], 200)
        assert f"  {first} at 1/s " in line
        assert told(outcomes(record(entry)))[1].startswith(f"**{first} at 1/s is")


def test_a_regression_says_what_got_worse_what_differs_why_and_how_to_go_on() -> None:
    writer = Writer(ttft_ms=1000)
    for launch in range(1, 9):
        writer.launch(launch, SLOW, values=latencies())
        worse = latencies() | {"ttft_p50_ms": 260, "output_tokens_per_s": 900}
        writer.launch(launch, FAST, values=worse, counters={"queue_s": 230})
    writer.judge(ttft_p50_ms=[100] * 8, output_tokens_per_s=[1234.6] * 8, tpot_p50_ms=[8.25] * 8)
    writer.result.subject_differences = ["version: 0.23.0 → 0.24.0", "setting a.b: 1 → 2"]
    writer.result.subject_text = "vllm"
    expected = """
TTFT p50 at 4/s: 100 ms → 260 ms, +160%: test_chat is worse than its baseline (vllm).

  worse     TTFT p50 at 4/s: 100 ms → 260 ms, +160% (95% interval +148% to +173%; 8 + 8 launches; tolerance 5%)
  worse     output tokens at 4/s: 1235/s → 900/s, -27% (95% interval -31% to -23%; 8 + 8 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs:
    version: 0.23.0 → 0.24.0
    settings  a.b: 1 → 2
  Likely: waiting
    TTFT rose at 4/s (not at 1/s), TPOT did not
    at 4/s the engine's own queue time is 230 ms a request (mean), more than TTFT p50 was (100 ms)

  Next:
    look closer, side by side with vllm==0.23.0 at that load alone: pytest --llmperf tests/test_perf.py::test_chat --llmperf-against vllm==0.23.0 --llmperf-rates 4
    find the release: llmperf bisect --good vllm==0.23.0 --bad vllm==0.24.0 -- tests/test_perf.py::test_chat --llmperf-rates 4
    if it is meant to be so, accept it: pytest --llmperf tests/test_perf.py::test_chat --llmperf-update
"""
    assert text_block(explain(writer.entry())) == expected


def test_side_by_side_the_other_subject_is_named_and_nothing_is_there_to_be_accepted() -> None:
    writer = Writer()
    for launch in range(1, 5):
        writer.launch(launch, values=latencies(2))
        writer.launch(launch, values=latencies(), of_base=True)
    writer.side_by_side("vllm==0.23.0", version="0.23.0")
    writer.result.command = [*writer.result.command, "--llmperf-against", "vllm==0.23.0"]
    writer.result.subject_text = "vllm"
    expected = """
TTFT p50 at 1/s: 100 ms → 200 ms, +100%: test_chat is worse than vllm==0.23.0, measured side by side (vllm).

  worse     TTFT p50 at 1/s: 100 ms → 200 ms, +100% (95% interval +87% to +114%; 4 + 4 launches; tolerance 5%)
  worse     TPOT p50 at 1/s: 8.25 ms → 16.5 ms, +100% (95% interval +87% to +114%; 4 + 4 launches; tolerance 5%)

  measured side by side with vllm==0.23.0
  What differs: nothing that is known of; version, flags, variables and settings are equal
  Perhaps: every step of the model, or too many requests at once
    TTFT and TPOT rose at 1/s

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-against vllm==0.23.0
    find the release: llmperf bisect --good vllm==0.23.0 --bad vllm==0.24.0 -- tests/test_perf.py::test_chat
"""
    assert text_block(explain(writer.entry())) == expected


def test_what_broke_the_slo_cannot_be_accepted_and_no_one_is_told_to_try() -> None:
    writer = Writer(ttft_ms=160)
    for launch in (1, 2, 3, 4):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p95_ms=[120] * 3)
    told = explain(writer.entry())
    assert told.startswith(
        "TTFT p95 at 1/s is 195 ms, limit 160 ms: test_chat misses its SLO and is worse than its baseline "
    )
    assert "  SLO       TTFT p95 at 1/s is 195 ms" in told
    assert "  worse     TTFT p95 at 1/s: 120 ms → 195 ms" in told
    assert "find the load that still meets the SLO" in told
    assert "--llmperf-update" not in told


def test_an_undecided_change_says_how_likely_it_matters_and_what_would_decide_it() -> None:
    writer = Writer("tests/test_perf.py::test_chat[tiny model]")
    writer.launch(1, values=latencies())
    writer.judge(tpot_p50_ms=[8.25])
    expected = """
test_chat[tiny model] could not be told from its baseline, nor be called equal (vllm --max-num-seqs 256).

  undecided TPOT p50 at 1/s: 8.25 ms → 8.25 ms, +0.0% (95% interval -13% to +15%; 1 + 1 launches; tolerance 5%; since most changes are none, 25% chance of being worse than that)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    decide it side by side, with about 3 launches of each: pytest --llmperf 'tests/test_perf.py::test_chat[tiny model]' --llmperf-against vllm==0.23.0 --llmperf-launches 3..5
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_test_may_be_undecided_in_both() -> None:
    writer = Writer(ttft_ms=152)
    writer.launch(1, values=latencies())
    writer.judge(tpot_p50_ms=[8.25])
    told = explain(writer.entry())
    assert told.startswith(
        "test_chat may or may not meet its SLO and could not be told from its baseline, nor be called equal "
    )
    assert told.count("  undecided ") == 2


def test_small_steps_are_told_with_where_they_began() -> None:
    writer = Writer()
    for launch in range(1, 9):
        writer.launch(launch, values=latencies())
    writer.judge(ttft_p50_ms=[99] * 8)
    writer.crept("ttft_p50_ms", [86] * 8, "vllm==0.20.0")
    expected = """
TTFT p50 at 1/s: 86 ms → 100 ms, +16%: test_chat is worse than it once was, by small steps (vllm --max-num-seqs 256).

  worse     in small steps: TTFT p50 at 1/s: 86 ms → 100 ms, +16% since 2026-05-01 (vllm==0.20.0), over 3 accepted baselines, each within its tolerance (95% interval +11% to +22%; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    look closer, side by side with vllm==0.20.0: pytest --llmperf tests/test_perf.py::test_chat --llmperf-against vllm==0.20.0
    if it is meant to be so, accept it: pytest --llmperf tests/test_perf.py::test_chat --llmperf-update
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_test_that_was_not_compared_in_everything_says_why_and_how_to_go_on() -> None:
    writer = Writer(ttft_ms=160)
    writer.launch(1, values=latencies())
    writer.judge()
    writer.result.baseline = "the baseline has no values at 1/s"
    expected = """
test_chat was not compared with a baseline in everything (vllm --max-num-seqs 256).

  the baseline has no values at 1/s

  Next:
    accept what is measured, if it is as it should be: pytest --llmperf tests/test_perf.py::test_chat --llmperf-update
"""
    assert text_block(explain(writer.entry())) == expected


def test_side_by_side_what_was_not_compared_cannot_be_accepted() -> None:
    writer = Writer()
    for launch in range(1, 9):
        writer.launch(launch, values=latencies(0.9))
        writer.launch(launch, values=latencies(), of_base=True)
    writer.side_by_side("vllm==0.23.0")
    writer.result.baseline += "; not in it: goodput"
    expected = """
test_chat was not compared with vllm==0.23.0 in everything (vllm --max-num-seqs 256).

  measured side by side with vllm==0.23.0; not in it: goodput

  Next:
    see whether both sides have a value now: pytest --llmperf tests/test_perf.py::test_chat
"""
    assert text_block(explain(writer.entry())) == expected


def test_undecided_changes_do_not_clutter_a_clear_regression() -> None:
    writer = Writer()
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3, tpot_p50_ms=[8.25 * 1.3] * 3)
    assert "undecided" not in explain(writer.entry())


COUNTED = st.dictionaries(st.sampled_from(TOTALS), st.integers(0, 10**6), max_size=len(TOTALS))


@given(
    scales=st.lists(st.floats(0.3, 3), min_size=2, max_size=2),
    launches=st.integers(1, 8),
    is_side_by_side=st.booleans(),
    crept=st.booleans(),
    failed=st.sampled_from([0, 3, 50]),
    now=COUNTED,
    before=COUNTED,
)
def test_whatever_was_measured_is_told_in_numbers_and_commands_that_a_shell_takes(
    scales: list[float],
    launches: int,
    is_side_by_side: bool,
    crept: bool,
    failed: int,
    now: Mapping[str, float],
    before: Mapping[str, float],
) -> None:
    writer = Writer(ttft_ms=150, error_rate=0.05)
    errors = {"reset": (failed, "reset: x")} if failed else {}
    for launch in range(1, launches + 1):
        for point, scale in zip((SLOW, FAST), scales, strict=True):
            values = latencies(scale) | {"ttft_mean_ms": 120 * scale}
            writer.launch(launch, point, values, counters=now, requests=50, errors=errors)
            if is_side_by_side:
                base = latencies() | {"ttft_mean_ms": 120}
                writer.launch(launch, point, base, counters=before, of_base=True)
    former: dict[str, list[float]] = {"ttft_p50_ms": [100] * 3, "tpot_p50_ms": [8.25] * 3}
    writer.judge(**({} if is_side_by_side else former))
    if is_side_by_side:
        writer.side_by_side("vllm==0.23.0", version="0.23.0")
    elif crept:
        writer.crept("ttft_p50_ms", [50, 51], "vllm==0.20.0")
    told = explain(writer.entry())
    assert not re.search(r"\b(nan|inf|None)\b|[{}]", told)
    for line in told.splitlines():
        command = line.partition(": pytest ")[2]
        assert not command or shlex.split(command)[0] == "--llmperf"
