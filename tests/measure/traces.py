"""Traces of requests as they might have gone, written in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.request import Request
from pytest_llmperf.measure.timeline import Timeline

START_MS = 1000.0
REQUEST = Request("r-0", b"", 0)


def ns(ms: float) -> int:
    return round(ms * 1e6)


def answered(due_ms: float, *token_ms: float, tokens: int | None = None) -> Trace:
    """A request that got its tokens at these times; ``tokens`` where events carried more than one."""
    return Trace(
        request=REQUEST,
        due_ns=ns(due_ms),
        handed_ns=ns(due_ms + 0.125),
        sent_ns=ns(due_ms + 0.25),
        first_byte_ns=ns(token_ms[0]),
        token_ns=tuple(map(ns, token_ms)),
        merged_ns=(),
        ended_ns=ns(token_ms[-1] + 1),
        status=200,
        output_tokens=len(token_ms) if tokens is None else tokens,
        prompt_tokens=16,
        cached_tokens=None,
        error=None,
    )


def failed(due_ms: float, error: str, *token_ms: float) -> Trace:
    return Trace(
        request=REQUEST,
        due_ns=ns(due_ms),
        handed_ns=ns(due_ms),
        sent_ns=ns(due_ms),
        first_byte_ns=None,
        token_ns=tuple(map(ns, token_ms)),
        merged_ns=(),
        ended_ns=ns(due_ms + 5000),
        status=None,
        output_tokens=None,
        prompt_tokens=None,
        cached_tokens=None,
        error=error,
    )


def timeline(traces: Sequence[Trace], scheduled_s: float = 0.0) -> Timeline:
    """Of a run that began at ``START_MS``."""
    return Timeline.of(traces, ns(START_MS), scheduled_s)
