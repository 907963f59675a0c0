from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep import environment
from pytest_llmperf.keep.environment import (
    differences,
    environment_key,
    local_environment,
    url_environment,
)

FIELDS = st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=4)


@pytest.fixture(autouse=True)
def _asks_anew() -> Iterator[None]:
    environment._accelerators.cache_clear()
    yield
    environment._accelerators.cache_clear()


def answer(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def smi(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[0] == "nvidia-smi"
        return subprocess.CompletedProcess(command, 0, stdout=text)

    monkeypatch.setattr(subprocess, "run", smi)


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


def test_this_machine_is_known_by_its_hardware_and_what_it_serves() -> None:
    here = local_environment("local", "tiny")
    assert {"place", "model", "machine", "cpu", "cpus"} <= set(here)
    assert all(here.values())
    assert here == local_environment("local", "tiny")
    assert here != local_environment("local", "large")


def test_accelerators_are_listed_whatever_order_they_are_told_in(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, "NVIDIA H100 80GB HBM3, 570.1\nNVIDIA A10, 570.1\nNVIDIA A10, 570.1\n\n")
    here = local_environment("local", "tiny")
    assert here["accelerators"] == "NVIDIA A10, NVIDIA A10, NVIDIA H100 80GB HBM3"
    assert here["driver"] == "570.1"


@pytest.mark.parametrize("text", ["", "\n"])
def test_no_accelerator_is_no_field(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, text)
    assert not {"accelerators", "driver"} & set(local_environment("local", "tiny"))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("nvidia-smi"),
        subprocess.TimeoutExpired("nvidia-smi", 10),
        subprocess.CalledProcessError(9, "nvidia-smi"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_machine_without_a_working_nvidia_smi_has_no_accelerators(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def smi(command: list[str], **options: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", smi)
    assert not {"accelerators", "driver"} & set(local_environment("local", "tiny"))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://gpu.example:8000", "gpu.example:8000"),
        ("https://gpu.example/prefix", "gpu.example"),
        ("http://10.0.0.1:127", "10.0.0.1:127"),
        ("http://[fe80::1]:8000", "[fe80::1]:8000"),
        ("http://localhost.example:80", "localhost.example:80"),
        ("http://128.0.0.1", "128.0.0.1"),
    ],
)
def test_of_a_server_elsewhere_only_address_and_model_are_known(url: str, address: str) -> None:
    assert url_environment(url, "m") == {"place": f"url {address}", "model": "m"}


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.0.0.1:45123",
        "http://127.1.2.3",
        "https://localhost:1",
        "http://LOCALHOST/",
        "http://[::1]:8000",
    ],
)
def test_a_server_on_this_machine_has_its_environment_whatever_its_port(url: str) -> None:
    assert url_environment(url, "m") == local_environment("a server that runs on this machine", "m")
    assert url_environment(url, "m") != url_environment(url, "other")


def test_a_server_that_runs_already_is_not_compared_with_one_that_is_started() -> None:
    assert differences(
        local_environment("local process", "m"), url_environment("http://127.0.0.1:1", "m")
    ) == ["place: local process → a server that runs on this machine"]
