from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_benchmark.stats import Stats

from pytest_llmperf.report.tukey import stats

TIMES = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=40)


def theirs(values: list[float]) -> dict[str, object]:
    """What the program itself makes of them."""
    made = Stats()  # type: ignore[no-untyped-call]
    for value in values:
        made.update(value)  # type: ignore[no-untyped-call]
    found: dict[str, object] = made.as_dict()  # type: ignore[no-untyped-call]
    return found


def close(one: object, other: object) -> bool:
    if isinstance(one, str):
        return one == other
    assert isinstance(one, int | float)
    assert isinstance(other, int | float)
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)


@given(TIMES.map(lambda values: [round(value, 3) + 0.001 for value in values]))
def test_every_statistic_is_that_of_the_program(values: list[float]) -> None:
    ours, known = stats(values), theirs(values)
    assert set(known) <= set(ours)
    # How many are far out may differ where one lies on the fence, but for the rounding of a sum.
    by_rounding = {"outliers", "iqr_outliers", "stddev_outliers", "ld15iqr", "hd15iqr"}
    assert {name: ours[name] for name in known if not close(ours[name], known[name])}.keys() <= by_rounding


@pytest.mark.parametrize(
    "values",
    [
        [3.0],
        [1.0, 2.0],
        [1.0, 2.0, 4.0],
        [1.0, 1.1, 1.2, 9.0],
        [1.0, 1.1, 1.2, 1.3, 9.0],
        [0.1, 1.0, 1.1, 1.2, 1.3, 9.0, 1.15],
        [2.0] * 6,
        [5.0, 1.0, 3.0, 2.0, 4.0, 100.0, 3.5, 2.5],
    ],
)
def test_outliers_and_fences_are_those_of_the_program(values: list[float]) -> None:
    ours, known = stats(values), theirs(values)
    assert {name: ours[name] for name in known} == pytest.approx(known)


@given(TIMES)
def test_quartiles_are_in_order_and_rounds_are_all(values: list[float]) -> None:
    found = stats(values)
    ladder = [found[name] for name in ("min", "q1", "median", "q3", "max")]
    assert all(low <= high or math.isclose(low, high) for low, high in itertools.pairwise(ladder))
    assert found["data"] == values
    assert (found["rounds"], found["iterations"]) == (len(values), 1)
    assert found["ops"] * found["mean"] == pytest.approx(1)


def test_of_nothing_there_are_no_statistics() -> None:
    with pytest.raises(ValueError, match="nothing"):
        stats([])
