from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep.environment import accelerators, differences, environment, environment_key
from pytest_llmperf.places.gpus import Gpu
from pytest_llmperf.places.machine import ThisMachine, facts

FIELDS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


@given(fields=FIELDS)
def test_the_key_does_not_depend_on_the_order_of_the_fields(fields: dict[str, str]) -> None:
    assert environment_key(dict(reversed(fields.items()))) == environment_key(fields)


@given(one=FIELDS, other=FIELDS)
def test_environments_share_a_key_only_if_they_are_equal(one: dict[str, str], other: dict[str, str]) -> None:
    assert (environment_key(one) == environment_key(other)) == (one == other)


def test_the_key_is_pinned_because_committed_files_are_named_after_it() -> None:
    assert environment_key({"place": "local", "model": "tiny", "cpu": "Größe"}) == "bd6380b3"


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ({}, {}, []),
        ({"a": "1"}, {"a": "1"}, []),
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, ["b: 2 → 3"]),
        ({"a": "1"}, {}, ["a: 1 → (none)"]),
        ({}, {"a": "1"}, ["a: (none) → 1"]),
        ({"b": "1", "a": "1"}, {"c": "1"}, ["b: 1 → (none)", "a: 1 → (none)", "c: (none) → 1"]),
    ],
)
def test_differences_name_each_field_with_both_values(
    one: dict[str, str], other: dict[str, str], told: list[str]
) -> None:
    assert differences(one, other) == told


@given(one=FIELDS, other=FIELDS)
def test_there_are_differences_exactly_between_what_differs(
    one: dict[str, str], other: dict[str, str]
) -> None:
    assert bool(differences(one, other)) == (one != other)


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        ("about 28499", "about 28501", False),
        ("about 28000", "about 30000", False),
        ("about 28000", "about 32000", True),
        ("about 0", "about 1", True),
        ("about 28000", "28001", True),
        ("28000", "28001", True),
        ("about 28000", "", True),
    ],
)
def test_what_an_engine_measured_differs_only_if_it_is_far_apart(one: str, other: str, differ: bool) -> None:
    assert bool(differences({"blocks": one}, {"blocks": other})) is differ
    assert bool(differences({"blocks": other}, {"blocks": one})) is differ


def test_an_environment_is_place_model_and_machine() -> None:
    assert environment("local", "tiny", {"cpu": "Z80"}) == {"place": "local", "model": "tiny", "cpu": "Z80"}


@pytest.mark.parametrize(
    ("told", "there"),
    [
        ({}, {}),
        ({"accelerators": "NVIDIA L4"}, {"NVIDIA L4": 1}),
        ({"accelerators": "8 × NVIDIA H100 80GB HBM3"}, {"NVIDIA H100 80GB HBM3": 8}),
        ({"accelerators": "2 × NVIDIA L4, NVIDIA A10G"}, {"NVIDIA L4": 2, "NVIDIA A10G": 1}),
        ({"accelerators": "NVIDIA A100-SXM4-80GB MIG 2g.20gb"}, {"NVIDIA A100-SXM4-80GB MIG 2g.20gb": 1}),
    ],
)
def test_accelerators_are_counted_by_name(told: dict[str, str], there: dict[str, int]) -> None:
    assert accelerators(told) == there


@given(counts=st.dictionaries(st.sampled_from(["NVIDIA L4", "NVIDIA H100 PCIe", "T4"]), st.integers(1, 16)))
def test_what_a_machine_says_of_its_gpus_is_read_back(counts: dict[str, int]) -> None:
    gpus = [
        Gpu(0, "GPU-1", name=name, driver="580.1") for name, count in counts.items() for _ in range(count)
    ]
    assert accelerators(facts(ThisMachine(), gpus)) == counts
