"""Whether the bad end is worse than the good one, and in what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.bisect.pair import Pair, Question, sampling
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.judge.change import Change, Comparison, judge_changes
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict

LEAST, MOST = 3, 8
PriorOf = Callable[[Question], Prior]


def documented(question: Question) -> Prior:
    """What is known of the spread between launches where nobody measured it."""
    return Prior(parse_metric(question.metric).metric.spread)


@dataclass(frozen=True)
class Ends:
    """All questions, as the pairs of the two ends answer them so far.

    ``question`` is the one that is worse, most clearly, and worth a search; ``outcome`` is how it ends
    without one. Neither is there as long as another pair may decide it.
    """

    changes: Mapping[Question, Change]
    outcome: Outcome | None = None
    question: Question | None = None


def judge_ends(
    pairs: Sequence[Pair],
    prior_of: PriorOf = documented,
    *,
    asked: Question | None = None,
    least: int = LEAST,
    most: int = MOST,
) -> Ends:
    """Judge the pairs of position 0 and the last one, in their order, to be called after each of them.

    All questions share the promise of one session (:mod:`pytest_llmperf.judge.change`); with ``asked`` there
    is that one only. The questions are those that every pair answers. Raises :class:`ValueError` where there
    is none.
    """
    questions = [asked] if asked else _common(pairs)
    if not questions or not all(one in pair.figures for one in questions for pair in pairs):
        raise ValueError("the pairs of the end points have no metric in common")
    comparisons = [
        Comparison(
            group=one.metric,
            base=[pair.figures[one][0] for pair in pairs],
            candidate=[pair.figures[one][1] for pair in pairs],
            better=one.better,
            tolerance=one.tolerance,
            prior=prior_of(one),
            sampling=sampling(pairs, one),
            least=least,
            most=most,
        )
        for one in questions
    ]
    changes = dict(zip(questions, judge_changes(comparisons), strict=True))
    worse = [one for one in questions if changes[one].verdict is Verdict.REGRESSED]
    if worse:
        return Ends(changes, question=max(worse, key=lambda one: changes[one].worse / changes[one].error))
    return Ends(changes, _outcome(list(changes.values()), len(pairs), least, most))


def _outcome(changes: Sequence[Change], pairs: int, least: int, most: int) -> Outcome | None:
    """Where nothing is worse beyond doubt."""
    verdicts = {change.verdict for change in changes}
    if pairs >= min(least, most) and Verdict.INCONCLUSIVE not in verdicts:
        return Outcome.BETTER if Verdict.IMPROVED in verdicts else Outcome.NO_DIFFERENCE
    return Outcome.ENDS_UNDECIDED if pairs >= most else None


def _common(pairs: Sequence[Pair]) -> list[Question]:
    return [one for one in pairs[0].figures if all(one in pair.figures for pair in pairs)] if pairs else []
