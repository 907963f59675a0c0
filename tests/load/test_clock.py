from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.load.clock import ClockMap, Offset, read_offset

NOW = 1_700_000_000_000_000_000
moments = st.integers(0, 10**15)
# As far as a real clock is slewed or stepped, and further.
drifts = st.integers(-(10**9), 10**9)


@given(moments, st.integers(1, 10**13), drifts)
def test_both_ends_of_the_span_are_met_exactly(start: int, span: int, drift: int) -> None:
    clock = ClockMap(Offset(start, NOW), Offset(start + span, NOW + drift))
    assert clock.monotonic_ns(start + NOW) == start
    if abs(drift) <= span // 1000:
        at_end = clock.monotonic_ns(start + span + NOW + drift)
        assert abs(at_end - (start + span)) <= abs(drift) // 1000 + 1


@given(moments, st.integers(1, 10**13), st.integers(0, 10**13))
def test_without_drift_only_the_offset_is_taken_off(start: int, span: int, later: int) -> None:
    clock = ClockMap(Offset(start, NOW), Offset(start + span, NOW))
    assert clock.monotonic_ns(start + later + NOW) == start + later


@given(
    moments, st.integers(10**6, 10**13), st.integers(-500, 500), st.lists(st.integers(0, 1000), min_size=2)
)
def test_later_stamps_stay_later(start: int, span: int, drift_ppm: int, shares: list[int]) -> None:
    clock = ClockMap(Offset(start, NOW), Offset(start + span, NOW + span * drift_ppm // 1_000_000))
    stamps = [start + NOW + span * share // 1000 for share in sorted(shares)]
    mapped = [clock.monotonic_ns(stamp) for stamp in stamps]
    assert mapped == sorted(mapped)


def test_half_way_half_the_drift_is_taken_off() -> None:
    clock = ClockMap(Offset(0, NOW), Offset(1_000_000, NOW + 1_000))
    assert clock.monotonic_ns(NOW + 500_000) == 499_500


def test_a_span_of_no_length_divides_by_nothing() -> None:
    clock = ClockMap(Offset(7, NOW), Offset(7, NOW + 5))
    assert clock.monotonic_ns(NOW + 100) == 100


def test_the_offset_leads_from_one_real_clock_to_the_other() -> None:
    before = time.monotonic_ns()
    offset = read_offset()
    after = time.monotonic_ns()
    assert before <= offset.at_ns <= after
    # However long this process was put aside in between, and while nobody sets the clock.
    real = time.time_ns()
    assert before <= real - offset.value_ns <= time.monotonic_ns() + 1_000_000
