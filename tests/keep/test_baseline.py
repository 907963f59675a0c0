from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.baseline import MOST_PAST, Baseline
from pytest_llmperf.keep.origin import Origin
from pytest_llmperf.keep.past import Past

HERE = {"place": "local", "model": "tiny", "cpu": "Zen 5", "cpus": "16"}
TEST = "tests/perf/test_serving.py::test_chat"


def baseline(**changed: Any) -> Baseline:
    accepted = Baseline(
        test=TEST,
        accepted="2026-01-02T03:04:05+00:00",
        environment=HERE,
        subject={"engine": "vllm", "version": "0.24.0"},
        subject_text="vllm==0.24.0 --flag",
        points={
            "16 in / 8 out, poisson 4/s for 30 s": {"ttft_p50_ms": (10.5, 11.0), "tpot_p50_ms": (2.0,)},
            "16 in / 8 out, poisson 8/s for 30 s": {"ttft_p50_ms": (20.25, 21.0, 22.0)},
        },
    )
    return dataclasses.replace(accepted, **changed)


def test_a_baseline_comes_back_as_it_was_written(tmp_path: Path) -> None:
    baseline().write(tmp_path / "b.json")
    assert Baseline.read(tmp_path / "b.json") == baseline()


def test_how_badly_its_values_are_known_comes_back_too(tmp_path: Path) -> None:
    known = {"16 in / 8 out, poisson 4/s for 30 s": {"ttft_p50_ms": (0.05, 0.0), "tpot_p50_ms": (1.0,)}}
    baseline(uncertainty=known).write(tmp_path / "b.json")
    assert Baseline.read(tmp_path / "b.json") == baseline(uncertainty=known)
    assert Baseline.read(tmp_path / "b.json").uncertainty == known


def test_a_baseline_that_does_not_say_how_badly_its_values_are_known_is_taken_as_it_is(
    tmp_path: Path,
) -> None:
    assert Baseline.read(damaged(tmp_path, "uncertainty")).uncertainty == {}


TEXTS = st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=3)
LAUNCHES = st.lists(st.integers(1, 999_999).map(lambda n: n / 1000), min_size=1, max_size=4).map(tuple)


@given(
    environment=TEXTS,
    subject=TEXTS,
    points=st.dictionaries(st.text(), st.dictionaries(st.text(), LAUNCHES, max_size=3), max_size=3),
)
def test_any_names_and_six_digits_of_any_value_come_back(
    environment: dict[str, str],
    subject: dict[str, str],
    points: dict[str, dict[str, tuple[float, ...]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    kept = baseline(environment=environment, subject=subject, points=points)
    kept.write(path)
    assert Baseline.read(path) == kept


def test_a_baseline_is_a_file_that_a_person_can_review(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    baseline(
        points={"4/s": {"ttft_p50_ms": (10.123456789, 11.0)}},
        uncertainty={"4/s": {"ttft_p50_ms": (0.0123456789, 0.02)}},
        origins={"4/s": {"ttft_p50_ms": Origin("2025-12-01", "vllm", (9.87654321, 9.0), (0.05,), 2)}},
        past=[Past("2025-12-01", "vllm", {"4/s": {"ttft_p50_ms": 9.4280904}})],
    ).write(path)
    assert path.read_text() == (
        '{\n "llmperf_baseline": 2,\n "test": "tests/perf/test_serving.py::test_chat",\n'
        ' "accepted": "2026-01-02T03:04:05+00:00",\n'
        ' "subject": {\n  "text": "vllm==0.24.0 --flag",\n'
        '  "fields": {\n   "engine": "vllm",\n   "version": "0.24.0"\n  }\n },\n'
        ' "environment": {\n  "place": "local",\n  "model": "tiny",\n  "cpu": "Zen 5",\n  "cpus": "16"\n },\n'
        ' "points": {\n  "4/s": {\n   "ttft_p50_ms": [ 10.1235, 11.0 ]\n  }\n },\n'
        ' "uncertainty": {\n  "4/s": {\n   "ttft_p50_ms": [ 0.0123457, 0.02 ]\n  }\n },\n'
        ' "origins": {\n  "4/s": {\n   "ttft_p50_ms": {\n'
        '    "accepted": "2025-12-01",\n    "subject": "vllm",\n    "values": [ 9.87654, 9.0 ],\n'
        '    "uncertainty": [ 0.05 ],\n    "steps": 2\n   }\n  }\n },\n'
        ' "history": [\n  {\n   "accepted": "2025-12-01",\n   "subject": "vllm",\n'
        '   "points": {\n    "4/s": {\n     "ttft_p50_ms": 9.42809\n    }\n   }\n  }\n ]\n}\n'
    )


def test_its_launches_are_those_of_its_best_known_metric() -> None:
    assert baseline().launches == 3
    assert baseline(points={}).launches == 0


def test_a_baseline_of_the_version_before_is_read_as_one_without_a_past(tmp_path: Path) -> None:
    path = damaged(tmp_path, "llmperf_baseline", value=1)
    content = json.loads(path.read_text())
    del content["origins"], content["history"]
    path.write_text(json.dumps(content))
    read = Baseline.read(path)
    assert read == baseline(points={"4/s": {"ttft_p50_ms": (10.0, 11.0)}})
    assert (read.origins, read.past) == ({}, ())


def test_a_baseline_of_a_version_to_come_is_refused(tmp_path: Path) -> None:
    path = damaged(tmp_path, "llmperf_baseline", value=3)
    with pytest.raises(StoreError, match="version 3, this release reads version 1 or 2"):
        Baseline.read(path)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("vllm==0.24.0", "--llmperf-update --llmperf-launches 3 accepts one of three"),
        (
            "http://host:8000",
            "accept one of an engine that is started from here, which can be launched again",
        ),
    ],
)
def test_a_baseline_of_one_launch_says_that_it_is_weak_and_what_helps(text: str, advice: str) -> None:
    weak = baseline(points={"4/s": {"ttft_p50_ms": (10.0,)}}, subject_text=text)
    assert weak.is_weak
    cause = "it is one launch, and another one of the same build may differ by 10 %"
    assert weak.weakness == f"the baseline is weak: {cause}; {advice}"
    assert (baseline().is_weak, baseline().weakness) == (False, "")


# -- where it comes from -----------------------------------------------------------------------------

AT, TTFT = "4/s", "ttft_p50_ms"


def step(value: float, number: int, previous: Baseline | None = None, *, decided: bool = False) -> Baseline:
    """A baseline with this value of its one metric, accepted in place of the previous one."""
    fresh = baseline(
        accepted=f"2026-01-{number:02d}",
        points={AT: {TTFT: (value,)}},
        uncertainty={AT: {TTFT: (0.01,)}},
    )
    return fresh.grown_from(previous, {(AT, TTFT)} if decided else ())


def test_a_first_baseline_is_its_own_origin_and_has_no_past() -> None:
    assert step(100, 1).origin(AT, TTFT) is None
    assert step(100, 1).past == ()


def test_steps_that_were_not_decided_keep_the_baseline_that_they_grew_from() -> None:
    second = step(102, 2, step(100, 1))
    assert second.origin(AT, TTFT) == Origin("2026-01-01", "vllm==0.24.0 --flag", (100,), (0.01,), 1)
    third = step(104, 3, second)
    assert third.origin(AT, TTFT) == Origin("2026-01-01", "vllm==0.24.0 --flag", (100,), (0.01,), 2)
    assert third.origin("8/s", TTFT) is third.origin(AT, "tpot_p50_ms") is None


def test_a_decided_step_is_a_new_beginning() -> None:
    decided = step(120, 3, step(102, 2, step(100, 1)), decided=True)
    assert decided.origin(AT, TTFT) is None
    after = step(121, 4, decided).origin(AT, TTFT)
    assert after is not None
    assert (after.values, after.steps) == ((120,), 1)


def test_what_the_previous_baseline_lacked_begins_anew() -> None:
    grown = baseline(points={AT: {TTFT: (1.0,), "tpot_p50_ms": (2.0,)}, "8/s": {TTFT: (3.0,)}}).grown_from(
        step(100, 1), ()
    )
    assert grown.origin(AT, TTFT) is not None
    assert grown.origin(AT, "tpot_p50_ms") is None
    assert grown.origin("8/s", TTFT) is None


def test_an_origin_is_kept_only_where_it_differs_from_what_is_accepted() -> None:
    assert step(100, 2, step(100, 1)).origins == {}


STEPS = st.lists(st.tuples(st.integers(1, 10**6), st.booleans()), min_size=1, max_size=45)


@given(steps=STEPS)
def test_whatever_is_accepted_is_held_against_the_last_that_was_decided(
    steps: list[tuple[int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "grown.json"
    kept: Baseline | None = None
    held_against = 0
    for number, (value, decided) in enumerate(steps):
        kept = step(value, number, kept, decided=decided)
        if decided or number == 0:
            held_against = value
        origin = kept.origin(AT, TTFT)
        assert (origin.values if origin else kept.points[AT][TTFT]) == (held_against,)
        kept.write(path)
        assert Baseline.read(path) == kept
        kept = Baseline.read(path)
    assert kept is not None
    days = [int(past.accepted[8:]) for past in kept.past]
    everything = list(range(len(steps) - 1))
    most = MOST_PAST - 1
    assert days == (everything if len(everything) <= most else [0, *everything[1 - most :]])
    assert [past.points[AT][TTFT] for past in kept.past] == pytest.approx([steps[day][0] for day in days])


def test_the_past_has_the_geometric_mean_of_each_metric() -> None:
    first = baseline(points={AT: {TTFT: (10.0, 40.0), "error_rate": (0.0, 0.5)}})
    (past,) = baseline().grown_from(first, ()).past
    assert past.points[AT] == pytest.approx({TTFT: 20.0, "error_rate": 0.25})


# -- damage ------------------------------------------------------------------------------------------


def damaged(tmp_path: Path, *where: str, value: object = ...) -> Path:
    """A baseline's file in which what lies at ``where`` is gone, or is ``value``."""
    path = tmp_path / "b.json"
    baseline(points={"4/s": {"ttft_p50_ms": (10.0, 11.0)}}).write(path)
    content = json.loads(path.read_text())
    inner = content
    for name in where[:-1]:
        inner = inner[name]
    if value is ...:
        del inner[where[-1]]
    else:
        inner[where[-1]] = value
    path.write_text(json.dumps(content))
    return path


def assert_refused(path: Path, why: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Baseline.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is damaged: {why}"), message
    assert message.endswith("restore it (git checkout -- FILE) or delete it; it will not be overwritten")
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "where",
    [
        ("test",),
        ("accepted",),
        ("environment",),
        ("subject",),
        ("subject", "text"),
        ("subject", "fields"),
        ("points",),
    ],
    ids=".".join,
)
def test_a_baseline_without_one_of_its_parts_is_damaged(where: tuple[str, ...], tmp_path: Path) -> None:
    assert_refused(damaged(tmp_path, *where), f"KeyError: '{where[-1]}'")


@pytest.mark.parametrize(
    "where", [("environment",), ("subject",), ("subject", "fields"), ("points",)], ids=".".join
)
@pytest.mark.parametrize("value", [None, 1, "text", ["text"]], ids=repr)
def test_a_part_of_the_wrong_type_is_damage(where: tuple[str, ...], value: object, tmp_path: Path) -> None:
    assert_refused(damaged(tmp_path, *where, value=value), "")


@pytest.mark.parametrize("value", [None, 1, [10.0]], ids=repr)
def test_a_point_of_the_wrong_type_is_damage(value: object, tmp_path: Path) -> None:
    assert_refused(damaged(tmp_path, "points", "4/s", value=value), "")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "ValueError: a metric without a list of values"),
        (None, "ValueError: a metric without a list of values"),
        (10.0, "ValueError: a metric without a list of values"),
        ("123", "ValueError: a metric without a list of values"),
        ({"1": 2}, "ValueError: a metric without a list of values"),
        ([10.0, None], "ValueError: a value that is not a number"),
        ([10.0, "11"], "ValueError: a value that is not a number"),
        ([True], "ValueError: a value that is not a number"),
        ([float("nan")], "ValueError: a value that is not a number"),
        ([float("inf")], "ValueError: a value that is not a number"),
        ([[10.0]], "ValueError: a value that is not a number"),
        ([10.0, -0.001], "ValueError: a value below 0"),
        ([-1], "ValueError: a value below 0"),
    ],
    ids=repr,
)
def test_values_that_are_no_list_of_numbers_are_damage(value: object, why: str, tmp_path: Path) -> None:
    assert_refused(damaged(tmp_path, "points", "4/s", "ttft_p50_ms", value=value), why)
    assert_refused(damaged(tmp_path, "uncertainty", "4/s", value={"ttft_p50_ms": value}), why)


@pytest.mark.parametrize("value", [None, 1, "text", ["text"], {"4/s": None}, {"4/s": [0.1]}], ids=repr)
def test_uncertainty_of_the_wrong_type_is_damage(value: object, tmp_path: Path) -> None:
    assert_refused(damaged(tmp_path, "uncertainty", value=value), "")


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        (("origins",), None, "AttributeError"),
        (("origins", AT), [1], "AttributeError"),
        (("origins", AT, TTFT), {}, "KeyError: 'steps'"),
        (("origins", AT, TTFT, "steps"), 0, "ValueError: an origin without its number of steps"),
        (("origins", AT, TTFT, "steps"), True, "ValueError: an origin without its number of steps"),
        (("origins", AT, TTFT, "values"), [], "ValueError: a metric without a list of values"),
        (("origins", AT, TTFT, "uncertainty"), [None], "ValueError: a value that is not a number"),
        (("history",), None, "TypeError"),
        (("history",), [1], "TypeError"),
        (("history",), [{"accepted": "x", "subject": "y"}], "KeyError: 'points'"),
        (
            ("history",),
            [{"accepted": "x", "subject": "y", "points": {AT: {TTFT: None}}}],
            "ValueError: a value that is not a number",
        ),
    ],
    ids=repr,
)
def test_a_damaged_origin_or_past_is_damage(
    where: tuple[str, ...], value: object, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "b.json"
    step(102, 2, step(100, 1)).write(path)
    content = json.loads(path.read_text())
    inner = content
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    path.write_text(json.dumps(content))
    assert_refused(path, why)


def test_a_value_of_zero_is_a_value(tmp_path: Path) -> None:
    path = damaged(tmp_path, "points", "4/s", "ttft_p50_ms", value=[0, 0.0])
    assert Baseline.read(path).points == {"4/s": {"ttft_p50_ms": (0.0, 0.0)}}


def test_a_baseline_cut_short_by_a_full_disk_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    baseline().write(path)
    path.write_bytes(path.read_bytes()[:-40])
    assert_refused(path, "not JSON (")
