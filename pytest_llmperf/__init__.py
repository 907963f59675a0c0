"""Performance regression tests for LLM serving, as a pytest plugin."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_llmperf.declare.lengths import LogNormal, Normal, Uniform
    from pytest_llmperf.declare.markers import slo, sweep, tolerance
    from pytest_llmperf.declare.workload import Workload
    from pytest_llmperf.errors import DeclarationError, EngineError, InvalidRun, LlmperfError, StoreError
    from pytest_llmperf.fixture import Llmperf
    from pytest_llmperf.measure.measurement import Measurement, Measurements

__all__ = [
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

_HOMES = {
    "Llmperf": "fixture",
    "LogNormal": "declare.lengths",
    "Measurement": "measure.measurement",
    "Measurements": "measure.measurement",
    "Normal": "declare.lengths",
    "Probe": "probing",
    "Uniform": "declare.lengths",
    "Workload": "declare.workload",
    "slo": "declare.markers",
    "sweep": "declare.markers",
    "tolerance": "declare.markers",
}


def __getattr__(name: str) -> Any:
    # Imported when first used: every test run imports this package for the plugin in it, few use it.
    if name in __all__:
        return getattr(import_module(f"pytest_llmperf.{_HOMES.get(name, 'errors')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
