"""The engines and SLOs that are searched."""

from __future__ import annotations

from bench.search.engine import Engine
from bench.search.searches import Case

CASES = (
    Case(Engine("prefill-bound", 6, 0.03, 0.025, 2048, 256, prompt=1024, output=32), "ttft", 0.2, 180.0),
    Case(
        Engine("decode-bound", 8, 0.08, 0.015, 2048, 512, prompt=256, output=256, spread=0.5),
        "tpot",
        0.03,
        180.0,
    ),
    Case(
        Engine("48 sequences at most", 8, 0.05, 0.015, 2048, 48, prompt=256, output=128, spread=0.5),
        "ttft",
        0.2,
        180.0,
    ),
    Case(
        Engine("speed varies by 1.5 %", 6, 0.05, 0.02, 2048, 256, prompt=1024, output=128, jitter=0.015),
        "ttft",
        0.15,
        180.0,
    ),
    Case(
        Engine(
            "64 sequences, stalls",
            8,
            0.06,
            0.05,
            2048,
            64,
            prompt=512,
            output=128,
            stall_s=0.3,
            stall_every_s=30.0,
        ),
        "ttft",
        0.3,
        180.0,
    ),
)
