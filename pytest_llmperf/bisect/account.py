"""A finding in words and numbers, as a JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_llmperf.bisect.ends import MOST
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.pair import Question
from pytest_llmperf.bisect.position import Position
from pytest_llmperf.judge.change import CONFIDENCE, Change
from pytest_llmperf.judge.student import t_quantile
from pytest_llmperf.keep.files import rounded

KIND, VERSION = "llmperf_bisection", 1


@dataclass(frozen=True)
class Step:
    """Something to do next, and the command that does it."""

    what: str
    command: Sequence[str]


def account(
    axis: str,
    positions: Sequence[Position],
    finding: Finding,
    subjects: tuple[str, str],
    steps: Sequence[Step],
) -> dict[str, Any]:
    """All of it; ``subjects`` are the ends as they may be shown.

    ``confirmed`` are the changes between ``before`` and ``after``, the two sides of the confirmation. That
    is there for a culprit alone: of several suspects that were not told apart it is about one, and would be
    read as if about all. Where the history is not one change for good, ``narrowed_to`` is the last position
    that was searched.
    """
    good, bad = positions[0], positions[-1]
    before, after = _sides(axis, positions, finding)
    return {
        KIND: VERSION,
        "axis": axis,
        "good": {"name": good.name, "subject": subjects[0]},
        "bad": {"name": bad.name, "subject": subjects[1]},
        "positions": len(positions),
        "outcome": str(finding.outcome),
        "confidence": rounded(finding.confidence),
        "question": finding.question and asdict(finding.question),
        "ends": [_change(question, change) for question, change in finding.ends.items()],
        "suspects": [_suspect(positions, finding, index) for index in finding.suspects],
        "confirmation": _confirmation(finding),
        "confirmed": [positions[i].change for i in finding.suspects if finding.outcome is Outcome.CULPRIT],
        "before": before,
        "after": after,
        "narrowed_to": _narrowed_to(positions, finding),
        "oddities": oddities(positions, finding),
        "skipped": skipped(positions, finding),
        "open": "",
        "cut_short": finding.outcome is Outcome.ENDS_UNDECIDED and finding.launches < 2 * MOST,
        "launches": finding.launches,
        "seconds": rounded(finding.seconds),
        "next": [{"what": step.what, "command": list(step.command)} for step in steps],
    }


def oddities(positions: Sequence[Position], finding: Finding, given: str = "") -> list[dict[str, Any]]:
    """What does not fit one change for good, and ``against`` what that was measured; ``given`` are the words
    for what all positions have in common."""
    return [
        {
            "name": _with(positions[odd.position].name, given),
            "words": odd.words,
            "change": finding.question and _change(finding.question, odd.change),
            "against": _with(positions[0].name, given),
        }
        for odd in finding.oddities
    ]


def skipped(positions: Sequence[Position], finding: Finding, given: str = "") -> list[dict[str, Any]]:
    """What could not be measured, and why."""
    return [
        {"name": _with(positions[index].name, given), "why": why}
        for index, why in sorted(finding.skipped.items())
    ]


def _with(name: str, given: str) -> str:
    return f"{name} {given}".rstrip()


def _sides(axis: str, positions: Sequence[Position], finding: Finding) -> tuple[str, str]:
    """What is good and bad beside each other: the ends, where there is no culprit."""
    if finding.outcome is not Outcome.CULPRIT:
        return positions[0].name, positions[-1].name
    if axis == "flags":
        them = "it" if len(finding.suspects) == 1 else "them"
        return f"without {them}", f"with {them}"
    return positions[finding.suspects[0] - 1].name, positions[finding.suspects[-1]].name


def _narrowed_to(positions: Sequence[Position], finding: Finding) -> str | None:
    last = max(finding.probabilities, default=len(positions) - 1)
    return positions[last].name if last < len(positions) - 1 else None


def _suspect(positions: Sequence[Position], finding: Finding, index: int) -> Mapping[str, Any]:
    probability = finding.probabilities.get(index)
    return {**asdict(positions[index]), "probability": None if probability is None else rounded(probability)}


def _confirmation(finding: Finding) -> dict[str, Any] | None:
    if finding.outcome is not Outcome.CULPRIT or finding.confirmation is None or finding.question is None:
        return None
    return _change(finding.question, finding.confirmation)


def _change(question: Question, change: Change) -> dict[str, Any]:
    figures = {
        **asdict(change),
        "estimate": change.estimate,
        "low": change.low,
        "high": change.high,
        **_interval("base", change.base, change.base_launches, change),
        **_interval("candidate", change.candidate, change.candidate_launches, change),
    }
    shown = {name: rounded(value) if isinstance(value, float) else value for name, value in figures.items()}
    return {**shown, "question": asdict(question), "verdict": str(change.verdict)}


def _interval(side: str, value: float, launches: int, change: Change) -> dict[str, float]:
    """Of one side for itself, from the spread between launches."""
    half = t_quantile(0.5 + CONFIDENCE / 2, change.degrees) * change.spread / math.sqrt(launches)
    return {f"{side}_low": value * math.exp(-half), f"{side}_high": value * math.exp(half)}
