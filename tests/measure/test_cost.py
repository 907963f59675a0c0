from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.measure.cost import usd_per_million


@given(usd=st.floats(0.01, 1000), rate=st.floats(0.1, 1e5))
def test_a_million_tokens_cost_what_the_hours_that_they_take_cost(usd: float, rate: float) -> None:
    hours = 1e6 / rate / 3600
    assert usd_per_million(usd, rate) == pytest.approx(usd * hours)
    assert usd_per_million(usd, 2 * rate) == pytest.approx(usd_per_million(usd, rate) / 2)


def test_an_h100_at_2451_tokens_per_second() -> None:
    assert usd_per_million(3.95, 2450.77) == pytest.approx(0.4477, abs=0.0001)
