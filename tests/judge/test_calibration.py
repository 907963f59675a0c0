"""How often the judge is wrong, counted on simulated sessions: a short version of bench/judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judge.cells import Cell, Tally, tally_ours
from bench.judge.ours import LEAST, judge_session
from bench.judge.worlds import DRIFT, NORMAL, QUIET, USUAL, WORLDS, Shape, World, changed, draw
from pytest_llmperf.judge.verdict import Verdict

BY_NAME = {world.name: world for world in WORLDS}
SMALL = Shape(tests=3, metrics=2)
SEEDS = st.integers(0, 2**32 - 1)


def tally(world: World, effect: float, sessions: int, seed: int = 20261122) -> Tally:
    logs = changed(draw(world, sessions, seed), effect)
    return tally_ours(logs, Cell(world, effect, sessions), USUAL)


def test_where_nothing_changed_there_is_no_alarm_and_few_launches_are_spent() -> None:
    still = tally(NORMAL, 0.0, 150)
    assert still.alarmed is not None
    assert still.alarmed <= 3  # more than three of 150 have a chance of 7 % with one in a hundred
    assert still.tests_share <= 0.6
    assert still.undecided <= 0.02 * still.judged


@pytest.mark.parametrize("world", [NORMAL, DRIFT], ids=lambda world: world.name)
def test_ten_percent_are_found_where_launches_vary_by_three(world: World) -> None:
    moved = tally(world, 0.10, 60)
    assert moved.found is not None
    assert moved.found >= 54
    assert moved.alarmed is not None
    assert moved.alarmed <= 2


def test_five_percent_are_found_where_launches_vary_by_one() -> None:
    moved = tally(QUIET, 0.05, 60)
    assert moved.found is not None
    assert moved.found >= 57


@pytest.mark.parametrize(
    "name",
    [
        "drift 5 %",
        "heavy tails",
        "outliers, own",
        "outliers, shared",
        "correlated in a test",
        "correlated over all",
        "unequal spreads",
        "prior too small",
    ],
)
def test_other_worlds_raise_no_more_alarms(name: str) -> None:
    assert (tally(BY_NAME[name], 0.0, 40).alarmed or 0) <= 2


def test_a_change_that_is_half_of_what_is_minded_is_hardly_ever_called_worse() -> None:
    assert (tally(NORMAL, NORMAL.tolerance / 2, 60).found or 0) <= 2


@given(st.sampled_from(WORLDS), SEEDS, st.floats(-0.3, 0.3))
@settings(max_examples=30)
def test_launches_go_to_what_is_undecided_and_to_nothing_else(world: World, seed: int, effect: float) -> None:
    outcome = judge_session(changed(draw(world, 1, seed, SMALL), effect)[0], world, SMALL)
    assert all(LEAST <= launches <= SMALL.launches for launches in outcome.launches)
    for item, verdict in enumerate(outcome.verdicts):
        test = SMALL.test_of(item)
        launches = outcome.launches[test]
        own = [other for i, other in enumerate(outcome.verdicts) if SMALL.test_of(i) == test]
        if verdict is Verdict.INCONCLUSIVE and Verdict.REGRESSED not in own:
            assert launches == SMALL.launches
        if verdict is Verdict.REGRESSED:
            assert launches > LEAST


@given(st.sampled_from(WORLDS), SEEDS, st.integers(-5, 5), st.permutations(range(SMALL.tests)))
@settings(max_examples=30)
def test_neither_units_nor_the_order_of_tests_matter(
    world: World, seed: int, unit: int, order: list[int]
) -> None:
    logs = changed(draw(world, 1, seed, SMALL), 0.1)[0]
    outcome = judge_session(logs, world, SMALL)
    items = [test * SMALL.metrics + metric for test in order for metric in range(SMALL.metrics)]
    other = judge_session(logs[items] + unit, world, SMALL)
    assert other.verdicts == tuple(outcome.verdicts[item] for item in items)
    assert other.launches == tuple(outcome.launches[test] for test in order)


def test_sides_that_do_not_differ_pass_soon() -> None:
    sessions = draw(NORMAL, 200, 20261122, SMALL)
    sessions[:, :, 1] = sessions[:, :, 0]
    outcomes = [judge_session(logs, NORMAL, SMALL) for logs in sessions]
    assert all(set(outcome.verdicts) == {Verdict.PASS} for outcome in outcomes)
    launches = [max(outcome.launches) for outcome in outcomes]
    assert sum(most <= LEAST + 1 for most in launches) >= 190
    assert sum(most == LEAST for most in launches) >= 150


def test_what_doubles_is_worse_after_one_more_launch() -> None:
    logs = changed(draw(NORMAL, 1, 1), 1.0)[0]
    outcome = judge_session(logs, NORMAL)
    assert outcome.is_worse(0)
    assert outcome.launches[0] == LEAST + 1


def test_a_single_launch_that_went_wrong_is_no_regression() -> None:
    calm = replace(NORMAL, launch_spread=0.01, run_spread=0.005)
    logs = draw(calm, 20, 3, SMALL)
    logs[:, :, 1, 0] += np.log(1.5)
    outcomes = [judge_session(session, NORMAL, SMALL) for session in logs]
    assert not any(outcome.alarms for outcome in outcomes)
