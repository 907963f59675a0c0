"""The pairs of a bisection: which were measured, which could not be, and whether there may be another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.pair import Oracle, Pair, Question
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.judge.change import Change
from pytest_llmperf.judge.culprit import Estimate

Stage = Literal["ends", "search", "confirmation", "behind"]


@dataclass(frozen=True)
class Standing:
    """Where a bisection stands before its next pair, ``left`` and ``right``, is measured.

    ``pairs`` have been. ``gain`` is what the next is expected to teach, in bits (search only). ``suspects``
    are the most likely positions, ``confidence`` is the probability that it is one of them, and ``bad`` the
    last position that is still searched.
    """

    stage: Stage
    left: int
    right: int
    pairs: int
    bad: int
    question: Question | None = None
    gain: float = 0.0
    suspects: Sequence[int] = ()
    confidence: float = 0.0
    effect: Estimate | None = None


Listener = Callable[[Standing], None]


class Spent(Exception):
    """Another pair would go beyond what the bisection may take."""


class EndUnusable(Exception):
    """One of the ends cannot be measured."""


class Measuring:
    """All pairs so far, and where one could measure."""

    def __init__(
        self, last: int, oracle: Oracle, most: int, budget_s: float | None, listener: Listener | None
    ) -> None:
        self.last = last
        self.pairs: list[Pair] = []
        self.skipped: dict[int, str] = {}
        self.usable: set[int] = set()
        self._in_vain = 0.0
        self._oracle, self._most, self._budget_s, self._listener = oracle, most, budget_s, listener

    @property
    def seconds(self) -> float:
        """Of all pairs, and of what could not be measured."""
        return self._in_vain + self._of_pairs

    @property
    def _of_pairs(self) -> float:
        return sum(pair.seconds for pair in self.pairs)

    def compare(self, standing: Standing) -> None:
        """Measure the pair of ``standing``, or learn that one of its positions cannot be measured."""
        count = len(self.pairs)
        if count >= self._most:
            raise Spent
        another = self._of_pairs / max(count, 1)
        if self._budget_s is not None and count and self.seconds + another > self._budget_s:
            raise Spent
        if self._listener:
            self._listener(standing)
        try:
            pair = self._oracle.compare(standing.left, standing.right)
        except Unusable as unusable:
            if unusable.position not in (standing.left, standing.right):
                raise ValueError(
                    f"position {unusable.position} is unusable, but was not asked for"
                ) from unusable
            self.skipped[unusable.position] = unusable.why
            self._in_vain += unusable.seconds
            self.usable.discard(unusable.position)
            if unusable.position in (0, self.last):
                raise EndUnusable from unusable
            if unusable.position == standing.bad:
                raise Spent from unusable
            return
        self.pairs.append(pair)
        self.usable |= {standing.left, standing.right}

    def between(self, left: int, right: int, since: int = 0) -> list[Pair]:
        """The pairs of these two positions, but for the first ``since`` of all pairs."""
        return [pair for pair in self.pairs[since:] if (pair.left, pair.right) == (left, right)]

    def finding(
        self, outcome: Outcome, question: Question | None, ends: Mapping[Question, Change]
    ) -> Finding:
        return Finding(
            outcome=outcome,
            question=question,
            ends=ends,
            skipped=dict(sorted(self.skipped.items())),
            launches=2 * len(self.pairs),
            seconds=self.seconds,
        )
