"""The bisection itself: the ends, the search, the confirmation.

It is deterministic given what the oracle answers: with the answers of an interrupted bisection it comes to
the same questions, and goes on from there.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from pytest_llmperf.bisect.confirmation import MOST as MOST_CONFIRMING
from pytest_llmperf.bisect.confirmation import judge_confirmation, judge_pairs, spread_of
from pytest_llmperf.bisect.ends import PriorOf, documented, judge_ends
from pytest_llmperf.bisect.finding import Finding, Oddity, Outcome
from pytest_llmperf.bisect.measuring import EndUnusable, Listener, Measuring, Spent, Stage, Standing
from pytest_llmperf.bisect.pair import Oracle, Pair, Question
from pytest_llmperf.declare.bisection import CONFIDENCE, MOST_PAIRS
from pytest_llmperf.judge.change import Change, worst_change
from pytest_llmperf.judge.culprit import Culprit, Sight
from pytest_llmperf.judge.misfit import Misfit, beyond, misfit
from pytest_llmperf.judge.next_pair import Array, Suspects, credible, next_pair, suspects
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.usable import chances
from pytest_llmperf.judge.verdict import Verdict

LEAST_SHARE = 0.3
"""What was narrowed to a part that has less of the effect (its logarithm) than this is not worth a search: a
creep has no culprit."""
LOOKS_BEHIND, WIDE_GAP = 2, 1 / 8
"""So often one looks whether it has been bad ever since, where so much of the history was not looked at."""
PAIRS_BEHIND = 5
"""So often a position behind the culprit is measured that looks less bad than it should."""
FEWEST_OF_ENDS = 3
"""Pairs of the ends of what is searched."""
SUSPECTED = 0.8
"""From this probability on a suspect is measured against its predecessor."""


def bisect(
    last: int,
    oracle: Oracle,
    *,
    confidence: float = CONFIDENCE,
    most_pairs: int = MOST_PAIRS,
    budget_s: float | None = None,
    question: Question | None = None,
    prior_of: PriorOf = documented,
    listener: Listener | None = None,
) -> Finding:
    """Find which of the positions 1 to ``last`` made it worse than position 0.

    Ends when one is the culprit with a probability of ``confidence``, confirmed, or after ``most_pairs``
    pairs, or before one that would probably go beyond ``budget_s``, of what pairs and what could not be
    measured took. Follows
    ``question`` if there is one, and otherwise the one that the ends differ in most clearly.

    Raises :class:`ValueError` for a history without a position between the ends, a confidence that is no
    probability, or fewer pairs than one.
    """
    if last < 1:
        raise ValueError(f"a history needs a bad end after its good end, not at position {last}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence:g} is not between 0 and 1")
    if most_pairs < 1 or (budget_s is not None and not budget_s > 0):
        raise ValueError("a bisection takes one pair at least, and time for it")
    measuring = Measuring(last, oracle, most_pairs, budget_s, listener)
    ends: dict[Question, Change] = {}
    try:
        outcome, followed = _ends(measuring, question, prior_of, ends)
        if followed is None:
            assert outcome is not None
            return measuring.finding(outcome, question, ends)
        return _Search(measuring, followed, prior_of(followed), confidence, ends).run()
    except EndUnusable:
        return measuring.finding(Outcome.UNUSABLE, question, ends)


def _ends(
    measuring: Measuring, asked: Question | None, prior_of: PriorOf, changes: dict[Question, Change]
) -> tuple[Outcome | None, Question | None]:
    """How it ends, or the question to follow."""
    while True:
        try:
            measuring.compare(
                Standing("ends", 0, measuring.last, len(measuring.pairs), measuring.last, asked)
            )
        except Spent:
            return Outcome.ENDS_UNDECIDED, None
        ends = judge_ends(measuring.pairs, prior_of, asked=asked)
        changes.update(ends.changes)
        if ends.question is not None or ends.outcome is not None:
            return ends.outcome, ends.question


class _Search:
    """Which position did it, once the ends are known to differ in ``question``."""

    def __init__(
        self,
        measuring: Measuring,
        question: Question,
        prior: Prior,
        confidence: float,
        ends: Mapping[Question, Change],
    ) -> None:
        self._measuring, self._question, self._prior = measuring, question, prior
        self._confidence, self._ends = confidence, ends
        self._whole = ends[question].worse
        self._bad = measuring.last
        self._looked = 0
        self._oddities: list[tuple[int, str]] = []
        self._since: dict[tuple[int, int], int] = {}

    def run(self) -> Finding:
        while True:
            culprit = Culprit(0, self._bad, self._sights(), self._prior)
            if odd := misfit(0, self._bad, self._sights(), self._prior):
                self._narrow(odd)
                continue
            if self._is_too_little(culprit):
                return self._undecided(culprit, self._open())
            open_to = self._open()
            first = suspects(culprit, open_to)
            confirmation = self._confirmation(first, culprit)
            is_sure = first.probability >= self._confidence
            is_found = is_sure and confirmation is not None and confirmation.verdict is Verdict.REGRESSED
            standing = (self._behind if is_found else self._next)(first, culprit, open_to)
            try:
                if standing is None:
                    raise Spent
                self._measuring.compare(standing)
            except Spent:
                if is_found and confirmation is not None:
                    return self._named(first, culprit, confirmation)
                return self._undecided(culprit, open_to)

    def _next(self, first: Suspects, culprit: Culprit, open_to: Array) -> Standing | None:
        """A suspect is confirmed before anything else is asked, as long as that may help."""
        if len(self._measuring.between(0, self._bad)) < FEWEST_OF_ENDS:  # of what was narrowed
            return self._standing("search", 0, self._bad, 0.0, first, culprit)
        if self._may_be_confirmed(first, culprit):
            self._since.setdefault((first.before, first.last), len(self._measuring.pairs))
            return self._standing("confirmation", first.before, first.last, 0.0, first, culprit)
        if found := next_pair(culprit, open_to):
            return self._standing("search", found.left, found.right, found.gain, first, culprit)
        return None

    def _standing(
        self, stage: Stage, left: int, right: int, gain: float, first: Suspects, culprit: Culprit
    ) -> Standing:
        return Standing(
            stage=stage,
            left=left,
            right=right,
            pairs=len(self._measuring.pairs),
            bad=self._bad,
            question=self._question,
            gain=gain,
            suspects=first.positions,
            confidence=first.probability,
            effect=culprit.effect,
        )

    def _behind(self, first: Suspects, culprit: Culprit, open_to: Array) -> Standing | None:
        """Whether it has been bad ever since: again where it does not look so, then in the middle of the
        widest gap behind the culprit. None where that was looked at often enough."""
        if self._bad < self._measuring.last:
            return None
        behind: dict[int, list[float]] = {first.last: [], self._bad: []}
        for one in self._sights():
            if one.left == 0 and first.last < one.right < self._bad and open_to[one.right]:
                behind.setdefault(one.right, []).append(one.worse)
        for position, values in sorted(behind.items()):
            if 0 < len(values) < PAIRS_BEHIND and np.mean(values) < culprit.effect.mean / 2:
                return self._standing("behind", 0, position, 0.0, first, culprit)
        gaps = [(end - start, start, end) for start, end in itertools.pairwise(sorted(behind))]
        width, start, end = max(gaps, default=(0, 0, 0))
        inside = np.arange(start, end + 1)
        worth = np.minimum(inside - start, end - inside) * open_to[start : end + 1]
        best = int(np.argmax(np.round(worth, 9)))
        if self._looked >= LOOKS_BEHIND or width < WIDE_GAP * self._bad or worth[best] <= 0:
            return None
        self._looked += 1
        return self._standing("behind", 0, int(inside[best]), 0.0, first, culprit)

    def _open(self) -> Array:
        return chances(0, self._bad, self._measuring.usable, self._measuring.skipped)

    def _sights(self, but: Sequence[Pair] = ()) -> list[Sight]:
        """All pairs that answer the question, ``but`` for some."""
        question, left_out = self._question, set(map(id, but))
        return [
            Sight(pair.left, pair.right, question.worse(*pair.figures[question]))
            for pair in self._measuring.pairs
            if question in pair.figures and id(pair) not in left_out
        ]

    def _fresh(self, first: Suspects) -> list[Pair]:
        """What was measured of the suspect and its predecessor since it was first suspected."""
        since = self._since.get((first.before, first.last))
        if since is None:
            return []
        pairs = self._measuring.between(first.before, first.last, since)
        return [pair for pair in pairs if self._question in pair.figures]

    def _confirmation(self, first: Suspects, culprit: Culprit) -> Change | None:
        fresh = self._fresh(first)
        if not fresh:
            return None
        return judge_confirmation(fresh, self._question, culprit.effect.mean, self._known(fresh))

    def _known(self, judged: Sequence[Pair]) -> Prior:
        """How far launches are apart, by all pairs but those that are judged with it."""
        return spread_of(Culprit(0, self._bad, self._sights(but=judged), self._prior), self._prior)

    def _may_be_confirmed(self, first: Suspects, culprit: Culprit) -> bool:
        if first.probability < min(SUSPECTED, self._confidence):
            return False
        so_far = self._confirmation(first, culprit)
        is_refuted = so_far is not None and so_far.verdict is Verdict.PASS
        return len(self._fresh(first)) < MOST_CONFIRMING and not is_refuted

    def _narrow(self, odd: Misfit) -> None:
        """Search the earliest worsening for itself."""
        self._oddities += [(position, odd.words) for position in odd.positions]
        self._bad = odd.narrowed
        self._since.clear()

    def _is_too_little(self, culprit: Culprit) -> bool:
        """Whether what was narrowed to has hardly a part in the whole."""
        is_known = len(self._measuring.between(0, self._bad)) >= FEWEST_OF_ENDS
        is_narrowed = self._bad < self._measuring.last
        return is_narrowed and is_known and culprit.effect.mean < LEAST_SHARE * self._whole

    def _named(self, first: Suspects, culprit: Culprit, confirmation: Change) -> Finding:
        if self._bad == self._measuring.last:
            # Ahead of the culprit all is as good as the good end.
            direct = [Sight(0, one.right, one.worse) for one in self._sights() if one.left == first.before]
            own = [*(one for one in self._sights() if first.before != one.left), *direct]
            if odd := beyond(0, first.last, self._bad, own, self._prior):
                self._oddities += [(position, odd.words) for position in odd.positions]
        return self._finding(Outcome.CULPRIT, [first], culprit, confirmation)

    def _undecided(self, culprit: Culprit, open_to: Array) -> Finding:
        left = credible(culprit, open_to, self._confidence)
        return self._finding(Outcome.UNDECIDED, left, culprit, self._confirmation(left[0], culprit))

    def _finding(
        self, outcome: Outcome, left: list[Suspects], culprit: Culprit, confirmation: Change | None
    ) -> Finding:
        return dataclasses.replace(
            self._measuring.finding(outcome, self._question, self._ends),
            suspects=tuple(sorted(position for one in left for position in one.positions)),
            confidence=min(1.0, sum(one.probability for one in left)),
            probabilities=dict(enumerate(culprit.probabilities.tolist(), 1)),
            confirmation=confirmation,
            oddities=self._told(),
        )

    def _told(self) -> tuple[Oddity, ...]:
        """The oddities, each with what was measured there."""
        question = self._question
        part = worst_change(question.better, question.tolerance)
        words = dict(self._oddities)
        return tuple(
            Oddity(position, judge_pairs(pairs, question, self._known(pairs), part), words[position])
            for position in sorted(words)
            if (pairs := [one for one in self._measuring.between(0, position) if question in one.figures])
        )
