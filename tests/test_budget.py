from __future__ import annotations

import time

import pytest

from pytest_llmperf.budget import Budget


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [5000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_another_round_is_afforded_that_would_end_in_time(clock: list[float]) -> None:
    budget = Budget(60)
    afforded = []
    for round_s in (20, 20, 20):
        budget.begin_round()
        clock[0] += round_s
        afforded.append(budget.affords_another())
    assert afforded == [True, True, False]


def test_what_lies_between_rounds_counts_and_the_last_round_says_how_long_one_takes(
    clock: list[float],
) -> None:
    budget = Budget(60)
    budget.begin_round()
    clock[0] += 30  # as long as an installation takes
    assert budget.affords_another()
    budget.begin_round()
    clock[0] += 10
    assert budget.affords_another()
    clock[0] += 6
    assert not budget.affords_another()


def test_without_a_limit_there_is_always_another(clock: list[float]) -> None:
    budget = Budget(None)
    budget.begin_round()
    clock[0] += 1e9
    assert budget.affords_another()
