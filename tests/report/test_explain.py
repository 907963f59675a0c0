# ruff: noqa: E501 - what a person sees is not folded
from __future__ import annotations

import shlex

import pytest

from pytest_llmperf.report.explain import explain
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block


def test_a_broken_slo_says_where_by_how_much_and_how_often() -> None:
    writer = Writer(ttft_ms=160, output_tokens_per_s=1000)
    for launch in (1, 2):
        writer.launch(launch, SLOW, values=latencies())
        writer.launch(launch, FAST, values=latencies(1 if launch == 1 else 4))
    writer.judge()
    expected = """
TTFT p95 at 4/s is 300 ms, limit 160 ms: test_chat misses its SLO (vllm --max-num-seqs 256).

  SLO       TTFT p95 at 4/s is 300 ms, limit 160 ms (88% over; missed in 1 of 2 launches)
  SLO       output tokens at 4/s is 617/s, limit 1000/s (38% short; missed in 1 of 2 launches)

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: the table below, or less in --llmperf-rates or --llmperf-concurrency
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

  SLO       error rate at 1/s is 6%, limit 0%
              5 × HTTP 503: busy
              1 × reset: by peer

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: the table below, or less in --llmperf-rates or --llmperf-concurrency
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_regression_says_what_got_worse_what_differs_and_how_to_accept_it() -> None:
    writer = Writer(ttft_ms=1000)
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies())
    writer.judge(ttft_p50_ms=[100] * 3, output_tokens_per_s=[1234.6] * 3, tpot_p50_ms=[16.5] * 3)
    writer.result.subject_differences = ["version: 0.23.0 → 0.24.0", "flag --max-num-seqs: (none) → 256"]
    writer.result.command = [*writer.result.command, "--llmperf-engine", "vllm --max-num-seqs 256"]
    expected = """
TTFT p50 at 1/s: 100 ms → 130 ms, +30%: test_chat is worse than its baseline (vllm --max-num-seqs 256).

  worse     TTFT p50 at 1/s: 100 ms → 130 ms, +30% (95% interval +22% to +39%; 3 + 3 launches; tolerance 5%)
  worse     output tokens at 1/s: 1235/s → 950/s, -23% (95% interval -28% to -18%; 3 + 3 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs:
    version: 0.23.0 → 0.24.0
    flag --max-num-seqs: (none) → 256

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-engine 'vllm --max-num-seqs 256' --llmperf-launches 3
    if it is meant to be so, accept it: pytest --llmperf tests/test_perf.py::test_chat --llmperf-engine 'vllm --max-num-seqs 256' --llmperf-launches 3 --llmperf-update
"""
    assert text_block(explain(writer.entry())) == expected


def test_settings_that_only_another_version_has_do_not_hide_those_that_changed() -> None:
    writer = Writer()
    writer.launch(1, values=latencies(2))
    writer.judge(ttft_p50_ms=[100])
    changed = ["version: 0.22.1 → 0.24.0", "setting max_num_seqs: 128 → 256", "flag -x: (none) → on"]
    new = [f"setting new.{number}: (none) → 1" for number in range(4)]
    gone = [f"setting gone.{number}: 1 → (none)" for number in range(3)]
    writer.result.subject_differences = [*changed[:1], *new, *gone, *changed[1:]]
    lines = explain(writer.entry()).splitlines()
    start = lines.index("  What differs:") + 1
    assert [line.strip() for line in lines[start : start + 5]] == [
        *changed,
        "7 settings that only one of them tells, all in the record: "
        "new.0, new.1, new.2, new.3, gone.0, gone.1, …",
        "",
    ]
    writer.result.subject_differences = new
    assert all(f"    {line}" in explain(writer.entry()).splitlines() for line in new)


def test_what_broke_the_slo_cannot_be_accepted_and_no_one_is_told_to_try() -> None:
    writer = Writer(ttft_ms=160)
    for launch in (1, 2, 3, 4):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p95_ms=[120] * 3)
    expected = """
TTFT p95 at 1/s is 195 ms, limit 160 ms: test_chat misses its SLO and is worse than its baseline (vllm --max-num-seqs 256).

  SLO       TTFT p95 at 1/s is 195 ms, limit 160 ms (22% over; missed in 4 of 4 launches)
  worse     TTFT p95 at 1/s: 120 ms → 195 ms, +62% (95% interval +53% to +72%; 3 + 4 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 4
    find the load that still meets the SLO: the table below, or less in --llmperf-rates or --llmperf-concurrency
"""
    assert text_block(explain(writer.entry())) == expected


def test_an_undecided_change_says_how_many_launches_would_decide_it() -> None:
    writer = Writer("tests/test_perf.py::test_chat[tiny model]")
    writer.launch(1, values=latencies())
    writer.judge(ttft_p50_ms=[96], tpot_p50_ms=[8.25])
    expected = """
test_chat[tiny model] could not be told from its baseline, nor be called equal (vllm --max-num-seqs 256).

  undecided TTFT p50 at 1/s: 96 ms → 100 ms, +4.2% (95% interval -14% to +27%; 1 + 1 launches; tolerance 5%)
  undecided TPOT p50 at 1/s: 8.25 ms → 8.25 ms, +0.0% (95% interval -18% to +22%; 1 + 1 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    decide it with more launches on both sides: pytest --llmperf 'tests/test_perf.py::test_chat[tiny model]' --llmperf-launches 10
    the same with --llmperf-update, run on what the baseline is from, gives it as many launches
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_change_that_lies_on_the_tolerance_is_said_to_be_hopeless() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    writer.judge(ttft_p50_ms=[100 / 1.05])
    expected = """
test_chat could not be told from its baseline, nor be called equal (vllm --max-num-seqs 256).

  undecided TTFT p50 at 1/s: 95.2 ms → 100 ms, +5.0% (95% interval -14% to +28%; 1 + 1 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    more launches will hardly decide it: it lies too close to --llmperf-tolerance
"""
    assert text_block(explain(writer.entry())) == expected


def test_when_everything_failed_the_engine_has_the_word_and_no_lower_load_is_advised() -> None:
    writer = Writer(ttft_ms=160)
    for launch in (1, 2):
        for point in (SLOW, FAST):
            writer.launch(launch, point, requests=50, errors={"HTTP 500": (50, "HTTP 500: 'no GPU'")})
    writer.judge()
    expected = """
error rate at 1/s is 100%, limit 0%: test_chat misses its SLO (vllm --max-num-seqs 256).

  SLO       error rate at 1/s is 100%, limit 0%
              100 × HTTP 500: 'no GPU'
  SLO       error rate at 4/s is 100%, limit 0%
              100 × HTTP 500: 'no GPU'

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    read what the engine says: the examples above, and its log
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_load_at_which_some_succeeded_is_worth_a_search_for_a_lower_one() -> None:
    writer = Writer()
    writer.launch(1, SLOW, requests=50, values=latencies())
    writer.launch(1, FAST, requests=50, errors={"reset": (50, "reset: by peer")})
    writer.judge()
    expected = """
error rate at 4/s is 100%, limit 0%: test_chat misses its SLO (vllm --max-num-seqs 256).

  SLO       error rate at 4/s is 100%, limit 0%
              50 × reset: by peer

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: the table below, or less in --llmperf-rates or --llmperf-concurrency
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


def test_more_launches_are_not_advised_where_there_is_but_one_to_measure() -> None:
    writer = Writer()
    writer.result.subject = {"engine": "http://gpu.example:8000"}
    writer.result.subject_text = "http://gpu.example:8000"
    writer.launch(1, values=latencies())
    writer.judge(ttft_p50_ms=[96])
    expected = """
test_chat could not be told from its baseline, nor be called equal (http://gpu.example:8000).

  undecided TTFT p50 at 1/s: 96 ms → 100 ms, +4.2% (95% interval -14% to +27%; 1 + 1 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    a server at a URL is one launch however often it is measured, and launches of one build differ; only a change beyond the interval can be told: widen --llmperf-tolerance, or test an engine that is started from here
"""
    assert text_block(explain(writer.entry())) == expected


def test_a_server_at_a_url_can_break_its_slo_and_be_worse_like_any_other() -> None:
    writer = Writer(ttft_ms=160)
    writer.result.subject = {"engine": "https://gpu.example"}
    writer.result.subject_text = "https://gpu.example"
    writer.launch(1, values=latencies(2))
    writer.judge(ttft_p50_ms=[100])
    expected = """
TTFT p95 at 1/s is 300 ms, limit 160 ms: test_chat misses its SLO and is worse than its baseline (https://gpu.example).

  SLO       TTFT p95 at 1/s is 300 ms, limit 160 ms (88% over; missed in 1 of 1 launches)
  worse     TTFT p50 at 1/s: 100 ms → 200 ms, +100% (95% interval +64% to +143%; 1 + 1 launches; tolerance 5%)

  compared with vllm==0.23.0, accepted 2026-01-02, 3 launches
  What differs: nothing that is known of; version, flags, variables and settings are equal

  Next:
    see whether it repeats: pytest --llmperf tests/test_perf.py::test_chat --llmperf-launches 3
    find the load that still meets the SLO: the table below, or less in --llmperf-rates or --llmperf-concurrency
"""
    assert text_block(explain(writer.entry())) == expected


def test_undecided_changes_do_not_clutter_a_clear_regression() -> None:
    writer = Writer()
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3, tpot_p50_ms=[8.25 * 1.3] * 3)
    assert "undecided" not in explain(writer.entry())


@pytest.mark.parametrize(
    ("nodeid", "options"),
    [
        ("tests/test_perf.py::test_chat[it's a model]", ()),
        ("my tests/test_perf.py::test_chat", ("--llmperf-slo", "ttft_ms=300 tpot_ms=40")),
        ("t.py::test[$HOME]", ("--llmperf-engine", "A='x y' vllm --json '{\"a\": 1}'")),
    ],
)
def test_every_command_can_be_pasted_into_a_shell(nodeid: str, options: tuple[str, ...]) -> None:
    writer = Writer(nodeid)
    writer.result.command = [*writer.result.command, *options]
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3)
    commands = [
        shlex.split(line.partition(": ")[2])
        for line in explain(writer.entry()).splitlines()
        if "pytest " in line
    ]
    again = ["pytest", "--llmperf", nodeid, *options, "--llmperf-launches", "3"]
    assert commands == [again, [*again, "--llmperf-update"]]
