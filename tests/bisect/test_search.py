from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.measuring import Standing
from pytest_llmperf.bisect.pair import Pair, Question
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.bisect.search import bisect
from pytest_llmperf.judge.verdict import Verdict

TPOT = Question("t.py::test_chat", "chat", "4/s", "tpot_p50_ms", "lower", 0.05)
TOKENS = Question("t.py::test_chat", "chat", "4/s", "output_tokens_per_s", "higher", 0.05)
Level = Callable[[int], float]


class Simulated:
    """``level`` is the value of each position, ``spread`` that of launches' logarithms."""

    def __init__(
        self,
        level: Level | Mapping[Question, Level],
        spread: float = 0.0,
        seed: int = 0,
        unusable: Collection[int] = (),
        seconds: float = 10.0,
        in_vain: float = 0.0,
    ) -> None:
        self._levels = level if isinstance(level, Mapping) else {TPOT: level}
        self._spread, self._unusable, self._seconds = spread, unusable, seconds
        self._in_vain = in_vain
        self._rng = np.random.default_rng(seed)
        self.pairs: list[Pair] = []
        self.failed: list[int] = []

    def compare(self, left: int, right: int) -> Pair:
        for position in (left, right):
            if position in self._unusable:
                self.failed.append(position)
                raise Unusable(position, f"error at {position}", self._in_vain)
        figures = {
            question: (self._launch(level(left)), self._launch(level(right)))
            for question, level in self._levels.items()
        }
        self.pairs.append(Pair(left, right, figures, len(self.pairs) + 1, self._seconds))
        return self.pairs[-1]

    def _launch(self, level: float) -> float:
        return level * math.exp(self._spread * float(self._rng.standard_normal()))


def step(culprit: int, effect: float = 0.1) -> Level:
    return lambda position: 40 * (1 + effect * (position >= culprit))


def listened(last: int, oracle: Simulated, **options: float) -> tuple[Finding, list[Standing]]:
    heard: list[Standing] = []
    return bisect(last, oracle, listener=heard.append, **options), heard  # type: ignore[arg-type]


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_without_noise_every_culprit_is_found_in_about_log2_steps(data: st.DataObject) -> None:
    last = data.draw(st.integers(1, 400))
    culprit = data.draw(st.integers(1, last))
    found, heard = listened(last, Simulated(step(culprit)))
    assert found.outcome is Outcome.CULPRIT
    assert found.suspects == (culprit,)
    assert found.confidence >= 0.95
    assert found.confirmation is not None
    assert found.confirmation.verdict is Verdict.REGRESSED
    assert found.confirmation.estimate == pytest.approx(0.1, abs=0.001)
    assert sum(one.stage == "search" for one in heard) <= math.ceil(math.log2(last)) + 3
    assert found.launches == 2 * len(heard)


def test_the_probabilities_are_of_all_positions() -> None:
    found = bisect(20, Simulated(step(7)))
    assert list(found.probabilities) == list(range(1, 21))
    assert sum(found.probabilities.values()) == pytest.approx(1.0)
    assert max(found.probabilities, key=lambda one: found.probabilities[one]) == 7


def test_what_should_be_high_is_searched_as_well() -> None:
    found = bisect(30, Simulated({TOKENS: lambda position: 1000.0 - 150 * (position >= 11)}, spread=0.01))
    assert (found.outcome, found.suspects) == (Outcome.CULPRIT, (11,))
    assert found.question == TOKENS


def test_the_question_that_is_worse_is_followed_and_the_other_is_told_too() -> None:
    oracle = Simulated({TOKENS: lambda _: 1000.0, TPOT: step(3)}, spread=0.01)
    found = bisect(9, oracle)
    assert found.question == TPOT
    assert found.suspects == (3,)
    assert set(found.ends) == {TPOT, TOKENS}


def test_a_question_can_be_asked_for() -> None:
    levels = {TOKENS: lambda position: 1000.0 / (1 + 0.5 * (position >= 8)), TPOT: step(3)}
    assert bisect(9, Simulated(levels), question=TPOT).suspects == (3,)
    assert bisect(9, Simulated(levels), question=TOKENS).suspects == (8,)


@pytest.mark.parametrize(
    ("effect", "outcome"), [(0.0, Outcome.NO_DIFFERENCE), (-0.2, Outcome.BETTER), (0.2, Outcome.CULPRIT)]
)
def test_without_a_worsening_there_is_no_search(effect: float, outcome: Outcome) -> None:
    found, heard = listened(16, Simulated(step(5, effect), spread=0.005))
    assert found.outcome is outcome
    assert ({one.stage for one in heard} == {"ends"}) == (outcome is not Outcome.CULPRIT)


def test_the_same_answers_lead_to_the_same_questions() -> None:
    """As when what was kept of an interrupted bisection is read again."""
    first, second = (Simulated(step(23), spread=0.03, seed=5, unusable={12, 13}) for _ in range(2))
    assert bisect(64, first) == bisect(64, second)
    assert first.pairs == second.pairs


def test_it_tells_where_it_stands() -> None:
    found, heard = listened(64, Simulated(step(23), spread=0.02, seed=1))
    stages = [one.stage for one in heard]
    assert stages == sorted(stages, key=["ends", "search", "confirmation", "behind"].index)
    assert [one.pairs for one in heard] == list(range(len(heard)))
    assert all(one.gain > 0 for one in heard if one.stage == "search")
    assert heard[-1].suspects == range(23, 24)
    assert heard[-1].effect is not None
    assert heard[-1].effect.low < math.log(1.1) < heard[-1].effect.high
    assert found.outcome is Outcome.CULPRIT


def test_a_stretch_that_cannot_be_measured_stays_together() -> None:
    oracle = Simulated(step(23), unusable=range(20, 30))
    found = bisect(64, oracle)
    assert found.outcome is Outcome.CULPRIT
    assert found.suspects == tuple(range(20, 31))
    assert set(found.skipped) == set(oracle.failed)
    assert found.skipped[oracle.failed[0]] == f"error at {oracle.failed[0]}"
    assert [(one.left, one.right) for one in oracle.pairs if one.left] == [(19, 30)] * 2
    assert len(oracle.failed) == len(set(oracle.failed)) <= 8


def test_a_stretch_beside_the_culprit_costs_a_few_builds_only() -> None:
    oracle = Simulated(step(50), unusable=range(25, 41))
    found = bisect(64, oracle)
    assert found.suspects == (50,)
    assert len(oracle.failed) <= 3


def test_where_nothing_between_the_ends_can_be_measured_all_are_suspects() -> None:
    found = bisect(5, Simulated(step(2), unusable=range(1, 5)))
    assert (found.outcome, found.suspects) == (Outcome.CULPRIT, (1, 2, 3, 4, 5))


@pytest.mark.parametrize("end", [0, 8])
def test_an_end_that_cannot_be_measured_ends_it(end: int) -> None:
    found = bisect(8, Simulated(step(2), unusable={end}))
    assert (found.outcome, found.skipped) == (Outcome.UNUSABLE, {end: f"error at {end}"})


def test_a_foreign_position_is_an_error_of_the_oracle() -> None:
    class Odd:
        def compare(self, left: int, right: int) -> Pair:
            raise Unusable(99, "what?")

    with pytest.raises(ValueError, match="position 99 is unusable, but was not asked for"):
        bisect(8, Odd())


@given(st.integers(1, 12), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_no_more_pairs_than_it_may_take(most: int, seed: int) -> None:
    oracle = Simulated(step(23), spread=0.05, seed=seed)
    found = bisect(64, oracle, most_pairs=most)
    assert len(oracle.pairs) <= most
    assert found.outcome is not Outcome.CULPRIT or found.confidence >= 0.95


@given(st.floats(1, 400))
@settings(max_examples=20, deadline=None)
def test_no_more_time_than_it_may_take(budget_s: float) -> None:
    oracle = Simulated(step(23), spread=0.05, seconds=20.0)
    found = bisect(64, oracle, budget_s=budget_s)
    assert found.seconds == 20.0 * len(oracle.pairs) <= max(budget_s, 20.0)


@pytest.mark.parametrize("budget_s", [100.0, 300.0, 1000.0])
def test_what_could_not_be_measured_took_time_as_well(budget_s: float) -> None:
    stretch = range(14, 30)
    oracles = [Simulated(step(23), 0.02, 0, stretch, 10.0, in_vain) for in_vain in (0.0, 40.0)]
    free, costly = (bisect(64, oracle, budget_s=budget_s) for oracle in oracles)
    for found, oracle, in_vain in zip((free, costly), oracles, (0.0, 40.0), strict=True):
        assert found.seconds == 10.0 * len(oracle.pairs) + in_vain * len(oracle.failed)
    # What fails is known only afterwards: one attempt at most goes beyond it.
    assert costly.seconds <= budget_s + 40.0
    assert free.seconds <= budget_s
    assert costly.launches <= free.launches


def test_when_the_budget_ends_the_suspects_are_those_that_are_left() -> None:
    found = bisect(64, Simulated(step(23), spread=0.02, seed=2), most_pairs=8)
    assert found.outcome is Outcome.UNDECIDED
    assert 23 in found.suspects
    assert 1 < len(found.suspects) < 40
    assert found.confidence >= 0.95
    assert list(found.suspects) == sorted(found.suspects)


def test_two_culprits_are_noticed_and_the_first_is_named() -> None:
    def level(position: int) -> float:
        return 40 * (1 + 0.1 * (position >= 20) + 0.1 * (position >= 45))

    found = bisect(64, Simulated(level, spread=0.01, seed=1))
    assert found.outcome is Outcome.CULPRIT
    assert found.suspects == (20,)
    assert found.confirmation is not None
    assert found.confirmation.high < found.ends[TPOT].estimate
    assert {one.words for one in found.oddities} == {"in between"}
    assert all(20 <= one.position < 45 and 0.05 < one.change.estimate < 0.15 for one in found.oddities)


def test_a_creep_names_no_culprit() -> None:
    for seed in range(6):
        found = bisect(64, Simulated(lambda position: 40 + position / 10, spread=0.01, seed=seed))
        assert found.outcome is Outcome.UNDECIDED
        assert found.oddities


def test_what_was_mended_and_broken_again_is_noticed_behind_the_culprit() -> None:
    def level(position: int) -> float:
        return 40 * (1 + 0.1 * (10 <= position < 40 or position >= 62))

    found, heard = listened(64, Simulated(level, spread=0.01, seed=1))
    assert (found.outcome, found.suspects) == (Outcome.CULPRIT, (10,))
    assert {one.words for one in found.oddities} == {"good again"}
    assert all(40 <= one.position < 62 for one in found.oddities)
    assert any(one.stage == "behind" and 40 <= one.right < 62 for one in heard)


def test_a_culprit_stays_one_where_there_is_no_time_to_look_behind_it() -> None:
    _, heard = listened(64, Simulated(step(5), spread=0.005))
    assert heard[-1].stage == "behind"
    needed = next(one.pairs for one in heard if one.stage == "behind")
    found = bisect(64, Simulated(step(5), spread=0.005), most_pairs=needed)
    assert (found.outcome, found.suspects) == (Outcome.CULPRIT, (5,))


def test_a_suspect_that_is_refuted_leads_on() -> None:
    """The first launches of position 16 look bad, so that 16 or an earlier one is suspected first."""

    class Unlucky(Simulated):
        def compare(self, left: int, right: int) -> Pair:
            pair = super().compare(left, right)
            if right == 16 and sum(one.right == 16 for one in self.pairs) <= 2 and left == 0:
                pair = Pair(left, right, {TPOT: (40.0, 44.0)}, pair.number, pair.seconds)
            return pair

    found, heard = listened(32, Unlucky(step(17), spread=0.01, seed=4))
    assert found.suspects == (17,)
    assert any(one.suspects and one.suspects[0] != 17 and one.confidence > 0.3 for one in heard)


@pytest.mark.parametrize(
    ("last", "options", "says"),
    [
        (0, {}, "needs a bad end"),
        (5, {"confidence": 1.0}, "not between 0 and 1"),
        (5, {"most_pairs": 0}, "one pair at least"),
        (5, {"budget_s": 0.0}, "time for it"),
    ],
)
def test_what_makes_no_sense_is_refused(last: int, options: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        listened(last, Simulated(step(1)), **options)


def test_ten_per_cent_among_64_are_found_with_launches_that_vary_by_three() -> None:
    """Counted over 60 fixed seeds; the launches beside those of the ends are the median's."""
    right = wrong = 0
    launches = []
    for seed in range(60):
        culprit = int(np.random.default_rng(seed).integers(1, 65))
        found, heard = listened(64, Simulated(step(culprit), spread=0.03, seed=1000 + seed))
        is_named = found.outcome is Outcome.CULPRIT
        right += is_named and found.suspects == (culprit,)
        wrong += is_named and found.suspects != (culprit,)
        launches.append(2 * sum(one.stage != "ends" for one in heard))
    assert right >= 57
    assert wrong <= 1
    assert np.median(launches) <= 36


def test_where_nothing_changed_nobody_is_blamed() -> None:
    """Counted over 150 fixed seeds, two metrics, launches that vary by 3 %."""
    levels = {TPOT: step(1, 0.0), TOKENS: step(1, 0.0)}
    blamed = sum(
        bisect(64, Simulated(levels, spread=0.03, seed=seed)).outcome is Outcome.CULPRIT
        for seed in range(150)
    )
    assert blamed <= 1
