"""When every token of every request came, for others to count again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llmperf.keep.files import replacing
from pytest_llmperf.load.decode import Trace


def write_timelines(path: Path, traces: Iterable[Trace]) -> None:
    """One JSON object on a line for each request, in the order in which they were due.

    Raises :class:`~pytest_llmperf.errors.StoreError`; a file that was there is then unharmed.
    """
    with replacing(path) as file:
        for trace in sorted(traces, key=lambda trace: trace.due_ns):
            file.write(json.dumps(as_json(trace), separators=(",", ":")) + "\n")


def as_json(trace: Trace) -> dict[str, Any]:
    """A request as it went; times are CLOCK_MONOTONIC in ns, null for what did not happen or was not told."""
    return {
        "id": trace.request.id,
        "scheduled_ns": trace.due_ns,
        "sent_ns": trace.sent_ns or None,
        "first_token_ns": trace.token_ns[0] if trace.token_ns else None,
        "token_ns": list(trace.token_ns),
        "ended_ns": trace.ended_ns,
        "status": trace.status,
        "usage": {
            "prompt_tokens": trace.prompt_tokens,
            "completion_tokens": trace.output_tokens,
            "cached_tokens": trace.cached_tokens,
        },
        "error": trace.error,
        "merged_tokens": len(trace.merged_ns),
    }
