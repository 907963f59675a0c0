from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.history.worlds import stepped, unchanged
from pytest_llmperf.judge.course import (
    FEWEST,
    FEWEST_BETWEEN,
    FEWEST_TO_JUDGE,
    Course,
    find_steps,
    level,
    rough_noise,
)

numbers = st.lists(st.floats(-20, 20), min_size=1, max_size=60)


def steps_of(values: list[float], **said: object) -> list[int]:
    return [step.at for step in find_steps(values, **said).steps]  # type: ignore[arg-type]


def noisy(count: int, noise: float = 0.01, seed: int = 0) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).normal(0, noise, count)]


def with_step(at: int, size: float, count: int = 40, seed: int = 0) -> list[float]:
    return [value + size * (i >= at) for i, value in enumerate(noisy(count, seed=seed))]


@settings(deadline=None)
@given(values=numbers, hints=st.lists(st.integers(-3, 70), max_size=5))
def test_segments_cover_the_sessions_and_steps_are_between_them(
    values: list[float], hints: list[int]
) -> None:
    course = find_steps(values, known=hints)
    ends = [0, *(step.at for step in course.steps), len(values)]
    assert [(one.start, one.end) for one in course.segments] == list(itertools.pairwise(ends))
    for step in course.steps:
        assert 0 < step.first <= step.at <= step.last < len(values)
        assert step.low <= step.size <= step.high
    for segment in course.segments:
        assert segment.low <= segment.level <= segment.high
        assert segment.end - segment.start >= min(FEWEST, len(values))
    for inner in course.segments[1:-1]:
        assert inner.end - inner.start >= FEWEST_BETWEEN
    assert course.is_judged == (len(values) >= FEWEST_TO_JUDGE)


@settings(deadline=None, max_examples=40)
@given(values=numbers, by=st.floats(-5, 5))
def test_another_unit_changes_nothing(values: list[float], by: float) -> None:
    there = find_steps([round(value, 3) for value in values])
    moved = find_steps([round(value, 3) + round(by, 3) for value in values])
    assert len(there.segments) == pytest.approx(len(moved.segments), abs=1)  # rounding may tip a tie


@pytest.mark.parametrize("size", [0.1, -0.1])
@pytest.mark.parametrize("at", [5, 20, 37])
def test_a_step_is_found_where_and_as_large_as_it_is(at: int, size: float) -> None:
    (step,) = find_steps(with_step(at, size)).steps
    assert (step.at, step.first, step.last) == (at, at, at)
    assert step.size == pytest.approx(size, abs=0.02)
    assert step.low < size < step.high


def test_where_it_came_is_as_unsure_as_noise_makes_it() -> None:
    values = [value * 2 for value in noisy(60, seed=4)]
    (step,) = find_steps([value + 0.05 * (i >= 30) for i, value in enumerate(values)]).steps
    assert step.first < step.last
    assert step.first <= 30 <= step.last


def test_two_steps_and_back_are_two() -> None:
    values = noisy(60)
    assert steps_of([value + 0.1 * (20 <= i < 40) for i, value in enumerate(values)]) == [20, 40]


def test_a_few_bad_nights_are_no_change() -> None:
    values = noisy(60)
    for start, length in ((10, 1), (30, 2), (45, 3)):
        for i in range(start, start + length):
            values[i] += 0.4
    assert steps_of(values) == []


def test_the_last_three_sessions_may_be_a_change() -> None:
    assert steps_of(with_step(37, 0.15)) == [37]
    assert steps_of(with_step(38, 0.15)) == []


def test_a_drift_is_a_segment_that_rises() -> None:
    course = find_steps([value + 0.004 * i for i, value in enumerate(noisy(60))])
    (segment,) = course.segments
    assert segment.rise == pytest.approx(59 * 0.004, rel=0.1)


def test_sessions_that_are_badly_known_count_less() -> None:
    values = [*noisy(20), *(value + 0.05 for value in noisy(4, seed=1))]
    sure = find_steps(values, unknown=[0.003] * 24)
    unsure = find_steps(values, unknown=[0.003] * 20 + [0.1] * 4)
    assert [step.at for step in sure.steps] == [20]
    assert unsure.steps == [] or unsure.steps[0].high - unsure.steps[0].low > 2 * (
        sure.steps[0].high - sure.steps[0].low
    )


def test_equal_sessions_are_one_level_and_a_change_of_them_a_step() -> None:
    assert steps_of([1.0] * 30) == []
    assert steps_of([1.0] * 15 + [1.01] * 15) == [15]


@pytest.mark.parametrize("count", [1, 2, FEWEST_TO_JUDGE - 1])
def test_few_sessions_are_one_level_that_is_not_judged(count: int) -> None:
    values = with_step(count // 2, 1.0, count=count)
    course = find_steps(values)
    assert (len(course.segments), course.steps, course.is_judged) == (1, [], False)
    assert course.segments[0].level == pytest.approx(np.mean(values))
    assert course == level(values)


def test_without_ruptures_there_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(ImportError):
        find_steps([1.0] * 20)
    assert isinstance(find_steps([1.0] * 3), Course)


def test_the_rough_noise_does_not_see_steps() -> None:
    quiet, jumping = noisy(400), with_step(200, 1.0, count=400)
    assert rough_noise(np.array(quiet)) == pytest.approx(0.01, rel=0.15)
    assert rough_noise(np.array(jumping)) == pytest.approx(rough_noise(np.array(quiet)), rel=0.05)


# Counted over fixed seeds: the same histories in every run. bench/history counts more of them.


@pytest.mark.parametrize(
    ("kind", "most"), [("noise alone", 1), ("outliers", 2), ("drift of 5 %", 3), ("alike neighbours", 4)]
)
def test_where_nothing_jumped_hardly_ever_a_step_is_found(kind: str, most: int) -> None:
    worlds = [(length, noise) for length in (20, 60, 120) for noise in (0.01, 0.05)]
    false = sum(
        bool(find_steps(list(unchanged(kind, length, noise, seed).values)).steps)
        for length, noise in worlds
        for seed in range(10)
    )
    assert false <= most


@pytest.mark.parametrize(("size", "noise", "least"), [(0.2, 0.03, 38), (0.1, 0.02, 37), (0.05, 0.01, 33)])
def test_steps_are_found_and_hardly_any_others(size: float, noise: float, least: int) -> None:
    right = others = 0
    for seed in range(40):
        drawn = stepped(size, 60, noise, seed)
        found = find_steps(list(drawn.values)).steps
        near = [step for step in found if step.first - 1 <= drawn.steps[0] <= step.last + 1]
        right, others = right + bool(near), others + len(found) - len(near)
    assert right >= least
    assert others <= 4


def test_the_interval_of_a_change_holds_it() -> None:
    held = count = 0
    for seed in range(60):
        drawn = stepped(0.2, 60, 0.02, seed)
        for step in find_steps(list(drawn.values)).steps[:1]:
            count, held = count + 1, held + (step.low <= math.log1p(0.2) <= step.high)
    assert count >= 57
    assert held / count >= 0.88


def test_it_helps_to_know_what_changed() -> None:
    told = untold = 0
    for seed in range(40):
        drawn = stepped(0.05, 50, 0.02, seed)
        values = list(drawn.values)
        untold += bool(find_steps(values).steps)
        told += bool(find_steps(values, known=drawn.steps).steps)
    assert told >= untold + 3
