from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.markers import Plan, read_plan, slo, sweep, tolerance
from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.options import MARKERS
from pytest_llmperf.declare.search import Search
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import DeclarationError


def settings(typed: dict[str, str] | None = None, ini: dict[str, str] | None = None) -> Settings:
    return Settings.resolve(typed or {}, {}, ini or {})


def plan(*marks: pytest.MarkDecorator, using: Settings | None = None) -> Plan:
    """As ``iter_markers`` would give them: closest first."""
    return read_plan([decorator.mark for decorator in marks], using or settings())


def limits(of: Plan) -> dict[str, float]:
    return {limit.key.name: limit.value for limit in of.slo.limits}


def labels(points: list[LoadPoint]) -> list[str]:
    return [point.label for point in points]


def engine(*args: object, **named: object) -> pytest.MarkDecorator:
    return pytest.mark.engine.with_args(*args, **named)


def test_the_decorators_are_the_markers_with_what_was_said_and_no_more() -> None:
    assert slo(ttft_ms=300).mark == pytest.mark.slo(ttft_ms=300).mark
    assert sweep(rates=[1, 2], duration=5).mark == pytest.mark.sweep(rates=[1, 2], duration=5).mark


def test_a_test_without_markers_gets_the_defaults() -> None:
    bare = plan()
    assert bare.subject == Subject("llamacpp")
    assert limits(bare) == {}
    assert bare.points() == [LoadPoint(concurrency=1, duration_s=30.0)]


def test_the_closest_marker_wins_limit_by_limit() -> None:
    module, function = slo(ttft_ms=300, tpot_ms=40), slo(ttft_ms=200)
    assert limits(plan(function, module)) == {"ttft_p95_ms": 200, "tpot_p95_ms": 40}
    assert limits(plan(module, function)) == {"ttft_p95_ms": 300, "tpot_p95_ms": 40}


def test_the_closest_sweep_wins_and_keeps_what_it_does_not_speak_of() -> None:
    module, function = sweep(concurrency=[1, 8], duration=5), sweep(rates=[2, 4])
    assert plan(function, module).points() == [
        LoadPoint(rate=2.0, duration_s=5.0),
        LoadPoint(rate=4.0, duration_s=5.0),
    ]


def test_the_closest_engine_wins_as_a_whole() -> None:
    assert plan(engine("vllm"), engine("llamacpp --parallel 8")).subject == Subject("vllm")


def test_the_engine_of_an_option_outranks_the_marker_which_outranks_the_configuration() -> None:
    ini = {"engine": "sglang"}
    assert plan(using=settings(ini=ini)).subject.engine == "sglang"
    assert plan(engine("vllm"), using=settings(ini=ini)).subject.engine == "vllm"
    assert plan(engine("vllm"), using=settings({"engine": "llamacpp"}, ini)).subject.engine == "llamacpp"


def shares(of: Plan) -> list[float]:
    """The tolerances of TTFT p95, TPOT p95 and all others, in percent."""
    keys = (MetricKey("ttft", "p95"), MetricKey("tpot", "p95"), MetricKey("requests"))
    return [round(of.tolerances.of(key) * 100, 9) for key in keys]


def test_a_tolerance_says_what_the_marker_says() -> None:
    assert tolerance("3%", ttft_ms="10%").mark == pytest.mark.tolerance("3%", ttft_ms="10%").mark
    assert shares(plan()) == [5, 5, 5]
    assert shares(plan(tolerance("3%"))) == [3, 3, 3]
    assert shares(plan(tolerance("3%", ttft_p95_ms="10%"))) == [10, 3, 3]
    assert shares(plan(tolerance(ttft_ms=7.5))) == [7.5, 5, 5]


def test_a_tolerance_for_everything_takes_back_what_a_lower_place_said_of_one_metric() -> None:
    module, function = tolerance("4%", ttft_ms="20%"), tolerance(tpot_ms="1%")
    assert shares(plan(function, module)) == [20, 1, 4]
    assert shares(plan(tolerance("2%"), module)) == [2, 2, 2]
    assert shares(plan(function, module, using=settings({"tolerance": "ttft_ms=9%"}))) == [9, 1, 4]
    assert shares(plan(function, module, using=settings({"tolerance": "6%"}))) == [6, 6, 6]
    assert shares(plan(function, using=settings(ini={"tolerance": "6% ttft_ms=9%"}))) == [9, 1, 6]


def test_limits_of_all_levels_come_together() -> None:
    using = settings({"slo": "ttft_ms=100"}, {"slo": "ttft_ms=900 e2e_ms=5000 tpot_ms=50"})
    asked = plan(slo(ttft_ms=300, tpot_ms=40, goodput=0.9), using=using)
    assert limits(asked) == {"ttft_p95_ms": 100, "e2e_p95_ms": 5000, "tpot_p95_ms": 40, "goodput": 0.9}


def test_a_marker_gets_the_percentile_of_the_session() -> None:
    assert limits(plan(slo(ttft_ms=300), using=settings({"percentile": "p99"}))) == {"ttft_p99_ms": 300}


@pytest.mark.parametrize(
    ("typed", "ini", "marked", "call", "expected"),
    [
        ({}, {}, {}, {}, ["1 at once"]),
        ({}, {"rates": "7"}, {}, {}, ["7/s"]),
        ({}, {"rates": "7"}, {"rates": [1, 2]}, {}, ["1/s", "2/s"]),
        ({}, {"rates": "7"}, {"concurrency": [3]}, {}, ["3 at once"]),
        ({"rates": "9"}, {"rates": "7"}, {"concurrency": [3]}, {}, ["9/s"]),
        ({"concurrency": "9"}, {}, {"rates": [1, 2]}, {}, ["9 at once"]),
        ({}, {}, {"rates": [1, 2]}, {"rates": [5]}, ["5/s"]),
        ({}, {}, {"rates": [1, 2]}, {"concurrency": [5]}, ["5 at once"]),
        ({"rates": "9"}, {}, {"rates": [1, 2]}, {"rates": [5]}, ["5/s"]),
        ({"rates": "9"}, {}, {}, {"concurrency": [5]}, ["5 at once"]),
        ({"rates": "9"}, {}, {}, {"duration": 5}, ["9/s"]),
        ({"replay": "2"}, {}, {"rates": [1, "1..2"]}, {}, ["replay ×2"]),
        ({"rates": "1..9"}, {"replay": "2"}, {}, {}, ["1→9/s"]),
        ({"rates": "9"}, {}, {"replay": [1, 2]}, {"replay": [3]}, ["replay ×3"]),
    ],
)
def test_an_option_replaces_the_sweep_of_a_test_but_not_the_points_that_its_body_names(
    typed: dict[str, str],
    ini: dict[str, str],
    marked: dict[str, Any],
    call: dict[str, Any],
    expected: list[str],
) -> None:
    marks = [pytest.mark.sweep(**marked)] if marked else []
    assert labels(plan(*marks, using=settings(typed, ini)).points(Sweep.of(**call))) == expected


@pytest.mark.parametrize(
    ("typed", "marked", "call", "duration_s", "requests"),
    [
        ({}, {"duration": 5}, {}, 5, None),
        ({}, {"duration": 5}, {"duration": 6}, 6, None),
        ({}, {"duration": 5}, {"requests": 60}, None, 60),
        ({"duration": "7"}, {"duration": 5}, {"requests": 60}, 7, None),
        ({"requests": "70"}, {"duration": 5}, {"duration": 6}, None, 70),
        ({"duration": "7", "requests": "70"}, {"duration": 5}, {}, 7, 70),
    ],
)
def test_an_option_shortens_every_point_even_one_that_the_body_names(
    typed: dict[str, str],
    marked: dict[str, Any],
    call: dict[str, Any],
    duration_s: float | None,
    requests: int | None,
) -> None:
    asked = plan(pytest.mark.sweep(rates=[2], **marked), using=settings(typed))
    assert asked.points(Sweep.of(rates=[4], **call)) == [
        LoadPoint(rate=4.0, duration_s=duration_s, requests=requests)
    ]


def test_arrivals_follow_the_same_order() -> None:
    marked = pytest.mark.sweep(rates=[2], arrivals="constant")
    assert plan(marked).points()[0].arrivals == "constant"
    assert plan(marked, using=settings(ini={"arrivals": "poisson"})).points()[0].arrivals == "constant"
    assert plan(marked, using=settings({"arrivals": "poisson"})).points()[0].arrivals == "poisson"


def test_a_plan_says_about_how_long_it_takes() -> None:
    assert plan(sweep(rates=[1, 2, 4], duration=5)).expected_s == 15
    assert plan(sweep(rates=[1, 2, 4], requests=8)).expected_s == 8 + 4 + 2
    assert plan(sweep(concurrency=[1, 2], duration=5)).expected_s == 10


def test_a_plan_promises_nothing_about_what_it_does_not_know() -> None:
    assert plan(sweep(concurrency=[1, 2], requests=8)).expected_s is None
    assert plan().expected_s is None


def test_a_sweep_that_names_no_points_finds_its_own_within_its_budget() -> None:
    for marked in (sweep(), sweep(duration=5), sweep(budget="5m"), sweep(rates="adaptive", budget=300)):
        assert plan(marked).sweep().search == Search("adaptive")
        assert plan(marked).points() == []
        assert plan(marked).expected_s == 300
    assert plan(sweep(budget="90s")).expected_s == 90
    assert plan(sweep(rates="linear")).sweep().search == Search("linear", 10)


def test_a_closer_word_about_the_length_leaves_the_rates_as_they_are() -> None:
    marked = [sweep(duration=5), sweep(rates=[1, 2])]
    assert [point.rate for point in plan(*marked).points()] == [1, 2]
    below = settings(ini={"rates": "3"})
    assert [point.rate for point in plan(sweep(duration=5), using=below).points()] == [3]
    assert plan(sweep(), using=below).sweep().search == Search()


def test_a_call_or_an_option_that_names_points_replaces_the_search() -> None:
    searching = plan(sweep())
    assert [point.rate for point in searching.points(Sweep.of(rates=[4]))] == [4]
    assert [point.rate for point in plan(sweep(), using=settings({"rates": "7"})).points()] == [7]
    assert plan(sweep(rates=[1]), using=settings({"rates": "adaptive:6"})).sweep().search == Search(
        "adaptive", 6
    )


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        (
            pytest.mark.slo(300),
            "@slo(300): takes named values only, as in slo(ttft_ms=300, tpot_ms=40)",
        ),
        (pytest.mark.slo, "@slo(): says nothing; expected slo(ttft_ms=300, tpot_ms=40)"),
        (slo(ttft_ms=-1), "@slo(ttft_ms=-1): ttft_ms=-1: a limit is greater than 0"),
        (
            pytest.mark.sweep([1, 2]),
            "@sweep([1, 2]): takes named values only, as in sweep(rates=[1, 2, 4]), "
            "sweep(concurrency=[1, 8]) or sweep(replay=[1]), with duration=, requests=, arrivals=",
        ),
        (
            pytest.mark.sweep(rate=4, users=2),
            "@sweep(rate=4, users=2): unknown rate, users; valid: rates, concurrency, replay, duration, "
            "requests, arrivals, budget",
        ),
        (sweep(rates=[0]), "@sweep(rates=[0]): rates=0: a number greater than 0"),
        (
            sweep(rates=[1], concurrency=[1]),
            "@sweep(rates=[1], concurrency=[1]): give either rates (open loop), concurrency (closed loop) or "
            "replay (of a trace)",
        ),
        (pytest.mark.tolerance, "@tolerance(): names no tolerance, as in 5% or ttft_p95_ms=10%"),
        (tolerance(0.05), "@tolerance(0.05): '0.05': write 0.05% or 5%, whichever is meant"),
        (tolerance(tpot_ms="x"), "@tolerance(tpot_ms='x'): tpot_ms='x' is not a number"),
        (
            pytest.mark.tolerance("3%", "4%"),
            "@tolerance('3%', '4%'): takes percentages, as in tolerance('3%', ttft_p95_ms='10%')",
        ),
        (
            pytest.mark.tolerance(ttft_ms=True),
            "@tolerance(ttft_ms=True): takes percentages, as in tolerance('3%', ttft_p95_ms='10%')",
        ),
        (pytest.mark.engine, "@engine(…): takes one string, as in engine('llamacpp --parallel 8')"),
        (engine("a", "b"), "@engine(…): takes one string, as in engine('llamacpp --parallel 8')"),
        (engine(["vllm"]), "@engine(…): takes one string, as in engine('llamacpp --parallel 8')"),
        (engine("vllm", x=1), "@engine(…): takes one string, as in engine('llamacpp --parallel 8')"),
        (engine("vllm 'x"), "@engine(…): engine: no closing quotation"),
    ],
)
def test_an_error_shows_the_marker_as_it_was_written(mark: pytest.MarkDecorator, message: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        plan(mark)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["vllm --api-key hunter2 'x", "HF_TOKEN=hunter2", "http://me:hunter2@host"])
def test_an_error_about_an_engine_shows_no_secret(text: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        plan(engine(text))
    assert "hunter2" not in str(caught.value)


def test_an_unknown_limit_names_the_marker_and_the_valid_metrics() -> None:
    with pytest.raises(DeclarationError, match=r"^@slo\(ttft=300\): unknown metric 'ttft' \(did you mean"):
        plan(slo(ttft=300))


def test_an_unknown_tolerance_names_the_marker_and_the_valid_metrics() -> None:
    with pytest.raises(DeclarationError, match=r"^@tolerance\(ttft='5%'\): unknown metric 'ttft' \(did you"):
        plan(tolerance(ttft="5%"))


def test_a_marker_of_someone_else_is_no_business_of_ours() -> None:
    assert plan(pytest.mark.skip(reason="x")) == plan()


def test_every_marker_is_registered_with_an_example_of_itself() -> None:
    assert {name: text.startswith(f"{name}(") for name, text in MARKERS.items()} == {
        "slo": True,
        "sweep": True,
        "tolerance": True,
        "engine": True,
    }


def test_a_plan_says_about_how_many_load_points_it_has() -> None:
    assert plan(sweep(rates=[1, 2, 4])).expected_points == 3
    assert plan(sweep(rates="adaptive:6")).expected_points == 8
    assert plan(sweep(duration=20, budget="3m")).expected_points == 11
