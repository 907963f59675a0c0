"""What a bisection came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pytest_llmperf.bisect.pair import Question
from pytest_llmperf.judge.change import Change


class Outcome(StrEnum):
    """``culprit``: found and confirmed. ``undecided``: the budget ended with several suspects left, or no
    suspect was confirmed. Of the end points: there is ``no difference`` between them, they are ``ends
    undecided`` (neither told apart nor equal), the bad one is ``better``, or one is ``unusable``, that is,
    cannot be measured."""

    CULPRIT = "culprit"
    UNDECIDED = "undecided"
    NO_DIFFERENCE = "no difference"
    ENDS_UNDECIDED = "ends undecided"
    BETTER = "better"
    UNUSABLE = "unusable"


@dataclass(frozen=True)
class Oddity:
    """A position that does not fit one change for good: ``change`` is from the good end to it, and ``words``
    say what is odd: ``good again``, ``in between``."""

    position: int
    change: Change
    words: str


@dataclass(frozen=True)
class Finding:
    """``question`` is the metric that was followed, ``ends`` what became of all metrics between the ends.

    ``suspects`` are the positions, in their order, one of which brought it: one, or several where what is
    between them cannot be measured, or the budget ended. ``confidence`` is the probability that it is one
    of them, ``probabilities`` that of every position. ``confirmation`` compares the last suspect with the
    last usable position ahead of the first, in fresh launches. ``oddities`` tell of a history that is not
    one change for good.
    """

    outcome: Outcome
    question: Question | None = None
    ends: Mapping[Question, Change] = field(default_factory=dict)
    suspects: Sequence[int] = ()
    confidence: float = 0.0
    probabilities: Mapping[int, float] = field(default_factory=dict)
    confirmation: Change | None = None
    oddities: Sequence[Oddity] = ()
    skipped: Mapping[int, str] = field(default_factory=dict)
    launches: int = 0
    seconds: float = 0.0
