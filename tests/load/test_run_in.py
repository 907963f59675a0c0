from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.load.run_in import WithRunIn
from pytest_llmperf.load.schedule import arrival_offsets


@given(st.floats(0.5, 50), st.floats(1, 60), st.floats(0, 30))
def test_what_is_driven_is_longer_by_the_run_in_at_the_same_rate(
    rate: float, duration_s: float, before_s: float
) -> None:
    part = WithRunIn(LoadPoint(rate=rate, duration_s=duration_s), before_s)
    assert part.driven.scheduled_s == pytest.approx(duration_s + before_s)
    offsets = arrival_offsets(part.driven, seed=1)
    assert offsets.size == max(1, round(rate * (duration_s + before_s)))
    assert np.all(offsets <= duration_s + before_s)


def test_a_number_of_requests_grows_by_those_that_do_not_count() -> None:
    driven = WithRunIn(LoadPoint(rate=4.0, requests=100), 2.6).driven
    assert (driven.requests, driven.duration_s) == (111, None)


def test_without_a_run_in_a_point_is_driven_as_it_is() -> None:
    for point in (LoadPoint(concurrency=3, requests=7), LoadPoint(replay=2.0)):
        assert WithRunIn(point).driven == point


def test_what_has_no_rate_has_no_run_in() -> None:
    with pytest.raises(ValueError, match="no rate"):
        _ = WithRunIn(LoadPoint(concurrency=3, requests=7), 1.0).driven
