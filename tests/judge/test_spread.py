from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge import spread
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.spread import CLIP, Contrasts, Logs, contrasts
from pytest_llmperf.judge.student import t_tail

Array = npt.NDArray[np.float64]
Items = list[tuple[str, list[float], list[float]]]
PRIOR = Prior(0.05)
SIDES = st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=6)
ITEMS = st.lists(st.tuples(st.sampled_from("ab"), SIDES, SIDES), min_size=1, max_size=6)


def logs(base: Sequence[float], candidate: Sequence[float], group: str = "g", prior: Prior = PRIOR) -> Logs:
    return Logs(group, base, candidate, prior)


def alone(base: Sequence[float], candidate: Sequence[float], prior: Prior = PRIOR) -> Contrasts:
    return contrasts([logs(base, candidate, prior=prior)])


def chance(rng: np.random.Generator, items: int, launches: int, deviation: float = 0.05) -> list[Logs]:
    values = rng.normal(0, deviation, (items, 2, launches)).tolist()
    return [logs(base, candidate) for base, candidate in values]


# -- the constants -----------------------------------------------------------------------------------


def test_the_constants_are_those_of_a_clipped_normal_variable() -> None:
    z = np.linspace(-12, 12, 240_001)
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    clipped, inside = np.clip(z, -CLIP, CLIP), np.abs(z) < CLIP

    def mean(of: Array) -> float:
        return float((of * density).sum() * (z[1] - z[0]))

    variance = mean(clipped**2)
    assert variance == pytest.approx(spread._CLIPPED_VARIANCE, abs=5e-6)
    # Huber's asymptotic variances: of the mean, 1 without outliers; of a log spread, 1/2.
    assert mean(inside.astype(float)) ** 2 / variance == pytest.approx(spread._EFFICIENCY, abs=1e-5)
    slope = mean(2 * z * z * inside) / variance
    noise = mean(clipped**4) / variance**2 - 1
    assert 0.5 / (noise / slope**2) == pytest.approx(spread._SPREAD_EFFICIENCY, abs=5e-4)


# -- one item, by hand -------------------------------------------------------------------------------


def test_one_launch_a_side_knows_the_prior_and_nothing_else() -> None:
    found = alone([0.0], [0.1])
    assert found.means.tolist() == [[0.0, pytest.approx(0.1)]]
    assert float(found.spread[0]) == pytest.approx(0.05)
    assert float(found.error[0]) == pytest.approx(0.05 * math.sqrt(2 / 0.994983))
    assert float(found.degrees[0]) == 4


def test_the_variance_of_the_launches_is_averaged_with_the_priors() -> None:
    # Nothing is far enough out to be clipped: 4 squares of 0.05² have 2 degrees, which are worth 93.3 % each.
    found = alone([-0.05, 0.05], [0.15, 0.05])
    worth = 2 * 0.933
    variance = (worth * (4 * 0.05**2 / 2 / 0.956495) + 4 * 0.05**2) / (worth + 4)
    assert found.means.tolist() == [[pytest.approx(0, abs=1e-12), pytest.approx(0.1)]]
    assert float(found.spread[0]) == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert float(found.error[0]) == pytest.approx(math.sqrt(variance * (1 / 2 + 1 / 2) / 0.994983), rel=1e-9)
    assert float(found.degrees[0]) == pytest.approx(worth + 4)


def test_the_error_is_made_of_the_launches_of_either_side() -> None:
    found = alone([0.0], [0.01, 0.0, -0.01])
    assert float(found.error[0] / found.spread[0]) == pytest.approx(math.sqrt((1 + 1 / 3) / 0.994983))


def test_what_the_requests_leave_unknown_widens_the_prior() -> None:
    item = dataclasses.replace(logs([0.0], [0.0]), sampling=0.12)
    assert item.expected_spread == pytest.approx(0.13)
    assert float(contrasts([item]).spread[0]) == pytest.approx(0.13)


def test_equal_launches_leave_what_the_prior_says() -> None:
    found = alone([0.2] * 3, [0.1] * 3)
    worth = 4 * 0.933
    assert float(found.spread[0]) == pytest.approx(0.05 * math.sqrt(4 / (worth + 4)))


# -- robust ------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(rest=st.lists(st.floats(-0.05, 0.05), min_size=2, max_size=7), exponent=st.floats(0, 2.8))
def test_an_outlier_of_any_size_moves_the_mean_by_no_more_than_the_clip(
    rest: list[float], exponent: float
) -> None:
    """That is the launch taken for one that is 2.25 spreads off, and the spread stays one of launches."""
    found = alone([0.0] * len(rest), [*rest, 10**exponent])
    moved = float(found.means[0, 1]) - math.fsum(rest) / len(rest)
    assert moved <= 1.1 * CLIP * float(found.spread[0]) / len(rest)
    assert float(found.spread[0]) < 0.2


def test_the_further_out_a_launch_the_less_it_matters_how_far() -> None:
    near, far = (alone([0.0, 0.01, -0.01], [0.0, 0.01, -0.01, out]) for out in (2.0, 600.0))
    assert far.means == pytest.approx(near.means, abs=1e-3)
    assert far.error == pytest.approx(near.error, rel=0.02)


def test_launches_without_an_outlier_have_their_plain_mean() -> None:
    rng = np.random.default_rng(1)
    base, candidate = rng.uniform(-0.06, 0.06, (2, 6)).tolist()
    found = alone(base, candidate)
    assert found.means[0].tolist() == pytest.approx([np.mean(base), np.mean(candidate)], abs=1e-12)


def test_of_three_launches_the_odd_two_are_not_taken_for_the_truth() -> None:
    """As a median would do: -0.04, 0.0, 0.0 has a mean below 0."""
    assert float(alone([0.0], [-0.04, 0.0, 0.0]).means[0, 1]) == pytest.approx(-0.04 / 3)


def test_one_outlier_costs_less_than_an_ordinary_mean_would_pay() -> None:
    rng = np.random.default_rng(2)
    robust, plain = [], []
    for base, candidate in rng.normal(0, 0.05, (400, 2, 5)).tolist():
        candidate[0] += 0.5
        found = alone(base, candidate)
        robust.append(float(found.means[0, 1]))
        plain.append(np.mean(candidate))
    assert np.mean(np.square(robust)) < 0.25 * np.mean(np.square(plain))


# -- groups ------------------------------------------------------------------------------------------


def test_alike_items_tell_each_other_how_far_launches_are_apart() -> None:
    rng = np.random.default_rng(3)
    degrees = [
        np.mean([contrasts(chance(rng, items, 3)).degrees[0] for _ in range(60)]) for items in (1, 3, 10, 40)
    ]
    assert degrees == sorted(degrees)
    assert degrees[-1] > 4 * degrees[0]


def test_a_group_learns_a_spread_that_the_prior_did_not_expect() -> None:
    # The documented 5 % is 25 times the variance, and has 4 of some 150 degrees.
    found = contrasts(chance(np.random.default_rng(4), 40, 3, deviation=0.01))
    assert np.median(found.spread) == pytest.approx(0.0115, rel=0.1)


@pytest.mark.parametrize("copies", [2, 5, 20, 80])
@pytest.mark.parametrize("launches", [2, 3, 8])
def test_copies_of_an_item_are_worth_the_degrees_of_one(copies: int, launches: int) -> None:
    item = chance(np.random.default_rng(5), 1, launches)[0]
    one, many = contrasts([item]), contrasts([item] * copies)
    assert float(many.degrees.max()) <= float(one.degrees[0]) + 1e-9
    assert float(many.spread[0]) == pytest.approx(float(one.spread[0]), rel=0.15)


def test_items_that_move_together_in_part_are_worth_something_between() -> None:
    rng = np.random.default_rng(6)
    own, shared = rng.normal(0, 0.05, (20, 2, 4)), rng.normal(0, 0.05, (1, 2, 4))

    def degrees(share: float) -> float:
        values = (math.sqrt(1 - share) * own + math.sqrt(share) * shared).tolist()
        return float(np.median(contrasts([logs(base, candidate) for base, candidate in values]).degrees))

    assert degrees(0.0) > degrees(0.7) > degrees(1.0)


def test_spreads_that_differ_are_kept_apart() -> None:
    rng = np.random.default_rng(7)
    items = [*chance(rng, 10, 8, 0.01), *chance(rng, 10, 8, 0.1)]
    found = contrasts(items)
    assert np.median(found.spread[:10]) < 0.02
    assert np.median(found.spread[10:]) > 0.08
    alike = contrasts(chance(rng, 20, 8))
    assert np.median(found.degrees) < np.median(alike.degrees)


def test_items_of_another_group_do_not_say_how_wide_a_spread_is() -> None:
    rng = np.random.default_rng(8)
    quiet = chance(rng, 10, 4, 0.01)
    loud = [dataclasses.replace(item, group="loud") for item in chance(rng, 10, 4, 0.1)]
    apart, within = contrasts([*quiet, *loud]), contrasts(quiet)
    assert apart.spread[:10] == pytest.approx(within.spread, rel=0.05)


def test_an_item_with_one_launch_a_side_learns_from_its_group() -> None:
    found = contrasts([*chance(np.random.default_rng(9), 20, 4, 0.01), logs([0.0], [0.0])])
    assert float(found.spread[-1]) < 0.02


def test_an_item_with_one_launch_a_side_says_nothing_about_the_others() -> None:
    items = chance(np.random.default_rng(9), 20, 4)
    found = contrasts([*items, logs([0.0], [0.5])])
    assert found.degrees[:-1] == pytest.approx(contrasts(items).degrees, rel=1e-6)
    assert found.spread[:-1] == pytest.approx(contrasts(items).spread, rel=1e-6)


def test_items_are_measured_by_what_is_expected_of_them() -> None:
    """TTFT p50 and its p99 are one group, though the one varies by more."""
    values = np.random.default_rng(10).normal(0, 1, (12, 2, 4)) * 0.02
    wide = [False, True] * 6
    items = [
        logs(base, candidate, prior=Prior(0.1 if is_wide else 0.02))
        for (base, candidate), is_wide in zip(
            (values * np.where(wide, 5, 1)[:, None, None]).tolist(), wide, strict=True
        )
    ]
    found = contrasts(items)
    assert np.mean(found.spread[1::2]) == pytest.approx(5 * np.mean(found.spread[::2]), rel=0.15)


# -- invariances -------------------------------------------------------------------------------------


def of(items: Items, unit: float = 1.0) -> Contrasts:
    def scaled(side: list[float]) -> list[float]:
        return [unit * value for value in side]

    prior = Prior(0.05 * unit)
    return contrasts(
        [logs(scaled(base), scaled(candidate), group, prior) for group, base, candidate in items]
    )


@settings(deadline=None, max_examples=40)
@given(items=ITEMS)
def test_whatever_was_measured_the_figures_are_finite_and_positive(
    items: Items,
) -> None:
    found = of(items)
    assert np.isfinite(found.means).all()
    for figures in (found.error, found.spread, found.degrees):
        assert figures.shape == (len(items),)
        assert np.isfinite(figures).all()
        assert (figures > 0).all()


@settings(deadline=None, max_examples=40)
@given(items=ITEMS, unit=st.sampled_from([0.5, 2.0, 16.0]))
def test_the_unit_of_the_logarithms_does_not_matter(items: Items, unit: float) -> None:
    plain, scaled = of(items), of(items, unit)
    assert scaled.means == pytest.approx(unit * plain.means, rel=1e-9)
    assert scaled.error == pytest.approx(unit * plain.error, rel=1e-9)
    assert scaled.degrees == pytest.approx(plain.degrees, rel=1e-9)


@settings(deadline=None, max_examples=40)
@given(items=ITEMS)
def test_swapping_the_sides_swaps_the_means(items: Items) -> None:
    there, back = of(items), of([(group, candidate, base) for group, base, candidate in items])
    assert back.means == pytest.approx(there.means[:, ::-1], abs=1e-12)
    assert back.error == pytest.approx(there.error, rel=1e-6)
    assert back.degrees == pytest.approx(there.degrees, rel=1e-6)


@settings(deadline=None, max_examples=40)
@given(items=ITEMS, seed=st.integers(0, 10))
def test_the_order_of_the_items_does_not_matter(items: Items, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(items))
    plain, shuffled = of(items), of([items[i] for i in order])
    assert shuffled.means == pytest.approx(plain.means[order], abs=1e-9)
    assert shuffled.error == pytest.approx(plain.error[order], rel=1e-6)
    assert shuffled.degrees == pytest.approx(plain.degrees[order], rel=1e-6)


@pytest.mark.parametrize("items", [1, 2, 20])
@pytest.mark.parametrize(("base", "candidate"), [(1, 1), (1, 2), (1, 3), (3, 1), (2, 2), (3, 3), (8, 5)])
def test_no_number_of_launches_is_a_special_case(items: int, base: int, candidate: int) -> None:
    """Among them all that have no residual, or two that are one another's mirror."""
    rng = np.random.default_rng(12)
    varied = [logs(rng.normal(0, 0.05, base).tolist(), rng.normal(0, 0.05, candidate).tolist())] * items
    equal = [logs([0.3] * base, [0.1] * candidate)] * items
    for every in (varied, equal, [*varied, *equal]):
        found = contrasts(every)
        assert (found.error > 0.005).all()
        assert (found.error < 0.2).all()
        assert (found.degrees > 0.5).all()


@pytest.mark.parametrize(("base", "candidate"), [([], [0.0]), ([0.0], []), ([], [])])
def test_a_side_without_a_launch_is_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one launch on either side"):
        contrasts([logs([0.0], [0.0]), logs(base, candidate)])


# -- calibration -------------------------------------------------------------------------------------


def spreads(rng: np.random.Generator, sessions: int) -> Array:
    """What the prior says: 5 %, as well known as from 4 degrees of freedom."""
    return np.asarray(0.05 * np.sqrt(4 / rng.chisquare(4, sessions)))


def covered(found: Contrasts) -> npt.NDArray[np.bool_]:
    """Which 95 % intervals have the truth, no change, in them."""
    far = np.abs(found.means[:, 1] - found.means[:, 0]) / found.error
    return np.asarray(t_tail(far, found.degrees) >= 0.025)


@pytest.mark.parametrize("launches", [1, 2, 3, 5])
def test_the_interval_of_an_item_alone_covers_the_truth(launches: int) -> None:
    rng = np.random.default_rng(launches)
    values = spreads(rng, 1500)[:, None, None] * rng.normal(size=(1500, 2, launches))
    found = contrasts([logs(base, candidate, str(i)) for i, (base, candidate) in enumerate(values.tolist())])
    assert 0.93 <= covered(found).mean() <= 0.98


@pytest.mark.parametrize(("shared", "unlike"), [(0.0, 0.0), (0.5, 0.0), (1.0, 0.0), (0.0, 0.4)])
def test_so_do_the_intervals_of_many_whether_or_not_they_are_alike(shared: float, unlike: float) -> None:
    """Items that move together with a share of their variance; items that differ by so much in log spread."""
    rng = np.random.default_rng(13)
    shares = []
    for spread_of_session in spreads(rng, 150).tolist():
        values = math.sqrt(1 - shared) * rng.normal(size=(10, 2, 3))
        values += math.sqrt(shared) * rng.normal(size=(1, 2, 3))
        values *= spread_of_session * np.exp(rng.normal(0, unlike, (10, 1, 1)))
        shares.append(
            covered(contrasts([logs(base, candidate) for base, candidate in values.tolist()])).mean()
        )
    assert np.mean(shares) >= 0.93


# -- drift -------------------------------------------------------------------------------------------


def in_turn(launches: int, drift: float, change: float, noise: Sequence[float] = ()) -> Logs:
    """Launched as base, candidate, candidate, base, …, each ``drift`` more than the one before."""
    base: list[float] = []
    candidate: list[float] = []
    place = 0
    for number in range(launches):
        for is_candidate in (False, True) if number % 2 == 0 else (True, False):
            value = drift * place + change * is_candidate + (noise[place] if noise else 0.0)
            (candidate if is_candidate else base).append(value)
            place += 1
    return Logs("m", base, candidate, Prior(0.03), is_paired=True)


@pytest.mark.parametrize("launches", [3, 4, 5, 8])
@pytest.mark.parametrize("drift", [0.0, 0.01, -0.2])
def test_a_steady_drift_is_neither_a_difference_nor_a_spread(launches: int, drift: float) -> None:
    still, drifting = (contrasts([in_turn(launches, slope, 0.07)]) for slope in (0.0, drift))
    assert float(np.diff(drifting.means)[0, 0]) == pytest.approx(0.07, abs=1e-9)
    assert drifting.error[0] == pytest.approx(still.error[0])
    assert drifting.spread[0] == pytest.approx(still.spread[0])


def test_noise_and_drift_are_told_apart() -> None:
    noise = np.random.default_rng(1).normal(0, 0.03, 16).tolist()
    still, drifting = (contrasts([in_turn(8, slope, 0.1, noise)]) for slope in (0.0, 0.05))
    assert drifting.means[0, 1] - drifting.means[0, 0] == pytest.approx(
        still.means[0, 1] - still.means[0, 0], abs=1e-3
    )
    assert drifting.error[0] == pytest.approx(still.error[0], rel=2e-3)


def test_a_drift_costs_one_degree_of_freedom() -> None:
    noise = np.random.default_rng(2).normal(0, 0.03, 16).tolist()
    paired = in_turn(8, 0.0, 0.0, noise)
    plain = dataclasses.replace(paired, is_paired=False)
    difference = contrasts([plain]).degrees[0] - contrasts([paired]).degrees[0]
    assert difference == pytest.approx(0.933, abs=0.001)


def test_two_launches_a_side_tell_no_drift() -> None:
    paired = in_turn(2, 0.0, 0.1)
    assert contrasts([paired]).error == contrasts([dataclasses.replace(paired, is_paired=False)]).error
