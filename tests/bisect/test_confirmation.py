"""Whether a suspect did it, judged with what all other pairs tell of the spread."""

from __future__ import annotations

import math

import pytest

from pytest_llmperf.bisect.confirmation import judge_confirmation, spread_of
from pytest_llmperf.bisect.ends import documented
from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.bisect.pair import Pair
from pytest_llmperf.bisect.search import bisect
from pytest_llmperf.judge.culprit import Culprit, Sight
from pytest_llmperf.judge.prior import MOST_DEGREES, Prior
from tests.bisect.test_search import TPOT, Simulated, step


def belief(pairs: list[Pair]) -> Culprit:
    sights = [Sight(one.left, one.right, TPOT.worse(*one.figures[TPOT])) for one in pairs]
    return Culprit(0, 1, sights, documented(TPOT))


@pytest.mark.parametrize("seed", range(3))
def test_the_pairs_of_a_confirmation_are_counted_once(seed: int) -> None:
    oracle = Simulated(step(1), spread=0.02, seed=seed)
    found = bisect(1, oracle)
    assert found.outcome is Outcome.CULPRIT
    assert found.confirmation is not None
    fresh = found.confirmation.candidate_launches
    others, own = oracle.pairs[:-fresh], oracle.pairs[-fresh:]
    assert min(len(others), len(own)) >= 2
    effect, prior = belief(oracle.pairs).effect.mean, documented(TPOT)
    assert found.confirmation == judge_confirmation(own, TPOT, effect, spread_of(belief(others), prior))
    twice = judge_confirmation(own, TPOT, effect, spread_of(belief(oracle.pairs), prior))
    assert twice is not None
    assert found.confirmation.degrees < twice.degrees


@pytest.mark.parametrize(("count", "degrees"), [(0, 4.0), (5, 9.0), (40, MOST_DEGREES)])
def test_a_spread_is_worth_as_much_as_the_pairs_that_tell_of_it(count: int, degrees: float) -> None:
    culprit = Culprit(0, 3, [Sight(0, 3, 0.1 + 0.03 * (-1) ** n) for n in range(count)], Prior(0.02))
    known = spread_of(culprit, Prior(0.02))
    assert known.degrees == degrees
    assert known.spread == pytest.approx(0.02, rel=0.5)


def test_too_few_pairs_are_no_confirmation() -> None:
    pair = Pair(0, 1, {TPOT: (40.0, 44.0)})
    assert judge_confirmation([pair], TPOT, math.log(1.1), Prior(0.02)) is None
    judged = judge_confirmation([pair, pair], TPOT, math.log(1.1), Prior(0.02))
    assert judged is not None
    assert judged.estimate == pytest.approx(0.1)
