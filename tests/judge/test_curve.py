from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.curve import AdaptiveSweep, knee, linear_rates

Curve = Callable[[float], float]


def queue(saturation: float) -> Curve:
    """Latency of an M/M/1 queue with a service time of one."""
    return lambda rate: 1 / (1 - rate / saturation)


def sweep(curve: Curve, saturation: float, *, limit: float | None = None, most: int = 10) -> list[float]:
    """The rates that are asked for, the saturated ones among them."""
    sweeping = AdaptiveSweep(1.0, 40.0, most=most)
    asked: list[float] = []
    while (rate := sweeping.next()) is not None:
        assert len(asked) < most
        asked.append(rate)
        if rate >= saturation:
            sweeping.add(rate, {"e2e": 1000.0}, 3.0, is_saturated=True)
        else:
            margin = math.log(curve(rate) / limit) if limit else None
            sweeping.add(rate, {"e2e": curve(rate)}, margin, is_saturated=False)
    return asked


def off(curve: Curve, rates: list[float]) -> float:
    """The worst error of the logarithm between points, up to the last of them."""
    at = np.array(sorted(rates))
    fine = np.linspace(at[0], at[-1], 500)
    logs = np.log([curve(rate) for rate in at])
    return float(np.abs(np.interp(fine, at, logs) - np.log([curve(rate) for rate in fine])).max())


@pytest.mark.parametrize("saturation", [41.0, 44.0])
def test_a_curve_is_known_better_than_by_an_even_grid_of_as_many_points(saturation: float) -> None:
    curve = queue(saturation)
    asked = sweep(curve, saturation)
    assert max(asked) > 35
    assert off(curve, asked) < 0.75 * off(curve, linear_rates(1.0, max(asked), len(asked)))


def test_nothing_is_asked_at_or_above_a_saturated_point() -> None:
    asked = sweep(queue(25.0), 25.0)
    for number, rate in enumerate(asked):
        assert all(rate < other for other in asked[:number] if other >= 25.0)
    assert max(rate for rate in asked if rate < 25.0) > 22


def test_where_the_limit_is_crossed_the_points_are_closer() -> None:
    def bracket(crossing: float, limit: float | None) -> float:
        rates = sweep(queue(45.0), 45.0, limit=limit)
        return min(rate for rate in rates if rate >= crossing) - max(
            rate for rate in rates if rate < crossing
        )

    crossings = [6.0, 12.0, 17.0, 23.0, 28.0]
    blind = [bracket(one, None) for one in crossings]
    told = [bracket(one, queue(45.0)(one)) for one in crossings]
    assert sum(told) < 0.9 * sum(blind)


def test_a_straight_line_needs_few_points() -> None:
    assert len(sweep(lambda rate: math.exp(rate / 400), math.inf)) < 7


@given(st.lists(st.tuples(st.floats(0.1, 1e4), st.booleans()), min_size=12, max_size=12), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_whatever_the_answers_are_a_sweep_ends_within_its_bounds(
    answers: list[tuple[float, bool]], most: int
) -> None:
    sweeping = AdaptiveSweep(0.5, 31.7, most=most)
    asked: list[float] = []
    lost = math.inf
    while (rate := sweeping.next()) is not None:
        assert 0.5 <= rate <= 31.7
        assert rate < lost
        assert rate not in asked
        latency, is_saturated = answers[len(asked)]
        asked.append(rate)
        lost = rate if is_saturated else lost
        sweeping.add(rate, {"ttft": latency, "tpot": latency / 2}, None, is_saturated=is_saturated)
    assert 1 <= len(asked) <= most


@pytest.mark.parametrize("saturation", [22.0, 31.0, 39.5, 55.0])
@pytest.mark.parametrize("power", [-2, 1, 3])
def test_other_units_of_rate_change_nothing(power: int, saturation: float) -> None:
    """But for the third digit, where a rate lies just between two."""
    scale = 10.0**power
    one, other = AdaptiveSweep(1, 40, most=8), AdaptiveSweep(scale, 40 * scale, most=8)
    for _ in range(8):
        rate, scaled = one.next(), other.next()
        assert (rate is None) == (scaled is None)
        if rate is None or scaled is None:
            break
        assert scaled == pytest.approx(rate * scale, rel=0.006)
        latency = queue(saturation)(min(rate, 0.99 * saturation))
        for sweeping, at in ((one, rate), (other, scaled)):
            sweeping.add(at, {"e2e": latency}, None, is_saturated=rate >= saturation)


def test_a_point_that_has_no_latency_does_not_stop_a_sweep() -> None:
    sweeping = AdaptiveSweep(1, 40, most=4)
    for _ in range(4):
        rate = sweeping.next()
        assert rate is not None
        sweeping.add(rate, {}, -math.inf, is_saturated=False)


@pytest.mark.parametrize(("low", "high", "most"), [(0, 1, 5), (2, 1, 5), (1, math.inf, 5), (1, 2, 0)])
def test_a_sweep_without_bounds_is_refused(low: float, high: float, most: int) -> None:
    with pytest.raises(ValueError, match=r"rates|point"):
        AdaptiveSweep(low, high, most=most)


@pytest.mark.parametrize(("rate", "margin"), [(0.0, 0.1), (math.nan, 0.1), (1.0, math.nan)])
def test_a_point_that_is_none_is_refused(rate: float, margin: float) -> None:
    with pytest.raises(ValueError, match=r"is none|says nothing"):
        AdaptiveSweep(1, 2, most=3).add(rate, {"e2e": 1.0}, margin, is_saturated=False)


def test_an_even_grid() -> None:
    assert linear_rates(1, 10, 4) == [1, 4, 7, 10]
    with pytest.raises(ValueError, match="no grid"):
        linear_rates(1, 10, 1)


def test_the_knee_of_a_queue_is_where_it_begins_to_hurt() -> None:
    rates = linear_rates(1, 39, 20)
    found = knee(rates, [queue(40)(rate) for rate in rates])
    assert found is not None
    assert 31 <= found <= 36
    assert knee(rates[::-1], [queue(40)(rate) for rate in rates[::-1]]) == found


@given(st.floats(0.01, 100), st.floats(0.01, 100))
def test_the_knee_does_not_depend_on_units(of_rate: float, of_latency: float) -> None:
    rates = linear_rates(1, 39, 20)
    curve = [queue(40)(rate) for rate in rates]
    plain = knee(rates, curve)
    assert plain is not None
    assert knee([of_rate * rate for rate in rates], [of_latency * one for one in curve]) == pytest.approx(
        of_rate * plain
    )


@pytest.mark.parametrize("latencies", [[1, 2, 3], [3, 2, 1], [1, 1, 1], [1, 2.9, 3]])
def test_what_does_not_bend_upwards_has_no_knee(latencies: list[float]) -> None:
    assert knee([1, 2, 3], latencies) is None


def test_a_knee_takes_three_points_and_a_latency_for_each_rate() -> None:
    assert knee([1, 2], [1, 5]) is None
    with pytest.raises(ValueError, match="no curve"):
        knee([1, 2, 3], [1, 2])
