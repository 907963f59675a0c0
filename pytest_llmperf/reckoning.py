"""What beside the clock can be said of a run: how near it came to the speed of light, and what it costs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.engines import models
from pytest_llmperf.engines.serving import Serving, serving_of
from pytest_llmperf.keep.environment import accelerators
from pytest_llmperf.keep.prices import Price, Prices
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.health import CACHE_BLOCK_TOKENS
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.measure.accelerators import Accelerator, accelerator_named
from pytest_llmperf.measure.architecture import shape_of
from pytest_llmperf.measure.cost import usd_per_million
from pytest_llmperf.measure.light import Light, floor_tpot_s, floor_ttft_s
from pytest_llmperf.measure.precision import precision_of
from pytest_llmperf.measure.shape import ModelShape

COST = MetricKey("cost").name


@dataclass(frozen=True)
class Reckoned:
    """Metrics by name, the price that they were reckoned with, and the speed of light as a record has it;
    empty and None where nothing is known."""

    values: Mapping[str, float] = field(default_factory=dict)
    price: Price | None = None
    light: Mapping[str, Any] = field(default_factory=dict)


def reckon(
    launch: Launch,
    environment: Mapping[str, str],
    model: str | None,
    prices: Prices,
    traces: Sequence[Trace],
    values: Mapping[str, float],
) -> Reckoned:
    """Of one run in this environment; ``model`` is what ``--llmperf-model`` says, ``values`` its metrics."""
    price, rate = prices.of(environment), values.get(MetricKey("output_tokens").name, 0.0)
    config = models.config_of(launch.subject, model)
    served = served_of(environment, launch.description.settings, config)
    light = served.light(traces) if served else None
    return Reckoned(
        {COST: usd_per_million(price.usd_per_hour, rate)} if price is not None and rate > 0 else {},
        price,
        light.as_json(values) if light else {},
    )


@dataclass(frozen=True)
class Served:
    """A model as it is served."""

    shape: ModelShape
    serving: Serving
    accelerator: Accelerator

    def light(self, traces: Sequence[Trace]) -> Light | None:
        """The floors of a run's medians: those of a request of median length, for the least time of a request
        grows with its length.

        No TTFT where the prompts may all have been cached, and no TPOT where drafts give several tokens at
        once.
        """
        good = [trace for trace in traces if trace.error is None]
        computed = [tokens for trace in good if (tokens := _computed(trace)) is not None]
        contexts = [
            trace.prompt_tokens + trace.output_tokens / 2
            for trace in good
            if trace.prompt_tokens and trace.output_tokens
        ]
        ttft_s = tpot_s = None
        if good and len(computed) == len(good):
            tokens = int(statistics.median(computed))
            ttft_s = floor_ttft_s(self.shape, self.accelerator, self.serving.prefilling, tokens)
        if good and len(contexts) == len(good) and not self.serving.drafts:
            context = statistics.median(contexts)
            tpot_s = floor_tpot_s(self.shape, self.accelerator, self.serving.decoding, context)
        if ttft_s is None and tpot_s is None:
            return None
        return Light(_ms(ttft_s), _ms(tpot_s), str(self))

    def __str__(self) -> str:
        count, precision = self.serving.prefilling, self.shape.precision
        gpus = f"{count} × {self.accelerator.name}" if count > 1 else self.accelerator.name
        active, every = self.shape.active_parameters, self.shape.parameters
        parameters = f"{every / 1e9:.3g}e9 parameters"
        if active < every:
            parameters += f", {active / 1e9:.3g}e9 of them active"
        return (
            f"{gpus}; {parameters}; {precision.weight_bytes * 8:g}-bit weights, "
            f"{precision.kv_bytes * 8:g}-bit KV cache"
        )


def served_of(
    environment: Mapping[str, str], settings: Mapping[str, str], config: Mapping[str, Any] | None
) -> Served | None:
    """None unless the hardware, the model and how it is served are all known."""
    serving = serving_of(settings)
    there = accelerators(environment)
    accelerator = accelerator_named(next(iter(there))) if len(there) == 1 else None
    if serving is None or accelerator is None or config is None:
        return None
    precision = precision_of(config, serving.dtype, serving.quantization, serving.kv_dtype)
    shape = shape_of(config, precision) if precision is not None else None
    # More than there are: the engine is spread over other machines, which nobody has looked at.
    if shape is None or serving.prefilling > sum(there.values()):
        return None
    return Served(shape, serving, accelerator)


def _computed(trace: Trace) -> int | None:
    """How many tokens of a prompt had to be computed at least; None if nobody knows."""
    prompt, request = trace.prompt_tokens or 0, trace.request
    if trace.cached_tokens is not None:
        cached = trace.cached_tokens
    elif request.is_quoted:
        return None  # what the prompts of a data set have in common, only the engine can tell
    else:
        cached = request.shared_tokens and request.shared_tokens + CACHE_BLOCK_TOKENS
    return prompt - cached if prompt > cached else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
