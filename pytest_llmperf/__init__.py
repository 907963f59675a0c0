"""Performance regression tests for LLM serving, as a pytest plugin."""

from typing import TYPE_CHECKING, Any

from pytest_llmperf.declare.markers import slo, sweep
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError, EngineError, InvalidRun, LlmperfError, StoreError
from pytest_llmperf.fixture import Llmperf

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurement import Measurement, Measurements

__all__ = [
    "DeclarationError",
    "EngineError",
    "InvalidRun",
    "Llmperf",
    "LlmperfError",
    "Measurement",
    "Measurements",
    "StoreError",
    "Workload",
    "slo",
    "sweep",
]


def __getattr__(name: str) -> Any:
    # These two need numpy, which a test run without --llmperf must not pay for.
    if name in ("Measurement", "Measurements"):
        from pytest_llmperf.measure import measurement

        return getattr(measurement, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
