from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.report.chart import binned, chart, column, sparkline

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80)


@given(values=values, width=st.integers(1, 30))
def test_bins_are_means_in_order_that_lose_nothing(values: list[float], width: int) -> None:
    few = binned(values, width)
    assert len(few) == min(len(values), width)
    assert min(values) - 1e-6 <= min(few) <= max(few) <= max(values) + 1e-6
    if len(values) <= width:
        assert few == values


def test_a_sparkline_goes_from_low_to_high() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 0, 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([-9, 99], 0, 8) == "▁█"
    assert sparkline([3, 3], 3, 3) == "▅▅"


@given(values=values, width=st.integers(2, 70), height=st.integers(1, 9))
def test_a_chart_has_its_size_and_a_dot_for_every_value(values: list[float], width: int, height: int) -> None:
    low, high = min(values), max(values)
    rows = chart(values, [(0, len(values) - 1, low, high)], low, high, width, height)
    assert len(rows) == height
    assert max(map(len, rows)) <= width
    braille = {x for row in rows for x, cell in enumerate(row) if 0x2800 < ord(cell) <= 0x28FF}
    assert braille == {column(index, len(values), width) for index in range(len(values))}


def test_what_is_far_out_is_an_arrow() -> None:
    rows = chart([1.0, 9.0, 1.0, -9.0], [], 0.0, 2.0, 8, 4)
    assert "↑" in rows[0]
    assert "↓" in rows[-1]


def test_a_level_is_a_line_where_no_dot_is() -> None:
    rows = chart([0.0, 1.0, 1.0, 1.0], [(0, 3, 0.1, 0.1)], 0.0, 1.0, 10, 2)
    assert rows[-1][1:] == "─" * 9
    assert math.isclose(len(rows[0]), 10)


@pytest.mark.parametrize("height", [1, 4])
def test_a_higher_value_is_never_lower_in_the_chart(height: int) -> None:
    rows = chart([0.0, 0.5, 1.0], [], 0.0, 1.0, 6, height)
    where = [next(y for y, row in enumerate(rows) if row[x : x + 1].strip("⠀ ")) for x in (0, 3, 5)]
    assert where == sorted(where, reverse=True)
