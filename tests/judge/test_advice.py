from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pytest_llmperf.declare.slo import parse_slo
from pytest_llmperf.judge.advice import (
    Advice,
    Candidate,
    Launch,
    Question,
    advise,
    capacity,
    replicas,
)
from pytest_llmperf.judge.fit import Fit, Point
from pytest_llmperf.measure.cost import usd_per_million

SLO = parse_slo("ttft_ms=100")
RATES = (2.0, 4.0, 8.0, 16.0)


def at(load: float, ttft_ms: float) -> Point:
    values = {
        "ttft_p95_ms": ttft_ms,
        "ttft_p50_ms": ttft_ms / 2,
        "e2e_p50_ms": ttft_ms * 9,
        "error_rate": 0.0,
    }
    return Point(load, f"{load:g}/s", values)


def launch(carries: float, rates: Sequence[float] = RATES) -> Launch:
    return Launch(tuple(at(rate, 100 * rate / carries) for rate in rates))


def candidate(name: str, *carries: float, **more: float) -> Candidate:
    return Candidate(name, tuple(map(launch, carries)), **more)


def asked(*candidates: Candidate, **question: float) -> Advice:
    return advise(candidates, Question(SLO, **question))  # type: ignore[arg-type]


def best(answer: Advice, aim: str) -> list[str]:
    return [one.entrant.name for one in answer.rankings[aim] if one.is_tie]


# -- capacity ----------------------------------------------------------------------------------------


def test_capacity_is_the_mean_over_launches_with_an_interval_that_narrows() -> None:
    one, four = (capacity(candidate("a", *[10.0] * count), SLO) for count in (1, 4))
    assert one is not None
    assert four is not None
    assert (one.kind, len(four.rates), one.between) == ("found", 4, ("8/s", "16/s"))
    assert one.rate == pytest.approx(10)
    assert one.low < four.low < 10 < four.high < one.high
    spread = capacity(candidate("a", 8.0, 12.5), SLO)
    assert spread is not None
    assert spread.rate == pytest.approx(10)


def test_a_search_under_the_same_slo_comes_before_a_sweep() -> None:
    searched = Launch(launch(10).points, (Fit(11.0, "found", 0.01), Fit(11.0, "found", 0.01)))
    found = capacity(Candidate("a", (searched,)), SLO)
    assert found is not None
    assert found.between is None
    assert list(found.rates) == pytest.approx([11])


def test_a_launch_that_was_driven_at_one_load_only_is_taken_along_the_slope_of_the_others() -> None:
    alone = Launch((at(8, 100 * 8 / 7.5),))
    found = capacity(Candidate("a", (launch(8), alone)), SLO)
    assert found is not None
    assert list(found.rates) == pytest.approx([8, 7.5])


def test_close_to_what_others_carry_a_launch_on_either_side_counts() -> None:
    """Or those that happen to be slower would count, and those that are faster not."""
    slower, faster = Launch((at(8, 102),)), Launch((at(8, 98),))
    found = capacity(Candidate("a", (launch(8.001), slower, faster)), SLO)
    assert found is not None
    assert list(found.rates) == pytest.approx([8.001, 8 / 1.02, 8 / 0.98], rel=1e-3)


def test_to_miss_the_slo_beyond_what_others_carry_is_no_news() -> None:
    far = Launch((at(16, 150),))
    near = Launch((at(2, 20),))
    found = capacity(Candidate("a", (launch(8), far, near)), SLO)
    assert found is not None
    assert list(found.rates) == pytest.approx([8])


def test_launches_on_either_side_of_the_slo_are_put_together() -> None:
    found = capacity(Candidate("a", (Launch((at(4, 50),)), Launch((at(16, 200),)))), SLO)
    assert found is not None
    assert found.kind == "found"
    assert found.rate == pytest.approx(8)


# -- advice ------------------------------------------------------------------------------------------


def test_a_third_more_is_better_and_the_same_is_a_tie() -> None:
    answer = asked(candidate("a", 10, 10.1), candidate("b", 13, 13.1), candidate("c", 13.1, 12.9))
    assert sorted(best(answer, "throughput")) == ["b", "c"]
    assert answer.rankings["throughput"][-1].entrant.name == "a"


def test_truth_is_found_counted_over_fixed_sessions() -> None:
    """Launches vary by 4 %; one candidate carries a third more than the other, or as much."""
    rng = np.random.default_rng(3)
    found = ties = covered = 0
    for _ in range(100):
        a, b, c = (
            candidate(name, *(truth * math.exp(e) for e in rng.normal(0, 0.04, 3)))
            for name, truth in (("a", 9.0), ("b", 12.0), ("c", 9.0))
        )
        found += best(asked(a, b), "throughput") == ["b"]
        ties += len(best(asked(a, c), "throughput")) == 2
        told = capacity(a, SLO)
        covered += told is not None and told.low <= 9.0 <= told.high
    assert found >= 98
    assert ties >= 95
    assert covered >= 95


def test_an_slo_that_is_missed_everywhere_is_missed_by_so_much() -> None:
    answer = asked(candidate("a", 1.0), candidate("b", 1.6))
    assert answer.capacities == {}
    assert not any(answer.rankings.values())
    assert [(miss.name, miss.label) for miss in answer.misses] == [("b", "2/s"), ("a", "2/s")]
    assert answer.misses[0].beyond == pytest.approx(0.25)
    assert answer.misses[0].value == pytest.approx(125)


def test_what_was_never_driven_to_its_limit_is_not_worse() -> None:
    answer = asked(candidate("a", 99.0), candidate("b", 15.9))
    assert answer.capacities["a"].kind == "above"
    assert best(answer, "throughput") == ["a", "b"]
    lower = asked(candidate("b", 99.0), Candidate("a", (launch(99.0, (2.0, 4.0)),)))
    assert best(lower, "throughput") == ["b", "a"]


def saturating(name: str, at_rate: float, rates: Sequence[float] = RATES) -> Candidate:
    """It meets the SLO by far at every rate but one that is saturated."""
    launched = launch(999.0, [rate for rate in rates if rate < at_rate])
    beyond = Point(at_rate, f"{at_rate:g}/s", {}, is_saturated=True)
    return Candidate(name, (Launch((*launched.points, beyond)),), 100.0, 36.0)


def test_what_was_saturated_has_a_limit_and_is_no_tie_with_what_carries_ten_times_as_much() -> None:
    slow, fast = saturating("slow", 5.2), candidate("fast", 50.0, tokens_per_request=100.0, usd_per_hour=36.0)
    fast = replace(fast, launches=(launch(50.0, (1.0, 10.0, 40.0, 60.0)),))
    answer = asked(slow, fast)
    found = answer.capacities["slow"]
    assert (found.kind, found.between, found.is_saturated) == ("found", ("4/s", "5.2/s"), True)
    assert 4 <= found.rate <= 5.2
    assert best(answer, "throughput") == best(answer, "cost") == ["fast"]


def test_the_launches_that_kept_to_the_rates_of_one_that_was_saturated_are_limited_with_it() -> None:
    explored = saturating("a", 17.0).launches[0]
    found = capacity(Candidate("a", (explored, launch(999.0), launch(999.0))), SLO)
    assert found is not None
    assert (found.kind, len(found.rates), found.is_saturated) == ("found", 3, True)
    assert 16 <= min(found.rates) <= max(found.rates) <= 17


def test_what_is_saturated_at_every_rate_is_left_out_and_its_values_are_no_miss() -> None:
    """What was given up early may have seen latencies that meet the SLO."""
    quick = Point(4.0, "4/s", at(4.0, 50.0).values, is_saturated=True)
    answer = asked(Candidate("a", (Launch((quick,)),)), candidate("b", 10.0))
    assert list(answer.capacities) == ["b"]
    assert (answer.misses, answer.load) == ([], 2.0)
    assert answer.left_out == ["a: misses the SLO, or is saturated, at every rate that was tried"]


def test_a_search_that_met_saturation_is_no_lower_bound() -> None:
    ended, lower = Fit(5.0, "found", 0.01, is_saturated=True), Fit(6.0, "above", 0.01)
    answer = asked(
        Candidate("ended", (Launch((), (ended,)),)),
        Candidate("lower", (Launch((), (lower,)),)),
        Candidate("fast", (Launch((), (Fit(50.0, "found", 0.01),)),)),
    )
    assert best(answer, "throughput") == ["fast", "lower"]
    assert answer.capacities["ended"].is_saturated


def test_goodput_is_missed_by_what_is_missing() -> None:
    def of(name: str, goodput: float) -> Candidate:
        values = {"goodput": goodput, "error_rate": 0.0}
        return Candidate(name, (Launch((Point(2.0, "2/s", values, requests=1_000_000),)),))

    answer = advise([of("far", 0.96), of("near", 0.98)], Question(parse_slo("goodput=0.99")))
    assert [(miss.name, round(miss.beyond, 2)) for miss in answer.misses] == [("near", 1.0), ("far", 3.0)]


def test_latencies_are_compared_at_the_lightest_load_that_all_have() -> None:
    answer = asked(candidate("a", 10.0, 10.0), Candidate("b", (launch(12.0, (4.0, 8.0, 16.0)),) * 2))
    assert answer.load == 4.0
    assert best(answer, "ttft_p50_ms") == ["b"]
    assert [one.estimate for one in answer.rankings["e2e_p50_ms"]] == pytest.approx([300, 360])


def test_latencies_are_compared_at_the_load_that_is_asked_for_where_the_slo_is_met() -> None:
    answer = asked(candidate("a", 4.0, 4.0), candidate("b", 15.0, 15.0), load=10.0)
    assert answer.load == 10.0
    assert best(answer, "ttft_p50_ms") == ["b"]
    assert len(answer.rankings["ttft_p50_ms"]) == 1
    assert asked(candidate("a", 4.0), load=1000.0).load == 2.0


def test_the_cheapest_may_carry_least() -> None:
    dear = candidate("dear", 15.0, 15.0, tokens_per_request=100.0, usd_per_hour=30.0)
    cheap = candidate("cheap", 8.0, 8.0, tokens_per_request=100.0, usd_per_hour=4.0)
    free = candidate("unknown", 9.0, tokens_per_request=100.0)
    answer = asked(dear, cheap, free)
    assert best(answer, "throughput") == ["dear"]
    assert best(answer, "cost") == ["cheap"]
    assert len(answer.rankings["cost"]) == 2
    assert (
        answer.rankings["cost"][0].estimate
        == pytest.approx(usd_per_million(4.0, 800))
        == pytest.approx(1.38889)
    )


def test_what_is_out_of_the_question_is_left_out_and_that_is_said() -> None:
    a = candidate("a", 10.0, tokens_per_request=100.0, usd_per_hour=36.0)
    b = candidate("b", 15.0, tokens_per_request=100.0, usd_per_hour=3.6)
    assert list(asked(a, b, min_rate=11.0).capacities) == ["b"]
    answer = asked(a, b, max_cost=2.0)
    assert list(answer.capacities) == ["b"]
    assert answer.left_out == ["a: may cost $11.5 per million tokens, and at most $2 is asked for"]
    (why,) = asked(candidate("a", 10.0), max_cost=2.0).left_out
    assert why == "a: what it costs is not known"
    (why,) = advise([candidate("a", 10.0)], Question(parse_slo("tpot_ms=4"))).left_out
    assert why == "a: was not measured at any load with all of tpot_p95_ms"


def test_replicas_are_counted_by_the_lower_end() -> None:
    found = capacity(candidate("a", 10.0), SLO)
    assert found is not None
    assert replicas(found.low * 3, found) == 3
    assert replicas(30.0, found) == 4
    assert replicas(0.1, found) == 1
