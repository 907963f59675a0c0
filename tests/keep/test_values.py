from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.keep.values import middle, read_launches, read_values, rounded_values

LAUNCHES = st.lists(st.floats(0, 1e9), min_size=1, max_size=4)


@given(points=st.dictionaries(st.text(), st.dictionaries(st.text(), LAUNCHES, max_size=3), max_size=3))
def test_values_come_back_with_six_digits(points: dict[str, dict[str, list[float]]]) -> None:
    read = read_values(rounded_values(points))
    assert {point: set(metrics) for point, metrics in read.items()} == {
        point: set(metrics) for point, metrics in points.items()
    }
    for point, metrics in points.items():
        for metric, values in metrics.items():
            assert read[point][metric] == pytest.approx(values, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "expected"), [([3.0], 3.0), ([2.0, 8.0], 4.0), ([0.0, 8.0], 4.0), ([0.0], 0.0)]
)
def test_the_middle_is_geometric_unless_a_value_is_zero(values: list[float], expected: float) -> None:
    assert middle(values) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[], [10**400], [float("nan")], [True], ["1"], [-1.0], {"a": 1}, 1.0])
def test_what_is_no_launches_is_refused(values: object) -> None:
    with pytest.raises(ValueError, match="a "):
        read_launches(values)
