"""What is asked of the measurements, and what they answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_llmperf.judge.change import Direction


@dataclass(frozen=True, order=True)
class Question:
    """One metric of one test at one load point. ``tolerance`` 0.05: 5 % worse is borne."""

    test: str
    workload: str
    load: str
    metric: str
    better: Direction
    tolerance: float

    def worse(self, left: float, right: float) -> float:
        """The logarithm of the change from one value to another, counted upwards where it is for the
        worse."""
        return (1 if self.better == "lower" else -1) * math.log(right / left)


@dataclass(frozen=True)
class Pair:
    """One launch at each of two positions, side by side: ``figures`` has the two values of every question.

    ``number`` counts the pairs of a bisection from 1, ``seconds`` is how long it took, builds included,
    ``record`` the file that has all of it. ``uncertainty`` is what the requests of a launch leave unknown of
    its value, as the standard deviation of the logarithm: 0 for what is not over requests.
    """

    left: int
    right: int
    figures: Mapping[Question, tuple[float, float]]
    number: int = 0
    seconds: float = 0.0
    record: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)
    uncertainty: Mapping[Question, tuple[float, float]] = field(default_factory=dict)


def sampling(pairs: Sequence[Pair], question: Question) -> float:
    """What a launch's own requests leave unknown, as the standard deviation of its logarithm: the root of the
    mean square over all launches that know it."""
    known = [one for pair in pairs for one in pair.uncertainty.get(question, ())]
    return math.hypot(*known) / math.sqrt(len(known)) if known else 0.0


def is_swapped(measured: Mapping[tuple[int, int], int], left: int, right: int) -> bool:
    """Whether ``right`` is launched first. ``measured``: how many pairs there are of each two positions, in
    the order in which they were first compared.

    It alternates from pair to pair of the same positions, and in the first pairs of different ones.
    """
    known = list(measured)
    first = known.index((left, right)) if (left, right) in measured else len(known)
    return (first + measured.get((left, right), 0)) % 2 == 1


class Oracle(Protocol):
    """Measures; what it says is noisy."""

    def compare(self, left: int, right: int) -> Pair:
        """Launch both, one after the other, in an order that changes from call to call.

        Raises :class:`~pytest_llmperf.bisect.position.Unusable` for the one that cannot be measured.
        """
        ...
