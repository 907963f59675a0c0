"""What a change may be called at which look, and how the error of a session is spent on them."""

from __future__ import annotations

import pytest

from pytest_llmperf.judge.boundary import levels
from pytest_llmperf.judge.change import (
    SESSION_ERROR,
    Change,
    judge_changes,
)
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict
from tests.judge.comparisons import (
    comparison,
    judged,
    steady,
)


@pytest.mark.parametrize(("least", "most"), [(1, 2), (1, 8), (3, 4), (3, 8), (7, 8)])
@pytest.mark.parametrize("factor", [1.1, 2.0, 1000.0])
def test_a_suspect_is_launched_again_before_it_has_regressed(least: int, most: int, factor: float) -> None:
    def at(launches: int) -> Change:
        return judged([100.0] * launches, [100.0 * factor] * launches, least=least, most=most)

    first = at(least)
    assert first.level == 0
    assert first.verdict == Verdict.INCONCLUSIVE
    assert first.wants_launch
    if factor > 100:
        assert at(least + 1).verdict == Verdict.REGRESSED


def test_not_even_a_p_value_of_zero_is_an_alarm_at_the_first_look() -> None:
    change = judged(steady(1, 60), steady(1e6, 60), prior=Prior(0.05, 300), least=60, most=61)
    assert change.p_value == 0
    assert change.verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("launches", [1, 3, 8])
def test_who_looks_once_spends_it_all_at_once(launches: int) -> None:
    change = judged([1.0] * launches, [1.0] * launches, least=launches, most=launches)
    assert change.level == change.final_level == pytest.approx(SESSION_ERROR)


def test_fewer_launches_than_the_fewest_are_no_look() -> None:
    assert judged([1.0], [1000.0], least=3, most=3).level == 0


def test_each_look_has_the_level_of_its_share_of_the_launches() -> None:
    found = [judged([1.0] * n, [1.0] * n, least=3, most=8).level for n in range(3, 9)]
    assert found == pytest.approx([0, *levels(SESSION_ERROR, [n / 8 for n in range(4, 9)])])


def test_launches_beyond_the_most_are_judged_as_the_last() -> None:
    change = judged([1.0] * 10, [1.0] * 10)
    assert change.level == change.final_level


def test_a_stored_base_does_not_grow_with_the_looks() -> None:
    """The information of 3 against n launches is 3·n/(3 + n)."""
    found = judge_changes([comparison([1.0] * 3, [1.0] * 5, is_paired=False)])[0].level
    times = [3 * n / (3 + n) / (3 * 8 / 11) for n in range(4, 9)]
    assert found == pytest.approx(levels(SESSION_ERROR, times)[1])


@pytest.mark.parametrize(
    ("count", "family", "shared_by"), [(1, None, 1), (4, None, 4), (4, 10, 10), (4, 2, 4)]
)
def test_the_error_of_the_session_is_shared_by_all_its_comparisons(
    count: int, family: int | None, shared_by: int
) -> None:
    one = comparison([1.0] * 3, [1.0] * 3, least=3, most=3)
    found = [change.level for change in judge_changes([one] * count, family)]
    assert found == pytest.approx([SESSION_ERROR / shared_by] * count)
