from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judge.worlds import CHANGED, NORMAL, WORLDS, Shape, World, changed, draw, requests_of

SMALL = Shape(tests=3, metrics=2, launches=6, runs=2)
MANY = Shape(tests=20, metrics=4, launches=8, runs=2)
STILL = replace(NORMAL, launch_spread=0.0, run_spread=0.0)
SEEDS = st.integers(0, 2**32 - 1)


def launch_means(world: World, sessions: int = 200, shape: Shape = MANY) -> np.ndarray:
    return np.asarray(draw(world, sessions, 7, shape).mean(axis=-1))


@given(st.sampled_from(WORLDS), SEEDS)
@settings(max_examples=40)
def test_a_seed_is_a_session_and_an_effect_moves_one_item_of_the_candidate(world: World, seed: int) -> None:
    logs = draw(world, 2, seed, SMALL)
    assert logs.shape == (2, 6, 2, 6, 2)
    assert np.array_equal(logs, draw(world, 2, seed, SMALL))
    moved = changed(logs, 0.1) - logs
    assert moved[:, CHANGED, 1] == pytest.approx(math.log(1.1))
    moved[:, CHANGED, 1] = 0
    assert not moved.any()


@given(st.floats(0, 1), st.integers(1, 4))
def test_a_drift_is_the_same_for_both_sides_after_every_other_round(drift: float, pairs: int) -> None:
    logs = draw(replace(STILL, drift=drift), 1, 1, replace(SMALL, launches=2 * pairs))
    assert logs[0, 0, 0].mean() == pytest.approx(logs[0, 0, 1].mean())
    assert logs.min() == pytest.approx(0)
    assert logs.max() == pytest.approx(math.log1p(drift))


def test_launches_alternate_base_candidate_candidate_base() -> None:
    logs = draw(replace(STILL, drift=0.5), 1, 1, replace(SMALL, launches=4))[0, 0, :, :, 0]
    order = (logs / math.log(1.5) * 7).round().astype(int)
    assert order.tolist() == [[0, 3, 4, 7], [1, 2, 5, 6]]


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_worlds_are_unlike_each_other_only_as_they_say(world: World) -> None:
    logs = draw(world, 200, 7, MANY)
    launch_spread = logs.mean(axis=-1).std()
    if world.outliers or world.drift or world.spread_of_spreads or world.slow_first_run:
        assert launch_spread > 1.05 * world.launch_spread
    else:
        expected = math.hypot(world.launch_spread, world.run_spread / math.sqrt(2))
        assert launch_spread == pytest.approx(expected, rel=0.05)
    within = (logs[..., 0] - logs[..., 1]).std() / math.sqrt(2)
    expected = math.hypot(world.run_spread, 0.05 / math.sqrt(2) if world.slow_first_run else 0)
    assert within == pytest.approx(expected, rel=0.05)


def test_correlated_metrics_go_together_in_their_test_or_everywhere() -> None:
    def correlations(world: World) -> tuple[float, float]:
        means = launch_means(replace(world, run_spread=0.0)).transpose(1, 0, 2, 3).reshape(MANY.items, -1)
        matrix = np.corrcoef(means)
        return matrix[0, 1], matrix[0, MANY.metrics]

    by_name = {world.name: world for world in WORLDS}
    assert correlations(NORMAL) == pytest.approx((0, 0), abs=0.06)
    assert correlations(by_name["correlated in a test"]) == pytest.approx((0.7, 0), abs=0.06)
    assert correlations(by_name["correlated over all"]) == pytest.approx((0.7, 0.7), abs=0.06)


def test_outliers_hit_one_launch_in_ten_alone_or_together() -> None:
    own = draw(replace(STILL, outliers="own"), 200, 7, MANY)[..., 0] > 0
    shared = draw(replace(STILL, outliers="shared"), 200, 7, MANY)[..., 0] > 0
    assert own.mean() == pytest.approx(0.1, abs=0.01)
    assert shared.mean() == pytest.approx(0.1, abs=0.02)
    assert (shared == shared[:, :1]).all()
    assert not (own == own[:, :1]).all()


@given(SEEDS)
@settings(max_examples=20)
def test_requests_lie_around_the_level_of_their_run(seed: int) -> None:
    logs = draw(NORMAL, 1, seed, SMALL)[0, 0]
    latencies = np.log(requests_of(logs, np.random.default_rng(seed))).reshape(2, 6, 2, 200)
    assert latencies.mean(axis=-1) == pytest.approx(logs, abs=1e-9)
    assert latencies.std(axis=-1) == pytest.approx(math.sqrt(math.log1p(0.09)), rel=0.3)
