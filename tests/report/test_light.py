from __future__ import annotations

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.prices import Price
from pytest_llmperf.measure.light import Light
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.light import light_lines, price_lines
from pytest_llmperf.report.table import table
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block

FLOORS = Light(14.7, 4.52, "H100 SXM")
PRICE = Price(3.95, "our contract", "2026-10-01")


def test_where_nothing_is_known_nothing_is_said() -> None:
    writer = Writer()
    writer.launch(1, values=latencies())
    assert light_lines(writer.entry()) == price_lines(writer.entry()) == []
    assert light_lines(Writer().entry()) == price_lines(Writer().entry()) == []
    assert "light" not in str(writer.entry())
    assert "price" not in str(writer.entry())


def test_the_speed_of_light_is_told_of_the_lightest_load() -> None:
    writer = Writer()
    for point, scale, rate in ((FAST, 2.0, 3.9), (SLOW, 1.0, 0.98)):
        values = latencies(scale) | {"requests_per_s": rate}
        writer.launch(1, point, values=values, light=FLOORS.as_json(values))
    assert light_lines(writer.entry()) == [
        "speed of light at 1/s: TTFT 14.7 ms (15% of it reached), TPOT 4.52 ms (55% of it reached)"
    ]


def test_the_share_is_that_of_the_figures_in_the_table() -> None:
    writer = Writer()
    for launch, scale in ((1, 1.0), (2, 4.0)):
        values = latencies(scale)
        writer.launch(launch, SLOW, values=values, light=FLOORS.as_json(values))
    # The geometric mean of 8.25 and 33 ms.
    assert table(writer.entry())[1].split()[4] == "16.5"
    assert light_lines(writer.entry())[0].endswith("TPOT 4.52 ms (27% of it reached)")


def test_what_is_known_of_one_alone_is_told_alone() -> None:
    for floors, told in (
        (Light(None, 4.52, "x"), "speed of light at 1/s: TPOT 4.52 ms (55% of it reached)"),
        (Light(14.7, None, "x"), "speed of light at 1/s: TTFT 14.7 ms (15% of it reached)"),
    ):
        writer = Writer()
        writer.launch(1, values=latencies(), light=floors.as_json(latencies()))
        assert light_lines(writer.entry()) == [told]


def test_what_is_faster_than_light_is_not_what_it_seems() -> None:
    writer = Writer()
    writer.launch(1, values=latencies(), light=Light(None, 16.5, "x").as_json(latencies()))
    assert light_lines(writer.entry()) == [
        "speed of light at 1/s: TPOT 16.5 ms (200% of it, which cannot be: the model or the GPU is not what "
        "it seems)"
    ]


def test_of_a_run_in_which_all_failed_there_is_no_share() -> None:
    writer = Writer()
    writer.launch(1, values={}, light=FLOORS.as_json({}))
    assert light_lines(writer.entry()) == []


def test_a_record_has_the_floors_the_shares_and_the_price() -> None:
    writer = Writer()
    writer.launch(1, values=latencies(), light=FLOORS.as_json(latencies()), price=PRICE)
    run = writer.entry()["points"][0]["runs"][0]
    assert run["light"] == {
        "ttft_ms": 14.7,
        "tpot_ms": 4.52,
        "share": {"ttft": 0.147, "tpot": 0.547879},
        "of": "H100 SXM",
    }
    assert run["price"] == {"usd_per_hour": 3.95, "source": "our contract", "date": "2026-10-01"}


def test_a_cost_that_has_a_limit_is_in_the_table_with_its_price_below() -> None:
    writer = Writer(cost_usd_per_mtok=1)
    for launch in (1, 2):
        writer.launch(launch, SLOW, values=latencies() | {"cost_usd_per_mtok": 0.5163}, price=PRICE)
        writer.launch(launch, FAST, values=latencies() | {"cost_usd_per_mtok": 1.25}, price=PRICE)
    writer.judge()
    expected = """
load  TTFT p50    p95    p99  TPOT p50  ITL p99  tok/s  req/s    cost  errors
1/s      100.0  150.0  200.0      8.25     31.5   1235  0.987  $0.52✓       0
4/s      100.0  150.0  200.0      8.25     31.5   1235  0.987  $1.25✗       0
"""
    assert text_block(table(writer.entry())) == expected
    assert price_lines(writer.entry()) == [
        "cost per million output tokens, at $3.95/h (our contract, 2026-10-01)"
    ]


def test_a_cost_that_got_worse_is_told_in_dollars() -> None:
    writer = Writer()
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies() | {"cost_usd_per_mtok": 0.64}, price=PRICE)
    writer.judge(cost_usd_per_mtok=[0.5] * 3)
    writer.result.verdict = Verdict.REGRESSED
    assert "cost at 1/s: $0.50/M tokens → $0.64/M tokens, +28%" in explain(writer.entry())
    assert price_lines(writer.entry()) != []


def test_a_cost_that_nobody_asked_for_is_only_in_the_record() -> None:
    writer = Writer(ttft_ms=300)
    writer.launch(1, values=latencies() | {"cost_usd_per_mtok": 0.5163}, price=PRICE)
    writer.judge()
    assert price_lines(writer.entry()) == []
    assert "cost" not in table(writer.entry())[0]


def test_a_closed_loop_has_its_lightest_load_as_well() -> None:
    writer = Writer()
    for concurrency, rate in ((8, 20.0), (1, 4.0)):
        values = latencies() | {"requests_per_s": rate}
        point = LoadPoint(concurrency=concurrency, requests=10)
        writer.launch(1, point, values=values, light=FLOORS.as_json(values))
    assert light_lines(writer.entry())[0].startswith(
        f"speed of light at {LoadPoint(concurrency=1, requests=10).label}: "
    )
