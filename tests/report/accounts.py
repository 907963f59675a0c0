"""Findings of bisections, and the accounts of them, from figures that a test chooses."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.bisect.account import Step, account
from pytest_llmperf.bisect.finding import Finding, Oddity, Outcome
from pytest_llmperf.bisect.pair import Question
from pytest_llmperf.bisect.position import Position
from pytest_llmperf.judge.change import Change
from pytest_llmperf.judge.verdict import Verdict

TTFT = Question("tests/test_chat.py::test_it", "64 in / 32 out", "4/s", "ttft_p50_ms", "lower", 0.05)
TOKENS = dataclasses.replace(TTFT, metric="output_tokens_per_s", better="higher")
STARTUP = dataclasses.replace(TTFT, metric="startup_s")
RELEASES = [Position(f"0.{n}.0", f"release 0.{n}.0", {"date": f"2026-0{n - 19}-12"}) for n in range(20, 26)]
COMMITS = [
    Position(
        f"{n}a{n}b{n}c{n}",
        f"commit {n}a{n}b{n}c{n}",
        {
            "subject": f"Batch the copies (#{n})",
            "author": "A. Dev",
            "date": "2026-05-04",
            "commit": f"{n}" * 40,
        },
    )
    for n in range(6)
]
FLAGS = [
    Position("good", ""),
    Position("+ --a 1", "--a 1"),
    Position("+ without --b", "without --b"),
    Position("bad", "--max-num-seqs 64 (was --max-num-seqs 256)"),
]
SUBJECTS = {
    "releases": ("vllm==0.20.0", "vllm==0.25.0"),
    "commits": ("v1", "main"),
    "flags": ("vllm --b --max-num-seqs 256", "vllm --a 1 --max-num-seqs 64"),
}
POSITIONS = {"releases": RELEASES, "commits": COMMITS, "flags": FLAGS}


def change(
    factor: float, verdict: Verdict = Verdict.REGRESSED, base: float = 100.0, launches: int = 3
) -> Change:
    """A change by this factor, its interval ± 4 %."""
    return Change(
        base=base,
        candidate=base * factor,
        base_launches=launches,
        candidate_launches=launches,
        most=8,
        tolerance=0.05,
        better="lower",
        spread=0.02 * math.sqrt(launches / 2),
        error=0.02,
        degrees=1e6,
        p_value=1e-6,
        level=0.001,
        final_level=0.007,
        risk=0.99,
        p_twice=1.0,
        verdict=verdict,
    )


def found(outcome: Outcome = Outcome.CULPRIT, suspects: Sequence[int] = (3,), **more: Any) -> Finding:
    """By default position 3 is the culprit, and has all of the 20 % between the ends."""
    is_culprit = outcome is Outcome.CULPRIT
    is_searched = is_culprit or outcome is Outcome.UNDECIDED
    of_search: dict[str, Any] = {
        "question": TTFT,
        "ends": {TTFT: change(1.2), TOKENS: change(0.99, Verdict.PASS)},
        "suspects": tuple(suspects),
        "confidence": 0.97,
        "probabilities": {
            index: 0.97 / len(suspects) if index in suspects else 0.01 for index in range(1, 6)
        },
        "confirmation": change(1.19, launches=2) if is_culprit else None,
    }
    return Finding(
        outcome, **{**(of_search if is_searched else {}), "launches": 22, "seconds": 1083.0, **more}
    )


def told(
    axis: str = "releases",
    finding: Finding | None = None,
    steps: Sequence[Step] = (Step("see what was measured", ["llmperf", "bisect", "log", "a b"]),),
    positions: Sequence[Position] = (),
    **more: Any,
) -> dict[str, Any]:
    """The account, as it is kept: which is as JSON."""
    made = account(axis, positions or POSITIONS[axis], finding or found(), SUBJECTS[axis], steps)
    read: dict[str, Any] = json.loads(json.dumps({**made, **more}))
    return read


def members(*changes: str) -> list[Mapping[str, Any]]:
    """What the suspects are where several differences together explain it."""
    return [{"name": one, "change": one, "about": {}, "probability": None} for one in changes]


def odd(position: int, factor: float, words: str) -> Oddity:
    return Oddity(position, change(factor, Verdict.PASS), words)
