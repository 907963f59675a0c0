from __future__ import annotations

from pytest_llmperf.turn import sides


def test_what_gets_slower_over_time_does_so_for_both_sides() -> None:
    order = [side for number in range(4) for side in sides(number, has_base=True)]
    assert "".join(side[0] for side in order) == "bccb" * 2


def test_without_a_base_there_is_the_candidate_alone() -> None:
    assert [sides(number, has_base=False) for number in range(2)] == [("candidate",)] * 2
