"""How well the load generator itself did: a run that it could not drive says nothing about the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.load.connection import KERNEL_STAMPS
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.driver import Drive

MAX_LAG_MS = 10.0
MAX_LAG_SHARE = 0.1
MIN_ACHIEVED = 0.98
MAX_CACHED_SHARE = 0.05
CACHE_BLOCK_TOKENS = 64


@dataclass(frozen=True)
class Health:
    """Figures of one run; ``problems`` names each documented limit that was passed, and what would help.

    ``dispatch_lag_p99_ms``: actual minus intended send time. ``achieved_share``: driven over requested
    arrival rate. ``cpu_share``: this process's CPU time over the run's time. ``clock``: who stamped the
    data, the kernel or this process.
    """

    dispatch_lag_p50_ms: float
    dispatch_lag_p99_ms: float
    achieved_share: float
    cpu_share: float
    clock: str
    cached_prompt_share: float
    wrong_prompt_lengths: int
    problems: tuple[str, ...]


def examine(
    drive: Drive, traces: Sequence[Trace], point: LoadPoint, input_tokens: int, shared_tokens: int
) -> Health:
    """Judge the generator by what it did; ``shared_tokens`` of each prompt may come from a cache."""
    sent = [trace for trace in traces if trace.sent_ns]
    lags = np.array([trace.sent_ns - trace.due_ns for trace in sent] or [0]) / 1e6
    ttfts = [trace.token_ns[0] - trace.due_ns for trace in sent if trace.token_ns]
    median_ttft_ms = float(np.median(ttfts)) / 1e6 if ttfts else 0.0
    figures = Health(
        dispatch_lag_p50_ms=float(np.percentile(lags, 50)),
        dispatch_lag_p99_ms=float(np.percentile(lags, 99)),
        achieved_share=_achieved(sent) if point.rate is not None else 1.0,
        cpu_share=drive.cpu_s / max(1e-9, (drive.ended_ns - drive.started_ns) / 1e9),
        clock="kernel" if KERNEL_STAMPS else "process",
        cached_prompt_share=_cached_share(traces, shared_tokens),
        wrong_prompt_lengths=sum(trace.prompt_tokens not in (None, input_tokens) for trace in traces),
        problems=(),
    )
    return Health(**{**vars(figures), "problems": tuple(_problems(figures, median_ttft_ms, input_tokens))})


def _achieved(sent: Sequence[Trace]) -> float:
    if len(sent) < 2:
        return 1.0
    asked = max(trace.due_ns for trace in sent) - min(trace.due_ns for trace in sent)
    driven = max(trace.sent_ns for trace in sent) - min(trace.sent_ns for trace in sent)
    return asked / driven if driven > 0 else 1.0


def _cached_share(traces: Sequence[Trace], shared_tokens: int) -> float:
    told = [t for t in traces if t.cached_tokens is not None and t.prompt_tokens]
    # Engines cache in blocks, so the last block that a template touches may be known as a whole.
    allowed = shared_tokens and shared_tokens + CACHE_BLOCK_TOKENS
    hits = sum(max(0, (t.cached_tokens or 0) - allowed) for t in told)
    return hits / max(1, sum(t.prompt_tokens or 0 for t in told))


def _problems(health: Health, median_ttft_ms: float, input_tokens: int) -> list[str]:
    problems = []
    limit_ms = max(MAX_LAG_MS, MAX_LAG_SHARE * median_ttft_ms)
    busy = f"this process used {health.cpu_share:.0%} of a core"
    if health.dispatch_lag_p99_ms > limit_ms:
        problems.append(
            f"requests left {health.dispatch_lag_p99_ms:.1f} ms late (p99; limit {limit_ms:.1f} ms; {busy}): "
            "give the load generator a core of its own, or lower the rate"
        )
    if health.achieved_share < MIN_ACHIEVED:
        problems.append(
            f"only {health.achieved_share:.1%} of the requested rate was driven (limit {MIN_ACHIEVED:.0%}; "
            f"{busy}): give the load generator a core of its own, or lower the rate"
        )
    if health.cached_prompt_share > MAX_CACHED_SHARE:
        problems.append(
            f"{health.cached_prompt_share:.0%} of the prompt tokens came from the engine's prefix cache "
            f"although every prompt was new (limit {MAX_CACHED_SHARE:.0%}): is a proxy or a second client "
            "using the same server?"
        )
    if health.wrong_prompt_lengths:
        problems.append(
            f"{health.wrong_prompt_lengths} prompts were not {input_tokens} tokens long by the engine's count"
        )
    return problems
