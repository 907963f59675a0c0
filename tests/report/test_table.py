from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.table import CHANGE_MARKS, COLUMNS, LEGEND, SLO_MARKS, percent, table
from pytest_llmperf.report.width import cells
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block


def test_a_plain_measurement_is_one_line_for_each_load_point() -> None:
    writer = Writer()
    writer.launch(1, SLOW, values=latencies())
    writer.launch(1, FAST, values=latencies(4))
    writer.judge()
    expected = """
load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s  errors
1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987       0
4/s      400.0  600.0  800.0      33.0    126.0  308.6  0.247       0
"""
    assert text_block(table(writer.entry())) == expected


def test_limits_are_marked_and_get_a_column_beside_their_metric_if_they_have_none() -> None:
    writer = Writer(ttft_ms=160, tpot_p90_ms=20, goodput=0.99, startup_s=60)
    for launch in (1, 2):
        writer.launch(launch, SLOW, values=latencies() | {"tpot_p90_ms": 9, "goodput": 1, "startup_s": 31})
        writer.launch(
            launch, FAST, values=latencies(12) | {"tpot_p90_ms": 108, "goodput": 0.9845, "startup_s": 31}
        )
    writer.judge()
    expected = """
load  TTFT p50     p95    p99  TPOT p50  TPOT p90  ITL p99  tok/s   req/s  goodput  start-up  errors
1/s      100.0  150.0✓  200.0      8.25        9✓     31.5   1235   0.987    100%✓     31.0✓       0
4/s       1200   1800✗   2400      99.0    108.0✗    378.0  102.9  0.0823  98.45%✗     31.0✓       0
"""
    assert text_block(table(writer.entry())) == expected


def test_what_may_or_may_not_be_met_has_a_mark_of_its_own() -> None:
    writer = Writer(ttft_ms=152)
    writer.launch(1, SLOW, values=latencies())
    writer.launch(1, FAST, values=latencies(0.5))
    writer.judge()
    assert [line.split()[2] for line in table(writer.entry())] == ["p50", "150.0?", "75.0✓"]


def test_changes_from_the_baseline_stand_below_the_values() -> None:
    writer = Writer(ttft_ms=160)
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies())
    writer.judge(
        ttft_p50_ms=[100] * 3, ttft_p95_ms=[160] * 3, tpot_p50_ms=[16.5] * 3, output_tokens_per_s=[1234.6] * 3
    )
    expected = """
load  TTFT p50     p95    p99  TPOT p50  ITL p99   tok/s  req/s  errors
1/s      130.0  195.0✗  260.0      10.7     40.9   949.7  0.759       0
         +30%✗   +22%✗            -35%▲            -23%✗
4/s      100.0  150.0✓  200.0      8.25     31.5    1235  0.987       0
        +0.0%?  -6.2%✓            -50%▲           +0.0%?
"""
    assert text_block(table(writer.entry())) == expected


def test_a_gated_metric_without_a_column_gets_one_too() -> None:
    writer = Writer()
    writer.launch(1, values=latencies() | {"e2e_p95_ms": 2500})
    writer.judge(e2e_p95_ms=[1000])
    expected = """
load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s  E2E p95  errors
1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987     2500       0
                                                                +150%✗
"""
    assert text_block(table(writer.entry())) == expected


def test_errors_are_counted_over_all_launches_and_marked_where_they_break_the_slo() -> None:
    strict, lenient = Writer(), Writer(error_rate=0.1)
    for writer in (strict, lenient):
        writer.launch(1, errors={"reset": (20, "reset: x"), "timeout": (1, "timeout")}, values=latencies())
        writer.launch(2, values=latencies())
        writer.judge()
    expected = """
load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s    errors
1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987  21/2000✗
"""
    assert text_block(table(strict.entry())) == expected
    expected = """
load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s   errors
1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987  21/2000
"""
    assert text_block(table(lenient.entry())) == expected


def test_when_all_requests_failed_there_are_dashes_and_the_number_of_failures() -> None:
    writer = Writer(ttft_ms=160)
    writer.launch(1, requests=50, errors={"refused": (50, "refused: nobody listens")})
    writer.judge()
    expected = """
load  TTFT p50  p95  p99  TPOT p50  ITL p99  tok/s  req/s  errors
1/s          –    –    –         –        –      –      –  50/50✗
"""
    assert text_block(table(writer.entry())) == expected


@pytest.mark.parametrize(
    ("answered", "row"),
    [
        (100, "1/s      100.0   150.0   200.0      8.25     31.5   1235  0.987"),
        (99, "1/s      100.0   150.0  ~200.0      8.25     31.5   1235  0.987"),
        (20, "1/s      100.0   150.0  ~200.0      8.25     31.5   1235  0.987"),
        (19, "1/s      100.0  ~150.0  ~200.0      8.25     31.5   1235  0.987"),
        (1, "1/s     ~100.0  ~150.0  ~200.0     ~8.25     31.5   1235  0.987"),
    ],
)
@pytest.mark.parametrize("failed", [0, 1000])
def test_a_percentile_of_too_few_answers_is_marked_however_many_failed(
    answered: int, row: str, failed: int
) -> None:
    writer = Writer()
    errors = {"reset": (failed, "reset: x")} if failed else {}
    writer.launch(1, requests=answered + failed, errors=errors, values=latencies())
    writer.launch(2, values=latencies())
    assert table(writer.entry())[1].split()[:8] == row.split()


def test_two_workloads_at_one_load_are_told_apart() -> None:
    writer = Writer()
    short = Workload(input_tokens=16, output_tokens=8)
    writer.launch(1, values=latencies())
    writer.launch(1, workload=short, values=latencies(2))
    expected = """
load                         TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s  errors
1/s, 1024 in / 128 out chat     100.0  150.0  200.0      8.25     31.5   1235  0.987       0
1/s, 16 in / 8 out              200.0  300.0  400.0      16.5     63.0  617.3  0.493       0
"""
    assert text_block(table(writer.entry())) == expected


def judged_against_a_baseline() -> dict[str, Any]:
    writer = Writer(ttft_ms=160)
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies())
    writer.judge(ttft_p95_ms=[160] * 3)
    return writer.entry()


def test_without_room_what_is_not_judged_goes_first_and_is_named() -> None:
    expected = """
load  TTFT p50     p95  TPOT p50  tok/s  errors
1/s      130.0  195.0✗      10.7  949.7       0
                 +22%✗
4/s      100.0  150.0✓      8.25   1235       0
                -6.2%✓
no room here for TTFT p99, ITL p99, requests
"""
    assert text_block(table(judged_against_a_baseline(), 50)) == expected


def crowded() -> dict[str, Any]:
    writer = Writer(ttft_ms=160, tpot_ms=20, e2e_ms=1000)
    values = latencies() | {"tpot_p95_ms": 9, "e2e_p95_ms": 2500}
    writer.launch(1, errors={"reset": (20, "reset: x")}, values=values)
    writer.judge(e2e_p95_ms=[2000])
    return writer.entry()


def test_a_percentile_that_stands_alone_says_of_what() -> None:
    expected = """
load  TTFT p95  TPOT p95  E2E p95    errors
1/s     150.0✓        9✓    2500✗  20/1000✗
                            +25%✗
no room here for TTFT p99, ITL p99, requests,
  output tokens, TPOT p50, TTFT p50
"""
    assert text_block(table(crowded(), 45)) == expected


def test_without_any_room_every_metric_has_a_line() -> None:
    expected = """
1/s
  TTFT p95    150.0✓
  TPOT p95        9✓
  E2E p95      2500✗  +25%✗
  errors    20/1000✗
no room here for TTFT p99, ITL
  p99, requests, output
  tokens, TPOT p50, TTFT p50
"""
    assert text_block(table(crowded(), 30)) == expected


NAMES = st.text(min_size=1, max_size=80)


@given(names=st.lists(NAMES, min_size=1, max_size=3), scale=st.floats(1e-3, 1e6), width=st.integers(20, 130))
def test_no_line_is_wider_than_the_terminal(names: list[str], scale: float, width: int) -> None:
    (point, _) = BOTH["points"]
    (run, *_) = point["runs"]
    values = {name: value * scale for name, value in run["values"].items()}
    points = [
        {**point, "load": name, "workload": name, "runs": [{**run, "values": values}]} for name in names
    ]
    lines = table({**BOTH, "points": points}, width)
    assert max(map(cells, lines)) <= width
    assert all(line.isprintable() for line in lines)


BOTH = judged_against_a_baseline()


def test_nothing_measured_is_no_table() -> None:
    assert table(Writer().entry()) == []


def test_no_line_ends_in_blanks() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    writer.judge(ttft_p50_ms=[100.0])
    assert not [line for line in table(writer.entry()) if line != line.rstrip()]


def test_every_column_is_a_metric_under_its_canonical_name() -> None:
    assert [parse_metric(name).name for _, name in COLUMNS] == [name for _, name in COLUMNS]


def test_every_verdict_on_a_change_has_its_own_mark_which_the_legend_explains() -> None:
    of_a_metric = (Verdict.PASS, Verdict.REGRESSED, Verdict.IMPROVED, Verdict.INCONCLUSIVE)
    assert set(CHANGE_MARKS) == {str(verdict) for verdict in of_a_metric}
    assert len(set(CHANGE_MARKS.values())) == len(CHANGE_MARKS)
    assert set(SLO_MARKS) == {str(v) for v in (Verdict.PASS, Verdict.SLO_BROKEN, Verdict.INCONCLUSIVE)}
    for mark in (*SLO_MARKS.values(), "~"):
        assert mark in LEGEND[0]
    for mark in CHANGE_MARKS.values():
        assert mark in LEGEND[1]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.12, "+12%"),
        (-0.004, "-0.4%"),
        (0.0, "+0.0%"),
        (0.0523, "+5.2%"),
        (0.1, "+10%"),
        (-0.354, "-35%"),
        (1.5, "+150%"),
    ],
)
def test_a_percentage_is_signed_and_short(share: float, text: str) -> None:
    assert percent(share) == text


@given(share=st.floats(-0.999, 100))
def test_a_percentage_is_off_by_no_more_than_its_last_digit(share: float) -> None:
    shown = float(percent(share).removesuffix("%"))
    assert shown == pytest.approx(share * 100, abs=0.5001 if abs(share) >= 0.1 else 0.05001)
