from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.slo import Slo, parse_slo
from pytest_llmperf.judge.fit import ANYWHERE, Fit, Point, at_load, fit, moved

SLO = parse_slo("ttft_ms=100")
RATES = (1.0, 2.0, 4.0, 8.0, 16.0)
EXPONENTS = st.floats(0.2, 4)
CAPACITIES = st.floats(1.01, 15.9)


def at(load: float, ttft_ms: float, **values: float) -> Point:
    return Point(
        load, f"{load:g}/s", {"ttft_p95_ms": ttft_ms, "error_rate": 0.0, **values}, {"ttft_p95_ms": 0.1}
    )


def curve(capacity: float, exponent: float, scale: float = 1.0) -> list[Point]:
    return [at(scale * rate, 100 * (rate / capacity) ** exponent) for rate in RATES]


def saturated(load: float, values: Mapping[str, float] | None = None) -> Point:
    return Point(load, f"{load:g}/s", values or {}, is_saturated=True)


def fitted(points: list[Point], slo: Slo = SLO, *, is_closed: bool = False) -> Fit:
    found = fit(points, slo, is_closed=is_closed)
    assert found is not None
    return found


@given(CAPACITIES, EXPONENTS)
def test_what_is_straight_in_logarithms_is_found_exactly(capacity: float, exponent: float) -> None:
    found = fitted(curve(capacity, exponent))
    steep = abs(math.log(RATES[-1] / RATES[0])) * exponent < 3  # no margin is cut off
    assert found.kind == "found"
    assert found.rate == pytest.approx(capacity, rel=1e-6 if steep else 1.0)
    assert found.between is not None
    low, high = (float(label.removesuffix("/s")) for label in found.between)
    assert low <= found.rate <= high


@given(CAPACITIES, EXPONENTS, st.floats(0.01, 100))
def test_the_unit_of_the_rate_does_not_matter(capacity: float, exponent: float, scale: float) -> None:
    one, other = fitted(curve(capacity, exponent)), fitted(curve(capacity, exponent, scale))
    assert other.rate == pytest.approx(scale * one.rate)
    assert other.deviation == pytest.approx(one.deviation)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=6), st.integers(0, 5), st.floats(1, 3))
def test_what_gets_slower_carries_no_more(latencies: list[float], which: int, factor: float) -> None:
    points = [at(rate + 1, latency) for rate, latency in enumerate(latencies)]
    slower = [
        at(p.load, p.values["ttft_p95_ms"] * (factor if i == which else 1)) for i, p in enumerate(points)
    ]
    assert fitted(slower).rate <= fitted(points).rate * (1 + 1e-9)


def test_margins_that_fall_are_put_together_with_their_neighbours() -> None:
    lucky, unlucky = 100 * math.exp(-0.2), 100 * math.exp(0.05)
    found = fitted([at(1, 40), at(2, unlucky), at(4, lucky), at(8, 300)])
    assert found.between == ("4/s", "8/s")


def test_beyond_what_was_measured_the_side_is_told() -> None:
    above, below = fitted([at(1, 40), at(4, 90)]), fitted([at(1, 140), at(4, 900)])
    assert (above.kind, above.rate, below.kind, below.rate) == ("above", 4.0, "below", 1.0)
    assert above.margin == pytest.approx(math.log(0.9))
    assert below.margin == pytest.approx(math.log(1.4))


def test_the_limit_that_is_reached_first_decides() -> None:
    points = [at(1, 50, tpot_p95_ms=10), at(4, 90, tpot_p95_ms=45), at(16, 200, tpot_p95_ms=60)]
    found = fitted(points, parse_slo("ttft_ms=100 tpot_ms=40"))
    assert found.between == ("1/s", "4/s")
    assert found.limit is not None
    assert found.limit.key.name == "tpot_p95_ms"


def test_a_failed_request_is_beyond_every_slo() -> None:
    found = fitted([at(1, 50), at(2, 50, error_rate=0.01)])
    assert found.limit is not None
    assert (found.limit.key.name, found.between) == ("error_rate", ("1/s", "2/s"))


def test_a_queue_that_grows_is_beyond_every_slo() -> None:
    found = fitted([at(1, 50), saturated(2, {"ttft_p95_ms": 90.0, "error_rate": 0.0})])
    assert (found.between, found.is_saturated) == (("1/s", "2/s"), True)
    assert 1 < found.rate < 1.5
    assert not fitted([at(1, 50), at(2, 190), saturated(4)]).is_saturated


@given(CAPACITIES, EXPONENTS, st.floats(16.1, 1000))
def test_a_rate_that_saturates_beyond_what_is_missed_says_no_more(
    capacity: float, exponent: float, rate: float
) -> None:
    assert fitted([*curve(capacity, exponent), saturated(rate)]) == fitted(curve(capacity, exponent))


@given(st.floats(0.01, 0.99), st.floats(1.01, 10))
def test_between_what_is_met_and_what_saturates_the_rate_may_be_anywhere(share: float, wider: float) -> None:
    found = fitted([at(1, 20), at(4, 100 * share), saturated(4 * wider)])
    assert (found.kind, found.is_saturated) == ("found", True)
    assert 4 <= found.rate <= 4 * wider
    assert found.deviation == pytest.approx(ANYWHERE * math.log(wider))


def test_what_saturates_at_every_rate_carries_less_than_any() -> None:
    found = fitted([saturated(8), saturated(2)])
    assert (found.kind, found.rate) == ("below", 2.0)


def test_a_rate_that_saturates_does_not_stand_for_one_without_the_values() -> None:
    assert fit([at(1, 50), saturated(2)], parse_slo("tpot_ms=40")) is None


def test_a_closed_loop_is_told_in_requests_that_were_answered() -> None:
    points = [at(1, 50, requests_per_s=10), at(8, 200, requests_per_s=40)]
    assert fitted(points, is_closed=True).rate == pytest.approx(20)
    idle = [at(1, 50, requests_per_s=0), at(8, 200, requests_per_s=40)]
    assert fitted(idle, is_closed=True).rate == 0


def test_points_without_a_value_of_the_slo_do_not_count() -> None:
    assert fit([at(1, 50)], parse_slo("tpot_ms=40")) is None
    assert fitted([at(1, 50), Point(2, "2/s", {"error_rate": 0.0})]).rate == 1.0


@given(CAPACITIES, EXPONENTS)
def test_what_is_beyond_is_reached_along_the_slope(capacity: float, exponent: float) -> None:
    edge = fitted([at(capacity * 1.2, 100 * 1.2**exponent)])
    assert edge.kind == "below"
    there = moved(edge, exponent)
    assert there.kind == "found"
    assert there.rate == pytest.approx(capacity)
    assert moved(edge, 0.0).rate == edge.rate


def with_goodput(load: float, share: float, requests: int) -> Point:
    return Point(load, f"{load:g}/s", {"goodput": share, "error_rate": 0.0}, requests=requests)


def test_shares_count_by_what_is_missing_to_all_as_in_a_search() -> None:
    """98 % of 99 % is as far beyond the limit as 99.5 % is within: half way, in rate."""
    points = [with_goodput(4, 0.995, 1_000_000), with_goodput(16, 0.98, 1_000_000)]
    found = fitted(points, Slo.of({"goodput": 0.99}))
    assert found.rate == pytest.approx(8, rel=1e-3)


def test_the_fewer_requests_the_less_a_share_says() -> None:
    few, many = (
        fitted([with_goodput(4, 0.95, n), with_goodput(16, 0.8, n)], Slo.of({"goodput": 0.9}))
        for n in (100, 10_000)
    )
    assert few.deviation > 3 * many.deviation > 0


def test_a_latency_at_a_load_is_interpolated_in_logarithms_and_never_beyond() -> None:
    points = [at(1, 50), at(4, 200)]
    assert at_load(points, "ttft_p95_ms", 2) == pytest.approx(100)
    assert at_load(points, "ttft_p95_ms", 4) == 200
    assert at_load(points, "ttft_p95_ms", 5) is None
    assert at_load(points, "e2e_p50_ms", 2) is None
    assert at_load([*points, saturated(5, {"ttft_p95_ms": 300.0})], "ttft_p95_ms", 4.5) is None
