from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.launches import Launches, parse_launches
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "launches", "fixed"),
    [
        ("3", Launches(3, 3), True),
        ("3..8", Launches(3, 8), False),
        ("1..1", Launches(1, 1), True),
        (" 2 .. 4 ", Launches(2, 4), False),
    ],
)
def test_a_number_is_for_every_test_and_a_range_is_for_those_that_need_it(
    text: str, launches: Launches, fixed: bool
) -> None:
    assert parse_launches(text) == launches
    assert launches.are_fixed is fixed


@given(least=st.integers(1, 50), more=st.integers(0, 50))
def test_launches_are_read_as_they_are_shown(least: int, more: int) -> None:
    launches = Launches(least, least + more)
    assert parse_launches(str(launches)) == launches
    assert {launches.first(compares=compares) for compares in (True, False)} == {least}


def test_where_nobody_said_it_depends_on_whether_there_is_something_to_compare() -> None:
    unsaid = Launches()
    assert (unsaid.first(compares=True), unsaid.first(compares=False), unsaid.most) == (3, 1, 8)
    assert str(unsaid) == "3..8"
    assert not unsaid.are_fixed


@pytest.mark.parametrize("text", ["", "..", "3..", "..8", "0..8", "8..3", "3..8..9", "3-8", "1.5..3", "x"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(DeclarationError):
        parse_launches(text)
