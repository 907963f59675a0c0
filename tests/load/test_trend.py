from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.load.trend import line, still_rises


def test_a_line_and_its_error_are_those_of_the_textbook() -> None:
    x, y = np.arange(5.0), np.array([1.0, 2.0, 2.0, 4.0, 4.0])
    slope, sd = line(x, y)
    fitted = np.polyfit(x, y, 1)
    rest = y - np.polyval(fitted, x)
    assert slope == pytest.approx(fitted[0])
    assert sd == pytest.approx(np.sqrt((rest @ rest) / 3 / 10))


@given(st.floats(-10, 10), st.floats(-100, 100))
def test_what_lies_on_a_line_has_no_error(slope: float, base: float) -> None:
    x = np.arange(8.0)
    found, sd = line(x, base + slope * x)
    assert found == pytest.approx(slope, abs=1e-9)
    assert sd < 1e-9


def test_points_at_one_place_are_no_line() -> None:
    assert line(np.ones(4), np.arange(4.0)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("values", "share", "rises"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], 0.9, True),
        ([0, 3, 5, 6, 6, 6, 6, 6], 0.25, False),
        ([0, 0, 1, 2, 4, 8, 16, 32], 1.0, True),
        ([7, 6, 5, 4, 3, 2, 1, 0], 0.25, False),
    ],
)
def test_what_reaches_a_plateau_rises_no_more(values: list[float], share: float, rises: bool) -> None:
    assert still_rises(np.array(values, dtype=float), share) is rises
