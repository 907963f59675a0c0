"""How well the load generator itself did: a run that it could not drive says nothing about the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_llmperf.load.connection import KERNEL_STAMPS
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.driver import Drive

MAX_LAG_MS = 10.0
MAX_LAG_SHARE = 0.1
MAX_CLOCK_DRIFT_MS = 1.0
MAX_CLOCK_DRIFT_PPM = 500
MAX_CACHED_SHARE = 0.05
CACHE_BLOCK_TOKENS = 64
_ADVICE = "give the load generator a core of its own, or lower the rate"


@dataclass(frozen=True)
class Health:
    """Figures of one run; ``problems`` names each documented limit that was passed, and what would help.

    ``dispatch_lag``: from the intended send time to the moment when this process was about to send.
    ``connect_wait``: from then until the connection took the request, which is the server's or the
    network's time. ``read_lag``: from the arrival of data to its read (0 without kernel stamps).
    ``clock_drift_ms``: real against monotonic time, over the run. ``cpu_share``: this process's CPU time over
    the run's time. ``clock``: who stamped the data, the kernel or this process. ``is_late``: whether there
    is a problem that another try may not have.
    """

    dispatch_lag_p50_ms: float
    dispatch_lag_p99_ms: float
    connect_wait_p99_ms: float
    read_lag_p99_ms: float
    clock_drift_ms: float
    cpu_share: float
    clock: str
    cached_prompt_share: float
    wrong_prompt_lengths: int
    is_late: bool
    problems: tuple[str, ...]


def examine(drive: Drive, traces: Sequence[Trace]) -> Health:
    """Judge the generator by what it did."""
    lags = [trace.handed_ns - trace.due_ns for trace in traces if trace.handed_ns]
    waits = [trace.sent_ns - trace.handed_ns for trace in traces if trace.sent_ns]
    ttfts = [trace.token_ns[0] - trace.due_ns for trace in traces if trace.token_ns]
    span_ms = (drive.ended_ns - drive.started_ns) / 1e6
    figures = {
        "dispatch_lag_p50_ms": _percentile_ms(lags, 50),
        "dispatch_lag_p99_ms": _percentile_ms(lags, 99),
        "connect_wait_p99_ms": _percentile_ms(waits, 99),
        "read_lag_p99_ms": _percentile_ms(drive.read_lags_ns, 99),
        "clock_drift_ms": drive.clock_drift_ns / 1e6,
        "cpu_share": drive.cpu_s * 1e3 / max(1e-6, span_ms),
    }
    late = _lateness(figures, _percentile_ms(ttfts, 50), span_ms)
    cached = _cached_share(traces)
    wrong = [trace for trace in traces if _has_wrong_length(trace)]
    return Health(
        **figures,
        clock="kernel" if KERNEL_STAMPS else "process",
        cached_prompt_share=cached,
        wrong_prompt_lengths=len(wrong),
        is_late=bool(late),
        problems=(*late, *_other_problems(traces, cached, wrong)),
    )


def _percentile_ms(values_ns: Sequence[int], percentile: float) -> float:
    return float(np.percentile(values_ns, percentile)) / 1e6 if values_ns else 0.0


def _has_wrong_length(trace: Trace) -> bool:
    return None not in (trace.prompt_tokens, expected := trace.request.prompt_tokens) and (
        trace.prompt_tokens != expected
    )


def _cached_share(traces: Sequence[Trace]) -> float:
    hits = prompts = 0
    for trace in traces:
        if trace.cached_tokens is not None and trace.prompt_tokens:
            # Engines cache in blocks, so the last block that is partly shared may be known as a whole.
            shared = trace.request.shared_tokens
            allowed = shared and shared + CACHE_BLOCK_TOKENS
            hits += max(0, min(trace.cached_tokens, trace.prompt_tokens) - allowed)
            prompts += trace.prompt_tokens
    return hits / max(1, prompts)


def _why_not_cached(traces: Sequence[Trace]) -> str:
    limit = f"(limit {MAX_CACHED_SHARE:.0%})"
    if any(trace.request.prompt_tokens is None and trace.request.turn == 1 for trace in traces):
        return (
            f"a data set shares nothing on purpose {limit}: it was sent before, in the warm-up, at another "
            "load point or because it has fewer prompts than the run, or its prompts begin alike; turn the "
            "engine's prefix cache off, or give a larger data set and one load point"
        )
    return f"every prompt was new {limit}: is a proxy or a second client using the same server?"


def _lateness(figures: Mapping[str, float], median_ttft_ms: float, span_ms: float) -> list[str]:
    problems = []
    busy = f"this process used {figures['cpu_share']:.0%} of a core"
    limit_ms = max(MAX_LAG_MS, MAX_LAG_SHARE * median_ttft_ms)
    if figures["dispatch_lag_p99_ms"] > limit_ms:
        problems.append(
            f"requests left {figures['dispatch_lag_p99_ms']:.1f} ms late (p99; limit {limit_ms:.1f} ms; "
            f"{busy}): {_ADVICE}"
        )
    if figures["read_lag_p99_ms"] > limit_ms:
        problems.append(
            f"data was read {figures['read_lag_p99_ms']:.1f} ms after it came (p99; limit {limit_ms:.1f} ms; "
            f"{busy}), so that tokens which came in between share one time: {_ADVICE}"
        )
    limit_ms = MAX_CLOCK_DRIFT_MS + span_ms * MAX_CLOCK_DRIFT_PPM / 1e6
    if abs(figures["clock_drift_ms"]) > limit_ms:
        problems.append(
            f"the machine's clock was set by {figures['clock_drift_ms']:.1f} ms during the run (limit "
            f"{limit_ms:.1f} ms): let it settle first"
        )
    return problems


def _other_problems(traces: Sequence[Trace], cached: float, wrong: Sequence[Trace]) -> list[str]:
    problems = []
    if cached > MAX_CACHED_SHARE:
        problems.append(
            f"{cached:.0%} of the prompt tokens came from the engine's prefix cache although "
            f"{_why_not_cached(traces)}"
        )
    if wrong:
        asked = wrong[0].request.prompt_tokens
        counted = sorted({t.prompt_tokens or 0 for t in wrong if t.request.prompt_tokens == asked})
        problems.append(
            f"{len(wrong)} prompts were not as long as asked, as of {asked} tokens that were "
            f"{' or '.join(map(str, counted[:5]))} by the engine's count: does a proxy or the tokenizer add "
            "to them?"
        )
    if short := [trace.error for trace in traces if trace.error_kind == "client"]:
        problems.append(f"{len(short)} requests failed for want of something on this machine ({short[0]})")
    return problems
