"""How well the load generator itself did: a run that it could not drive says nothing about the engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_llmperf.load.account import Account
from pytest_llmperf.load.decode import Trace

MAX_LAG_MS = 10.0
MAX_LAG_SHARE = 0.1
MIN_ARRIVALS = 0.99
MAX_MERGED_SHARE = 0.01
MAX_CLOCK_DRIFT_MS = 1.0
MAX_CLOCK_DRIFT_PPM = 500
MAX_CACHED_SHARE = 0.05
CACHE_BLOCK_TOKENS = 64
NOTHING: Mapping[str, float] = {}


@dataclass(frozen=True)
class Health:
    """Figures of one run; ``problems`` names each documented limit that was passed, and what would help.

    ``dispatch_lag``: from the intended send time to the moment when this process was about to send.
    ``connect_wait``: from then until the connection took the request, which is the server's or the
    network's time. ``read_lag``: from the arrival of data to its read (0 without kernel stamps).
    ``merged_share``: tokens that were read so late, together with later ones, that their time may be over
    2 ms too late.
    ``arrivals``: rate achieved over rate asked for (1 for a closed loop). ``clock_drift_ms``: real against
    monotonic time, over the run. ``cpu_share`` and ``cpu_wait_share``: the generator's CPU time, and its
    time ready to run without a core, over the run's time, in the process that had most of it;
    ``steal_share``: CPU time that a hypervisor kept; ``processes``: how many drove the load. ``clock``: who
    stamped the data, the kernel or this process. ``is_late``: whether there is a problem that another try
    may not have.
    """

    dispatch_lag_p50_ms: float
    dispatch_lag_p99_ms: float
    connect_wait_p99_ms: float
    read_lag_p99_ms: float
    merged_share: float
    arrivals: float
    clock_drift_ms: float
    cpu_share: float
    cpu_wait_share: float
    steal_share: float
    processes: int
    clock: str
    cached_prompt_share: float
    wrong_prompt_lengths: int
    is_late: bool
    problems: tuple[str, ...]


def examine(
    account: Account, traces: Sequence[Trace], *, is_open_loop: bool, counted: Mapping[str, float] = NOTHING
) -> Health:
    """Judge the generator by what it did; ``counted``: by how much the engine's own totals grew."""
    lags = [trace.handed_ns - trace.due_ns for trace in traces if trace.handed_ns]
    waits = [trace.sent_ns - trace.handed_ns for trace in traces if trace.sent_ns]
    ttfts = [trace.token_ns[0] - trace.due_ns for trace in traces if trace.token_ns]
    arrivals, slipped_ms = _arrivals(traces) if is_open_loop else (1.0, 0.0)
    span_ms = max(1e-6, (account.ended_ns - account.started_ns) / 1e6)
    figures = {
        "dispatch_lag_p50_ms": _percentile_ms(lags, 50),
        "dispatch_lag_p99_ms": _percentile_ms(lags, 99),
        "connect_wait_p99_ms": _percentile_ms(waits, 99),
        "read_lag_p99_ms": _percentile_ms(account.read_lags_ns, 99),
        "merged_share": _merged_share(traces, 0),
        "arrivals": arrivals,
        "clock_drift_ms": account.clock_drift_ns / 1e6,
        "cpu_share": account.cpu_s * 1e3 / span_ms,
        "cpu_wait_share": account.cpu_wait_s * 1e3 / span_ms,
        "steal_share": account.steal_share,
    }
    limit_ms = max(MAX_LAG_MS, MAX_LAG_SHARE * _percentile_ms(ttfts, 50))
    late = _lateness(figures, limit_ms)
    if arrivals < MIN_ARRIVALS and slipped_ms > limit_ms:
        late.append(
            f"{arrivals:.1%} of the arrivals per second that were asked for were achieved (limit "
            f"{MIN_ARRIVALS:.0%})"
        )
    if (merged := _merged_share(traces, limit_ms * 1e6)) > MAX_MERGED_SHARE:
        late.append(
            f"{merged:.1%} of the tokens (limit {MAX_MERGED_SHARE:.0%}) were read together with later ones "
            f"and got their time, which may be over {limit_ms:.1f} ms too late"
        )
    late = [*(f"{problem}: {_advice(figures)}" for problem in late), *_drift(figures, span_ms)]
    cached = max(_cached_share(traces), _counted_share(traces, counted))
    wrong = [trace for trace in traces if _has_wrong_length(trace)]
    return Health(
        **figures,
        processes=account.processes,
        clock="kernel" if account.read_lags_ns else "process",
        cached_prompt_share=cached,
        wrong_prompt_lengths=len(wrong),
        is_late=bool(late),
        problems=(*late, *_other_problems(traces, cached, wrong)),
    )


def _arrivals(traces: Sequence[Trace]) -> tuple[float, float]:
    """The rate achieved over the rate asked for, and by how many ms the arrivals took longer than asked."""
    handed = [(trace.due_ns, trace.handed_ns) for trace in traces if trace.handed_ns]
    if len(handed) < 2:
        return 1.0, 0.0
    asked = max(due for due, _ in handed) - min(due for due, _ in handed)
    took = max(handed_ns for _, handed_ns in handed) - min(handed_ns for _, handed_ns in handed)
    if not asked or not took:
        return 1.0, 0.0
    return asked / took * len(handed) / len(traces), (took - asked) / 1e6


def _merged_share(traces: Sequence[Trace], beyond_ns: float) -> float:
    """The share of tokens whose time may be too late by more than ``beyond_ns``."""
    merged = sum(span > beyond_ns for trace in traces for span in trace.merged_ns)
    return merged / max(1, sum(len(trace.token_ns) for trace in traces))


def _percentile_ms(values_ns: Sequence[int], percentile: float) -> float:
    return float(np.percentile(values_ns, percentile)) / 1e6 if values_ns else 0.0


def _has_wrong_length(trace: Trace) -> bool:
    return None not in (trace.prompt_tokens, expected := trace.request.prompt_tokens) and (
        trace.prompt_tokens != expected
    )


def _allowed(trace: Trace) -> int:
    """How many tokens of a prompt may come from a cache: what is shared, and as engines cache in blocks, all
    of the last block that is partly shared."""
    shared = trace.request.shared_tokens
    return shared and shared + (0 if trace.request.is_quoted else CACHE_BLOCK_TOKENS)


def _cached_share(traces: Sequence[Trace]) -> float:
    hits = prompts = 0
    for trace in traces:
        if trace.cached_tokens is not None and trace.prompt_tokens:
            hits += max(0, min(trace.cached_tokens, trace.prompt_tokens) - _allowed(trace))
            prompts += trace.prompt_tokens
    return hits / max(1, prompts)


def _why_not_cached(traces: Sequence[Trace]) -> str:
    limit = f"(limit {MAX_CACHED_SHARE:.0%})"
    if any(trace.request.is_quoted for trace in traces):
        return (
            f"a data set shares nothing on purpose {limit}: it was sent before, in the warm-up, at another "
            "load point or because it has fewer prompts than the run, or its prompts begin alike; turn the "
            "engine's prefix cache off, or give a larger data set and one load point"
        )
    return (
        f"every prompt was new {limit}: is a proxy or a second client using the same server? Have it to "
        "yourself, without what caches answers in front of it"
    )


def _counted_share(traces: Sequence[Trace], counted: Mapping[str, float]) -> float:
    """The same by the engine's counters; 0 where it has none, or where they count other clients as well."""
    prompts = sum(trace.prompt_tokens or 0 for trace in traces)
    if not prompts or counted.get("prompt_tokens", 0.0) > (1 + MAX_CACHED_SHARE) * prompts:
        return 0.0
    allowed = sum(map(_allowed, traces))
    return min(1.0, max(0.0, counted.get("cached_prompt_tokens", 0.0) - allowed) / prompts)


def _lateness(figures: Mapping[str, float], limit_ms: float) -> list[str]:
    problems = []
    if figures["dispatch_lag_p99_ms"] > limit_ms:
        problems.append(
            f"requests left {figures['dispatch_lag_p99_ms']:.1f} ms late (p99; limit {limit_ms:.1f} ms)"
        )
    if figures["read_lag_p99_ms"] > limit_ms:
        problems.append(
            f"data was read {figures['read_lag_p99_ms']:.1f} ms after it came (p99; limit {limit_ms:.1f} "
            "ms), so that tokens which came in between share one time"
        )
    return problems


def _drift(figures: Mapping[str, float], span_ms: float) -> list[str]:
    limit_ms = MAX_CLOCK_DRIFT_MS + span_ms * MAX_CLOCK_DRIFT_PPM / 1e6
    if abs(figures["clock_drift_ms"]) <= limit_ms:
        return []
    return [
        f"the machine's clock was set by {figures['clock_drift_ms']:.1f} ms during the run (limit "
        f"{limit_ms:.1f} ms): let it settle first"
    ]


def _advice(figures: Mapping[str, float]) -> str:
    """What would help, by what kept the generator from its work."""
    used = f"the load generator used {figures['cpu_share']:.0%} of a core"
    if figures["steal_share"] > 0.05:
        return f"{used}, and the hypervisor kept {figures['steal_share']:.0%}: use a machine of your own"
    if figures["cpu_share"] > 0.6:
        return f"{used}: use more worker processes (--llmperf-workers), or lower the rate"
    if figures["cpu_wait_share"] > 0.02:
        waited = f"{used} and waited {figures['cpu_wait_share']:.0%} of the time for one"
        return f"{waited}: give it a core of its own, or lower the rate"
    return f"{used}: give it a core of its own, or lower the rate"


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
            "to them? Test the engine itself, with the tokenizer of its model"
        )
    if short := [trace.error for trace in traces if trace.error_kind == "client"]:
        problems.append(
            f"{len(short)} requests failed for want of something on this machine ({short[0]}): lower the "
            "load, or give the machine more (of ports: net.ipv4.ip_local_port_range)"
        )
    return problems
