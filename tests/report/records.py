"""Records made of entries, as a session writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.report.entries import FAST, SLOW, Writer, latencies

HOSTILE = (
    "<script>alert(1)</script> | ` @octocat #1 https://evil.example [x](y) \x1b[31m\u202e\u200b\n"
    "::error::owned ##[error]owned %0A::set-output name=x::y </details> $x$ :tada:"
)


def record(*entries: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    return {
        "llmperf_record": 1,
        "status": "complete",
        "started": "2026-11-22T02:00:00+00:00",
        "written": "2026-11-22T02:12:30+00:00",
        "versions": {"pytest-llmperf": "0.1.0", "python": "3.12.1"},
        "launches": [],
        "failures": [],
        "tests": list(entries),
        **changed,
    }


def measured(scale: float = 1.0, nodeid: str = "tests/test_perf.py::test_chat", **limits: float) -> Writer:
    """Eight launches of two load points, that many times as slow as the baseline of :func:`judged`."""
    writer = Writer(nodeid, **limits)
    for launch in range(1, 9):
        for point in (SLOW, FAST):
            writer.launch(launch, point, latencies(scale))
    return writer


def judged(
    verdict: str, scale: float = 1.0, nodeid: str = "tests/test_perf.py::test_chat", **limits: float
) -> dict[str, Any]:
    """The entry of a test with this verdict."""
    writer = measured(scale, nodeid, **limits)
    writer.judge(ttft_p50_ms=[100] * 8, tpot_p50_ms=[8.25] * 8)
    writer.result.subject_differences = ["version: 0.23.0 → 0.24.0", "flag --max-num-seqs: (none) → 256"]
    return {**writer.entry(), "verdict": verdict}


def failure(test: str, error: str = "vllm: it died", is_hindered: bool = False) -> dict[str, Any]:
    return {"test": test, "side": "candidate", "text": "vllm", "is_hindered": is_hindered, "error": error}


def with_hostile_text(value: Any) -> Any:
    """Every text that comes from outside replaced by a hostile one; names of ours stay."""
    if isinstance(value, Mapping):
        return {
            name: one if name in ("metric", "verdict", "kind", "seeks", "since") else with_hostile_text(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [with_hostile_text(one) for one in value]
    return HOSTILE * 30 if isinstance(value, str) else value
