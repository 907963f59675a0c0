from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping

import numpy as np
import pytest

from pytest_llmperf.keep.history import Session, fields_key
from pytest_llmperf.keep.trend import Series, Trend, all_series, base_of, environments, trend
from tests.keep.histories import HERE, POINT, TEST, TTFT, VLLM, result, session

NEW = {**VLLM, "version": "0.24.0"}


def noisy(count: int, noise: float = 0.01, seed: int = 0) -> list[float]:
    return [float(value) for value in np.exp(np.random.default_rng(seed).normal(0, noise, count))]


def upgraded(
    count: int = 30, at: int = 18, change: float = 1.2, subject: Mapping[str, str] = NEW, metric: str = TTFT
) -> list[Session]:
    """One launch a night, of another subject and so much slower from a night on."""
    return [
        session(
            number,
            result(
                50 * value * (change if number >= at else 1),
                metric=metric,
                subject=subject if number >= at else VLLM,
            ),
            commit=f"{number // 10}" * 40,
        )
        for number, value in enumerate(noisy(count))
    ]


def only(sessions: list[Session]) -> Series:
    (series,) = all_series(sessions, TEST)
    return series


def test_a_change_comes_with_its_size_its_place_and_what_changed_there() -> None:
    found = trend(only(upgraded()))
    (step,) = found.course.steps
    assert step.at == 18
    assert found.change(step.size) == pytest.approx(0.2, abs=0.02)
    assert found.is_worse(step)
    assert not found.is_within_noise(step)
    (candidate,) = found.candidates(step)
    assert (candidate.at, list(candidate.differences), candidate.commits) == (
        *(18, ["version: 0.22.1 → 0.24.0"], None),
    )
    assert [found.value(one.level) for one in found.course.segments] == pytest.approx([50, 60], rel=0.01)


@pytest.mark.parametrize(
    ("metric", "change", "worse"),
    [(TTFT, 0.8, False), ("output_tokens_per_s", 0.8, True), ("output_tokens_per_s", 1.2, False)],
)
def test_what_is_worse_is_for_the_metric_to_say(metric: str, change: float, worse: bool) -> None:
    found = trend(only(upgraded(change=change, metric=metric)))
    assert [found.is_worse(step) for step in found.course.steps] == [worse]


def test_a_small_change_that_many_sessions_tell_is_within_the_noise_of_one() -> None:
    sessions = [
        session(number, result(50 * value * (1.025 if number >= 100 else 1)))
        for number, value in enumerate(noisy(200, 0.015))
    ]
    found = trend(only(sessions))
    assert [found.is_within_noise(step) for step in found.course.steps] == [True]


def test_where_the_subject_is_the_same_the_commits_are_named() -> None:
    found = trend(only(upgraded(at=20, subject=VLLM)))
    ((candidate,),) = [found.candidates(step) for step in found.course.steps]
    assert (candidate.differences, candidate.commits) == ([], ("1" * 40, "2" * 40))


def test_several_changes_close_by_are_all_named_the_one_of_the_subject_first() -> None:
    values = [value**3 for value in noisy(40, 0.01, seed=5)]
    sessions = [
        session(
            number,
            result(value * (1.05 if number >= 20 else 1), subject=NEW if number >= 22 else VLLM),
            commit=f"{number:02d}" * 20,
        )
        for number, value in enumerate(values)
    ]
    found = trend(only(sessions))
    for step in found.course.steps:
        candidates = found.candidates(step)
        assert len(candidates) == step.last - step.first + 1
        assert [bool(one.differences) for one in candidates] == sorted(
            (bool(one.differences) for one in candidates), reverse=True
        )


def test_unlike_environments_are_series_of_their_own() -> None:
    other = {**HERE, "accelerators": "NVIDIA A100"}
    sessions = [
        session(number, result(50.0 if number % 2 else 90.0, environment=HERE if number % 2 else other))
        for number in range(20)
    ]
    found = all_series(sessions, TEST)
    assert [len(one.readings) for one in found] == [10, 10]
    assert list(environments(found)) == [fields_key(HERE), fields_key(other)]
    assert all(not trend(one).course.steps for one in found)


def test_loads_metrics_and_sides_are_series_of_their_own() -> None:
    results = [
        result(50.0),
        result(9.0, point="closed loop, 1 at once for 30 s"),
        result(40.0, side="base"),
        result(1.0, test="other"),
    ]
    sessions = [session(number, *results, result(5.0, metric="of_the_future_ms")) for number in range(3)]
    found = all_series(sessions, TEST)
    assert {(one.point, one.key.name) for one in found} == {
        (POINT, TTFT),
        ("closed loop, 1 at once for 30 s", TTFT),
    }
    (base,) = all_series(sessions, TEST, "base")
    assert [one.value for one in base.readings] == [40.0] * 3
    assert base_of(found[0], [base]) is base
    assert base_of(found[1], [base]) is None


@pytest.mark.parametrize(
    ("drift", "told"), [(1.2, pytest.approx(math.log(1.2), abs=0.02)), (1.0, pytest.approx(0, abs=0.02))]
)
def test_how_the_base_went_is_told_beside(drift: float, told: object) -> None:
    sessions = [
        session(
            number,
            result(50 * a * (1.2 if number >= 18 else 1)),
            result(40 * b * (drift if number >= 18 else 1), side="base"),
        )
        for number, (a, b) in enumerate(zip(noisy(30), noisy(30, seed=1), strict=True))
    ]
    (base,) = all_series(sessions, TEST, "base")
    assert list(trend(only(sessions), base=base).beside) == [told]


def test_a_base_that_became_another_tells_nothing() -> None:
    sessions = [
        session(
            number,
            result(50 * value * (1.2 if number >= 18 else 1)),
            result(40.0, side="base", subject=NEW if number >= 18 else VLLM),
        )
        for number, value in enumerate(noisy(30))
    ]
    (base,) = all_series(sessions, TEST, "base")
    assert list(trend(only(sessions), base=base).beside) == [None]


def test_a_metric_that_can_be_zero_changes_by_itself_and_not_by_a_share() -> None:
    sessions = [
        session(number, result(0.5 if number >= 15 else 0.0, metric="error_rate")) for number in range(30)
    ]
    found = trend(only(sessions))
    (step,) = found.course.steps
    assert found.change(step.size) == pytest.approx(0.5, abs=0.01)
    assert found.value(found.course.segments[0].level) == pytest.approx(0, abs=0.01)


def test_without_ruptures_the_trend_is_there_and_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ruptures", None)
    found = trend(only(upgraded()))
    assert found.course.steps == []
    assert found.why_not == "change points need ruptures: pip install 'pytest-llmperf[history]'"
    assert not found.course.is_judged


def test_the_error_is_shared_by_all_that_are_looked_at() -> None:
    series = only(upgraded(change=1.03))
    assert len(trend(series, among=1).course.steps) == 1
    assert trend(series, among=10**12).course.steps == []


def test_as_json_it_is_all_that_a_chart_needs() -> None:
    found: Trend = trend(only(upgraded()))
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert (content["test"], content["load"], content["metric"], content["side"]) == (
        *(TEST, POINT, TTFT, "candidate"),
    )
    assert len(content["sessions"]) == 30
    assert content["sessions"][18]["version"] == "0.24.0"
    (change,) = content["changes"]
    assert (change["at"], change["worse"], change["within_noise"]) == (18, True, False)
    assert change["low"] < change["change"] < change["high"]
    assert change["candidates"] == [{"at": 18, "differences": ["version: 0.22.1 → 0.24.0"], "commits": None}]
    first, second = content["segments"]
    assert (first["first"], first["last"], second["first"], second["last"]) == (0, 17, 18, 29)
    assert first["low"] < first["value"] < first["high"]
