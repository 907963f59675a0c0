"""What a diary's lines say: what was asked, pairs and findings as JSON, and pairs from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_llmperf.bisect.arguments import shown
from pytest_llmperf.bisect.finding import Finding
from pytest_llmperf.bisect.pair import Pair, Question
from pytest_llmperf.bisect.position import Position
from pytest_llmperf.declare.grid import slug
from pytest_llmperf.declare.subject import as_shown
from pytest_llmperf.judge.change import Change

Event = Mapping[str, Any]
_NAME = 24


@dataclass(frozen=True)
class Asked:
    """What a bisection is to find out; another question is another bisection.

    ``good`` and ``bad`` are the ends as they are shown, ``arguments`` those of pytest, ``variables`` those of
    the environment that change what is measured
    (:func:`~pytest_llmperf.bisect.arguments.telling_variables`), ``made`` how commits become subjects, and
    which commits the ends are: a branch moves.
    """

    kind: str
    good: str
    bad: str
    arguments: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    made: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """Without secrets."""
        return {
            "kind": self.kind,
            "good": as_shown(self.good),
            "bad": as_shown(self.bad),
            "arguments": list(shown(self.arguments)),
            "variables": dict(self.variables),
            "made": list(self.made),
        }

    @property
    def name(self) -> str:
        """Readable, with a hash of all of it: a directory's."""
        content = self.as_json()
        text = json.dumps(content, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        ends = [slug(content[end])[:_NAME].strip("-.") for end in ("good", "bad")]
        return "-".join(filter(None, (self.kind, *ends, digest)))


def pair_event(pair: Pair, positions: Sequence[Position]) -> dict[str, Any]:
    """A pair with all that its figures say, so that a search that is given it again does the same."""
    figures = [
        {**asdict(question), "left": left, "right": right, "uncertainty": list(_known(pair, question))}
        for question, (left, right) in pair.figures.items()
    ]
    return {
        "number": pair.number,
        **_named(pair.left, pair.right, positions),
        "seconds": pair.seconds,
        "record": pair.record,
        "notes": list(pair.notes),
        "figures": figures,
    }


def pair_of(event: Event) -> Pair:
    """The pair of an event. Raises KeyError, TypeError or ValueError for what is none."""
    figures, uncertainty = {}, {}
    for figure in event["figures"]:
        question = question_of(figure)
        left, right = figure["uncertainty"]
        figures[question] = float(figure["left"]), float(figure["right"])
        uncertainty[question] = float(left), float(right)
    return Pair(
        left=int(event["left"]["index"]),
        right=int(event["right"]["index"]),
        figures=figures,
        number=int(event["number"]),
        seconds=float(event["seconds"]),
        record=str(event["record"]),
        notes=tuple(map(str, event["notes"])),
        uncertainty=uncertainty,
    )


def question_of(content: Event) -> Question:
    """The question of a figure. Raises KeyError, TypeError or ValueError for what is none."""
    return Question(
        test=str(content["test"]),
        workload=str(content["workload"]),
        load=str(content["load"]),
        metric=str(content["metric"]),
        better="lower" if content["better"] == "lower" else "higher",
        tolerance=float(content["tolerance"]),
    )


def unusable_event(
    position: int, why: str, asked: tuple[int, int], seconds: float, positions: Sequence[Position]
) -> dict[str, Any]:
    """``asked`` are the positions that were to be compared."""
    return {
        "position": _place(position, positions),
        "why": why,
        **_named(*asked, positions),
        "seconds": seconds,
    }


def suspicion_event(
    question: Question, suspects: Sequence[int], confidence: float, positions: Sequence[Position]
) -> dict[str, Any]:
    return {
        "question": asdict(question),
        "suspects": [_place(index, positions) for index in suspects],
        "confidence": confidence,
    }


def found_event(finding: Finding, positions: Sequence[Position]) -> dict[str, Any]:
    """The whole finding."""
    return {
        "outcome": str(finding.outcome),
        "question": finding.question and asdict(finding.question),
        "ends": [
            {"question": asdict(question), **_change(change)} for question, change in finding.ends.items()
        ],
        "suspects": [_place(index, positions) for index in finding.suspects],
        "confidence": finding.confidence,
        "probabilities": [
            {**_place(index, positions), "probability": probability}
            for index, probability in finding.probabilities.items()
        ],
        "confirmation": finding.confirmation and _change(finding.confirmation),
        "oddities": [
            {**_place(odd.position, positions), "words": odd.words, **_change(odd.change)}
            for odd in finding.oddities
        ],
        "skipped": [{**_place(index, positions), "why": why} for index, why in finding.skipped.items()],
        "launches": finding.launches,
        "seconds": finding.seconds,
    }


def places(positions: Sequence[Position]) -> list[dict[str, Any]]:
    return [{"name": one.name, "change": one.change, "about": dict(one.about)} for one in positions]


def _named(left: int, right: int, positions: Sequence[Position]) -> dict[str, Any]:
    return {"left": _place(left, positions), "right": _place(right, positions)}


def _place(index: int, positions: Sequence[Position]) -> dict[str, Any]:
    return {"index": index, "name": positions[index].name}


def _known(pair: Pair, question: Question) -> tuple[float, float]:
    return pair.uncertainty.get(question, (0.0, 0.0))


def _change(change: Change) -> dict[str, Any]:
    figures = {"estimate": change.estimate, "low": change.low, "high": change.high}
    return {**asdict(change), **figures, "verdict": str(change.verdict)}
