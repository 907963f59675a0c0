"""What a run without problems says of its load generator."""

from __future__ import annotations

from pytest_llmperf.load.health import Health

HEALTH = Health(
    dispatch_lag_p50_ms=0.1,
    dispatch_lag_p99_ms=0.4,
    connect_wait_p99_ms=0.3,
    read_lag_p99_ms=0.2,
    merged_share=0.0,
    arrivals=1.0,
    clock_drift_ms=0.01,
    cpu_share=0.2,
    cpu_wait_share=0.01,
    steal_share=0.0,
    processes=1,
    clock="kernel",
    cached_prompt_share=0.0,
    wrong_prompt_lengths=0,
    is_late=False,
    problems=(),
)
