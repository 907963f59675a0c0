"""Records as sessions write them, with figures of our choice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MACHINE = {"place": "local process", "model": "m sha256:1", "accelerators": "NVIDIA H100 80GB HBM3"}


def run(
    launch: int, values: Mapping[str, float], problems: Sequence[str] = (), uncertainty: float = 0.01
) -> dict[str, Any]:
    latencies = [name for name in values if name.endswith("_ms")]
    return {
        "launch": launch,
        "requests": 200,
        "values": {"error_rate": 0.0, **values},
        "uncertainty": dict.fromkeys(latencies, uncertainty),
        "health": {"problems": list(problems)},
    }


def point(load: float, runs: Sequence[Mapping[str, Any]], *, is_closed: bool = False) -> dict[str, Any]:
    label = f"{load:g} at once" if is_closed else f"{load:g}/s"
    declared = {"concurrency": int(load)} if is_closed else {"rate": load, "arrivals": "poisson"}
    return {
        "workload": "1024 in / 128 out",
        "load": label,
        "key": label,
        "declared": {"load": {**declared, "duration_s": 30.0}},
        "runs": list(runs),
        "base_runs": [],
    }


def entry(subject: str, points: Sequence[Mapping[str, Any]], **changed: Any) -> dict[str, Any]:
    engine = subject.split()[0].partition("==")
    fields = {"engine": engine[0], "version": engine[2] or "1.0", "flags": subject.partition(" ")[2]}
    return {
        "test": "test_it.py::test_it",
        "command": ["pytest", "--llmperf", "--llmperf-model", "org/m"],
        "verdict": "pass",
        "error": None,
        "slo": ["TTFT p95 ≤ 300 ms"],
        "subject": {"text": subject, "fields": fields},
        "environment": MACHINE,
        "compared_with": None,
        "points": list(points),
        **changed,
    }


def record(
    *entries: Mapping[str, Any], started: str = "2026-11-22T02:00:00+00:00", **changed: Any
) -> dict[str, Any]:
    return {
        "llmperf_record": 1,
        "status": "complete",
        "started": started,
        "launches": [],
        "tests": list(entries),
        **changed,
    }


def write(path: Path, content: Mapping[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
