"""Whether a suspect did it: against its predecessor, in fresh launches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_llmperf.bisect.pair import Pair, Question, sampling
from pytest_llmperf.judge.change import Change, Comparison, judge_changes
from pytest_llmperf.judge.culprit import Culprit
from pytest_llmperf.judge.prior import MOST_DEGREES, Prior

LEAST, MOST = 2, 8
"""Pairs of a confirmation."""
LOOKS = MOST - LEAST + 1
"""Each look at a confirmation has its share of the error of a session."""
SHARE = 1 / 3
"""A culprit brings more than this share of the effect (its logarithm), surely more than none of it."""


def judge_confirmation(
    pairs: Sequence[Pair], question: Question, effect: float, known: Prior
) -> Change | None:
    """Judge the pairs of a predecessor and its suspect; None while they are too few.

    ``regressed``: the suspect did it. ``pass``: it did not. ``effect`` is the whole (its logarithm), and
    ``known`` how far launches are apart by all other pairs (:func:`spread_of`).
    """
    if len(pairs) < LEAST:
        return None
    return judge_pairs(pairs, question, known, SHARE * effect, family=LOOKS)


def spread_of(others: Culprit, prior: Prior) -> Prior:
    """What the pairs of ``others`` tell of the spread between launches. Those that are judged with it are
    not to be among them: the judge counts them itself."""
    return Prior(others.spread, min(prior.degrees + others.pairs, MOST_DEGREES))


def judge_pairs(
    pairs: Sequence[Pair], question: Question, prior: Prior, part: float, family: int = 1
) -> Change:
    """One look at these pairs, with a tolerance of ``part`` as a logarithm."""
    comparison = Comparison(
        group=question.metric,
        base=[pair.figures[question][0] for pair in pairs],
        candidate=[pair.figures[question][1] for pair in pairs],
        better=question.better,
        tolerance=math.expm1(part) if question.better == "lower" else -math.expm1(-part),
        prior=prior,
        sampling=sampling(pairs, question),
        least=len(pairs),
        most=len(pairs),
        is_gapless=False,
    )
    (change,) = judge_changes([comparison], family)
    return change
