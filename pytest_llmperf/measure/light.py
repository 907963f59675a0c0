"""The speed of light: what a request takes at least, by the model's shape and the accelerator's data sheet.

A request alone on the machine is bounded by its multiplications or by the bytes that have to be read,
whichever takes longer (the roofline: Williams, Waterman & Patterson 2009). How many there are of either:
Pope et al. 2022, "Efficiently Scaling Transformer Inference", arXiv 2211.05102; Chen 2022, "Transformer
Inference Arithmetic". Where it is not known whether something can be saved, it is taken for saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.measure.accelerators import Accelerator
from pytest_llmperf.measure.shape import ModelShape


def floor_ttft_s(shape: ModelShape, accelerator: Accelerator, count: int, input_tokens: int) -> float:
    """The least time in seconds until the first token of a prompt that is computed whole, on ``count``
    accelerators that share all work evenly and talk to each other in no time."""
    precision = shape.precision
    quantised, plain = shape.matrix_flops
    compute_s = (
        input_tokens * quantised / accelerator.flops_of(precision.weights)
        + input_tokens * plain / accelerator.flops_of(precision.rest)
        + shape.attention_flops(input_tokens) / accelerator.flops_of(precision.attention)
        + shape.head_flops
        / accelerator.flops_of(precision.weights if precision.is_of_head else precision.rest)
    )
    return max(compute_s, shape.weight_bytes / accelerator.bytes_per_s) / count


def floor_tpot_s(shape: ModelShape, accelerator: Accelerator, count: int, context: float) -> float:
    """The least time in seconds for one token behind ``context`` others, of a request that is alone: all
    weights that it goes through and its whole KV cache are read once."""
    read_s = (shape.weight_bytes + shape.kv_bytes(context)) / accelerator.bytes_per_s
    fastest = max(
        accelerator.flops_of(name)
        for name in (shape.precision.weights, shape.precision.rest, shape.precision.attention)
    )
    return max(read_s, shape.token_flops(context) / fastest) / count


@dataclass(frozen=True)
class Light:
    """The floors of a run in ms, None where one is not known, and ``of`` what, in words."""

    ttft_ms: float | None
    tpot_ms: float | None
    of: str

    def share(self, values: Mapping[str, float]) -> dict[str, float]:
        """How much of the speed of light a run's medians reached: 1 is all of it."""
        floors = {"ttft": self.ttft_ms, "tpot": self.tpot_ms}
        return {
            name: floor / measured
            for name, floor in floors.items()
            if floor is not None and (measured := values.get(f"{name}_p50_ms"))
        }

    def as_json(self, values: Mapping[str, float]) -> dict[str, Any]:
        told = {"ttft_ms": self.ttft_ms, "tpot_ms": self.tpot_ms}
        known = {name: value for name, value in told.items() if value is not None}
        return {**known, "share": self.share(values), "of": self.of}
