from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines

HERE = {"place": "local", "model": "tiny", "cpu": "Zen 5", "cpus": "16"}
TEST = "tests/perf/test_serving.py::test_chat"


def baseline(**changed: Any) -> Baseline:
    accepted = Baseline(
        test=TEST,
        accepted="2026-01-02T03:04:05+00:00",
        environment=HERE,
        subject={"engine": "vllm", "version": "0.24.0"},
        subject_text="vllm==0.24.0 --flag",
        points={"16 in / 8 out, poisson 4/s for 30 s": {"ttft_p50_ms": (10.5, 11.0)}},
    )
    return dataclasses.replace(accepted, **changed)


@pytest.fixture
def baselines(tmp_path: Path) -> Baselines:
    return Baselines(tmp_path / "baselines")


def keep(baselines: Baselines, **changed: Any) -> Path:
    kept = baseline(**changed)
    path = baselines.path(kept.test, kept.environment)
    kept.write(path)
    return path


def test_a_file_is_named_after_its_test_as_a_person_knows_it(baselines: Baselines) -> None:
    name = baselines.path("tests/perf/test_serving.py::TestLoad::test_chat[tiny-4]", HERE).name
    assert name.startswith("test_serving-TestLoad-test_chat-tiny-4-")
    assert name.endswith(".json")


@pytest.mark.parametrize(
    "test",
    ["a/b/test_x.py::test_y[org/model]", "test_x.py::test_y[../../etc]", "test_x.py::test_y[ä ö\n*?]"],
)
def test_whatever_a_test_is_called_its_file_lies_in_the_directory(test: str, baselines: Baselines) -> None:
    path = baselines.path(test, HERE)
    assert path.parent == baselines.directory
    assert path.name.startswith("test_x-test_y-")
    assert path.name.isascii()


def test_a_very_long_name_still_fits_into_a_file_system(baselines: Baselines) -> None:
    long = f"tests/test_x.py::test_y[{'z' * 1000}]"
    assert len(baselines.path(long, HERE).name) < 128
    assert baselines.path(long, HERE) != baselines.path(long[:-1] + "z]", HERE)


@pytest.mark.parametrize(
    "other",
    [
        "tests/perf/test_serving.py::test_chat2",
        "tests/perf/test_serving.py::test-chat",
        "tests/other/test_serving.py::test_chat",
        "tests/perf/test_serving.py::test_chat[]",
        "tests/perf/test_serving-test_chat",
    ],
)
def test_different_tests_never_share_a_file(other: str, baselines: Baselines) -> None:
    assert baselines.path(other, HERE) != baselines.path(TEST, HERE)


@pytest.mark.parametrize(
    "other", [{**HERE, "cpus": "8"}, {"place": "local"}, {}, {**HERE, "driver": "570"}], ids=repr
)
def test_different_environments_never_share_a_file(other: dict[str, str], baselines: Baselines) -> None:
    assert baselines.path(TEST, other) != baselines.path(TEST, HERE)


def test_a_baseline_is_found_by_its_test_and_environment_only(baselines: Baselines) -> None:
    keep(baselines)
    assert baselines.find(TEST, dict(reversed(HERE.items()))) == baseline()
    assert baselines.find(TEST + "2", HERE) is None
    assert baselines.find(TEST, {**HERE, "cpus": "8"}) is None


@pytest.mark.parametrize("name", ["renamed", "0badcafe", "of.the.old.machine"])
def test_a_baseline_is_found_by_what_it_says_whatever_its_file_is_called(
    name: str, baselines: Baselines
) -> None:
    path = keep(baselines)
    path.rename(path.with_name(f"{path.name.split('.')[0]}.{name}.json"))
    assert baselines.find(TEST, HERE) == baseline()
    assert baselines.find(TEST, {**HERE, "cpus": "8"}) is None


def test_the_file_of_the_right_name_is_found_before_others_that_say_the_same(baselines: Baselines) -> None:
    path = keep(baselines, accepted="new")
    baseline(accepted="old").write(path.with_name(f"{path.name.split('.')[0]}.00000000.json"))
    found = baselines.find(TEST, HERE)
    assert found is not None
    assert found.accepted == "new"


def test_a_file_that_was_copied_from_another_test_is_not_taken_for_this_ones(baselines: Baselines) -> None:
    path = baselines.path(TEST, HERE)
    baseline(test=TEST + "2").write(path.with_name(f"{path.name.split('.')[0]}.copied.json"))
    assert baselines.find(TEST, HERE) is None
    assert baselines.elsewhere(TEST, {}) == []


def test_a_damaged_file_of_another_name_spoils_nothing_here(baselines: Baselines) -> None:
    path = keep(baselines)
    others = [path.with_name(f"{path.name.split('.')[0]}.{name}.json") for name in ("00000000", "renamed")]
    others[0].write_text("{")
    path.rename(others[1])
    assert baselines.find(TEST, HERE) == baseline()


def test_without_a_directory_there_is_no_baseline(baselines: Baselines) -> None:
    assert baselines.find(TEST, HERE) is None
    assert baselines.elsewhere(TEST, HERE) == []


def test_a_damaged_baseline_is_not_taken_for_none(baselines: Baselines) -> None:
    keep(baselines).write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        baselines.find(TEST, HERE)


def test_a_directory_in_its_place_is_not_taken_for_none(baselines: Baselines) -> None:
    baselines.path(TEST, HERE).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be read: Is a directory"):
        baselines.find(TEST, HERE)


def test_a_baseline_from_elsewhere_is_told_by_the_fields_that_differ(baselines: Baselines) -> None:
    keep(baselines, environment={**HERE, "cpus": "8", "driver": "570"})
    assert baselines.elsewhere(TEST, HERE) == [["cpus: 8 → 16", "driver: 570 → (none)"]]


def test_of_several_environments_the_closest_one_is_told(baselines: Baselines) -> None:
    keep(baselines, environment={**HERE, "cpus": "8", "cpu": "Zen 4"})
    keep(baselines, environment={**HERE, "model": "large"})
    keep(baselines, environment={})
    closest, further, furthest = baselines.elsewhere(TEST, HERE)
    assert closest == ["model: large → tiny"]
    assert len(further) == 2
    assert len(furthest) == len(HERE)


def test_the_baselines_of_other_tests_are_no_matter(baselines: Baselines) -> None:
    keep(baselines, test=TEST + "2", environment={})
    assert baselines.elsewhere(TEST, HERE) == []


def test_a_damaged_baseline_of_another_environment_spoils_nothing_here(baselines: Baselines) -> None:
    keep(baselines, environment={}).write_text("{")
    keep(baselines, environment={**HERE, "cpus": "8"})
    assert baselines.elsewhere(TEST, HERE) == [["cpus: 8 → 16"]]
