from __future__ import annotations

import importlib
import pkgutil

import pytest

import pytest_llmperf

PUBLIC = [
    "DeclarationError",
    "EngineError",
    "InvalidRun",
    "Llmperf",
    "LlmperfError",
    "LogNormal",
    "Measurement",
    "Measurements",
    "Normal",
    "Probe",
    "StoreError",
    "Uniform",
    "Workload",
    "slo",
    "sweep",
    "tolerance",
]


def test_the_public_names_are_these_in_order() -> None:
    assert pytest_llmperf.__all__ == PUBLIC == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_can_be_imported(name: str) -> None:
    thing = getattr(pytest_llmperf, name)
    assert thing.__name__ == name
    assert thing.__doc__


def test_all_of_them_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from pytest_llmperf import *", names)
    assert set(PUBLIC) <= set(names)


@pytest.mark.parametrize("name", ["Baseline", "numpy", "measurements"])
def test_any_other_name_is_missing_as_from_any_module(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'pytest_llmperf' has no attribute '{name}'"):
        getattr(pytest_llmperf, name)


def test_every_error_is_one_of_ours() -> None:
    for name in ("DeclarationError", "EngineError", "InvalidRun", "StoreError"):
        assert issubclass(getattr(pytest_llmperf, name), pytest_llmperf.LlmperfError)
    assert issubclass(pytest_llmperf.DeclarationError, ValueError)


@pytest.mark.parametrize(
    "name", [m.name for m in pkgutil.walk_packages(pytest_llmperf.__path__, "pytest_llmperf.")]
)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert importlib.import_module(name).__doc__
