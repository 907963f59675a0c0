"""Records as the page gets them: of an engine that got worse under load, with all that a run can have."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from pytest_llmperf.declare.load import LoadPoint
from tests.report.entries import CHAT, Writer

RATES = (2.0, 6.0, 10.0, 14.0)
_LEVELS = [0.0, 0.01, 0.05, *(round(0.1 * i, 1) for i in range(1, 10)), 0.95, 0.99, 1.0]
_FIELDS = {
    "engine": "vllm",
    "version": "0.24.0",
    "flag --max-num-batched-tokens": "512",
    **{f"setting scheduler.field_{i}": str(i) for i in range(30)},
}


def series(
    seed: int, rate: float, ttft_ms: float, tpot_ms: float, *, is_whole: bool = True
) -> dict[str, Any]:
    """What is recorded inside a run."""
    chance = random.Random(seed)

    def quantiles(centre: float, spread: float) -> list[float]:
        drawn = sorted(centre * math.exp(chance.gauss(0, spread)) for _ in range(400))
        return [round(drawn[min(399, int(level * 400))], 3) for level in _LEVELS]

    told: dict[str, Any] = {
        "quantiles": {
            "levels": _LEVELS,
            "ttft_ms": quantiles(ttft_ms, 0.4),
            "itl_ms": quantiles(tpot_ms, 0.3),
            "tpot_ms": quantiles(tpot_ms, 0.1),
        },
        "engine": {
            "columns": ["at_s", "running", "waiting", "cache_use"],
            "rows": [
                [float(second), chance.randrange(int(rate * 2), int(rate * 3) + 1), chance.randrange(3), None]
                if second % 7 == 3
                else [
                    float(second),
                    int(rate * 2.5),
                    max(0, chance.randrange(-4, 4)),
                    round(rate * 0.02 + chance.random() * 0.05, 4),
                ]
                for second in range(30)
            ],
        },
    }
    if is_whole:
        told["waterfall"] = {
            "columns": ["due_s", "sent_s", "first_token_s", "ended_s", "output_tokens", "error"],
            "rows": _requests(chance, rate, ttft_ms / 1e3, tpot_ms / 1e3),
        }
    return told


def _requests(chance: random.Random, rate: float, ttft_s: float, tpot_s: float) -> list[list[Any]]:
    rows: list[list[Any]] = []
    due = 0.0
    for number in range(60):
        due += chance.expovariate(rate)
        first = due + ttft_s * math.exp(chance.gauss(0, 0.4))
        ended = first + 127 * tpot_s * math.exp(chance.gauss(0, 0.1))
        row: list[Any] = [round(one, 5) for one in (due, due + 0.0003, first, ended)]
        rows.append([*row[:2], None, row[2], None, "reset: by peer"] if number == 41 else [*row, 128, None])
    return rows


def figures(rate: float, worse: float, seed: int) -> dict[str, float]:
    """Latencies that grow with the load, of a launch that has its own luck."""
    luck = math.exp(random.Random(seed).gauss(0, 0.03))
    ttft = (38 + 1.1 * rate + 1.5 * (rate / 8) ** 4) * luck * worse
    tpot = (6.4 + 0.42 * rate) * luck * (1 + (worse - 1) / 8)
    return {
        **{f"ttft_{name}_ms": round(ttft * by, 4) for name, by in (("p50", 1), ("p95", 1.9), ("p99", 2.6))},
        **{f"tpot_{name}_ms": round(tpot * by, 4) for name, by in (("p50", 1), ("p95", 1.2), ("p99", 1.3))},
        "itl_p99_ms": round(tpot * 3.1, 4),
        "output_tokens_per_s": round(rate * 127, 2),
        "requests_per_s": round(rate * 0.99, 3),
    }


def failing(
    nodeid: str = "tests/perf/test_chat.py::test_chat_stays_interactive",
    rates: Sequence[float] = RATES,
    launches: int = 3,
    *,
    slowdown: float = 1.9,
) -> dict[str, Any]:
    """A test whose candidate waits more the higher the load, beside what it is compared with."""
    writer = Writer(nodeid, ttft_p95_ms=120, tpot_p95_ms=40)
    for rate in rates:
        point = LoadPoint(rate=rate, duration_s=30.0)
        worse = 1 + (slowdown - 1) * (rate / max(rates)) ** 2
        for launch in range(1, launches + 1):
            for of_base, by in ((False, worse), (True, 1.0)):
                seed = launch * 10 + of_base + int(rate * 1000)
                writer.launch(
                    launch, point, figures(rate, by, seed), workload=CHAT, requests=400, of_base=of_base
                )
    writer.judge()
    writer.side_by_side("vllm", version="0.22.1")
    result = writer.result
    result.subject, result.subject_text = _FIELDS, "vllm --max-num-batched-tokens 512"
    result.subject_differences = [
        "version: 0.22.1 → 0.24.0",
        "flag --max-num-batched-tokens: (none) → 512",
        "setting scheduler.max_num_batched_tokens: 8192 → 512",
    ]
    result.command = [
        "pytest",
        "--llmperf",
        nodeid,
        "--llmperf-engine",
        "vllm --max-num-batched-tokens 512",
        "--llmperf-against",
        "vllm",
    ]
    result.environment = {
        "place": "local process",
        "model": "Llama-3.1-8B sha256:f6b1",
        "machine": "Linux x86_64",
        "cpus": "16",
        "accelerators": "NVIDIA H100 80GB HBM3",
        "driver": "580.159.04",
        "cuda": "13.0",
    }
    entry = writer.entry()
    entry["verdict"] = (
        "slo broken"
        if any(o["verdict"] == "slo broken" for p in entry["points"] for o in p["objectives"])
        else "pass"
    )
    if any(c["verdict"] == "regressed" for p in entry["points"] for c in p["changes"]):
        entry["verdict"] = "regressed"
    for point in entry["points"]:
        rate = point["declared"]["load"]["rate"]
        for side in ("runs", "base_runs"):
            for number, run in enumerate(point[side]):
                seed = run["launch"] + int(rate * 100) + (side == "runs") * 7
                values = run["values"]
                run["series"] = series(
                    seed, rate, values["ttft_p50_ms"], values["tpot_p50_ms"], is_whole=number == 0
                )
    return entry


def record(*entries: dict[str, Any], started: str = "2026-11-22T02:00:00+00:00") -> dict[str, Any]:
    """A session of these tests."""
    sides = (("candidate", "vllm --max-num-batched-tokens 512"), ("base", "vllm"))
    return {
        "llmperf_record": 1,
        "status": "complete",
        "started": started,
        "written": "2026-11-22T02:41:07+00:00",
        "versions": {"pytest-llmperf": "0.1.0", "python": "3.12.3"},
        "settings": {"launches": "3..8", "tolerance": "5%", "percentile": "p95"},
        "launches": [
            {
                "launch": launch,
                "side": side,
                "text": text,
                "subject": _FIELDS,
                "startup_cache": "warm",
                "startup_s": {"spawned": 0.1, "healthy": 61.5 + launch, "first_token": 62.1 + launch},
                "startup_phases": {"weights": 3.3, "compile": 11.2},
                "notes": [],
                "disturbances": [],
                "log": f".llmperf/logs/20261122-vllm-launch{launch}.log",
            }
            for launch in (1, 2, 3)
            for side, text in sides
        ],
        "failures": [],
        "tests": list(entries),
    }
