from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.load.schedule import arrival_offsets, seed_of

rates = st.floats(0.1, 500, allow_nan=False)
any_rate = rates | st.builds(Ramp, rates, rates)
seeds = st.integers(0, 2**64 - 1)
processes = st.sampled_from(["poisson", "constant", "gamma:0.5", "gamma:0.01", "gamma:1000"])
by_requests = st.builds(LoadPoint, rate=any_rate, arrivals=processes, requests=st.integers(1, 300))
by_duration = st.builds(LoadPoint, rate=any_rate, arrivals=processes, duration_s=st.floats(0.1, 10))


@given(by_requests, seeds)
def test_there_are_as_many_arrivals_as_requests_were_asked_for(point: LoadPoint, seed: int) -> None:
    assert len(arrival_offsets(point, seed)) == point.requests


@given(by_duration, seeds)
def test_there_are_as_many_arrivals_as_the_rate_brings_in_the_time(point: LoadPoint, seed: int) -> None:
    assert point.mean_rate is not None
    assert point.duration_s is not None
    count = len(arrival_offsets(point, seed))
    assert count >= 1
    assert count == 1 or abs(count - point.mean_rate * point.duration_s) <= 0.5


@given(by_requests | by_duration, seeds)
def test_arrivals_ascend_within_the_time_that_was_asked_for(point: LoadPoint, seed: int) -> None:
    assert point.rate is not None
    offsets = arrival_offsets(point, seed)
    assert (np.diff(offsets) >= 0).all()
    assert offsets[0] >= 0
    assert offsets[-1] <= point.scheduled_s


@given(by_requests, seeds)
def test_the_seed_alone_decides_the_arrivals(point: LoadPoint, seed: int) -> None:
    assert (arrival_offsets(point, seed) == arrival_offsets(point, seed)).all()


@given(rates, st.integers(1, 300), seeds, seeds)
def test_other_seeds_make_other_poisson_arrivals(rate: float, count: int, seed: int, other: int) -> None:
    point = LoadPoint(rate=rate, requests=count)
    same = bool((arrival_offsets(point, seed) == arrival_offsets(point, other)).all())
    assert same == (seed == other)


def test_the_sooner_bound_counts() -> None:
    assert len(arrival_offsets(LoadPoint(rate=10, requests=5, duration_s=60), 1)) == 5
    assert len(arrival_offsets(LoadPoint(rate=10, requests=5000, duration_s=2), 1)) == 20


@given(rates, st.integers(2, 300), seeds)
def test_constant_arrivals_are_one_gap_apart_whatever_the_seed(rate: float, count: int, seed: int) -> None:
    offsets = arrival_offsets(LoadPoint(rate=rate, arrivals="constant", requests=count), seed)
    assert offsets[0] == 0
    np.testing.assert_allclose(np.diff(offsets), 1 / rate, rtol=1e-6)


def test_poisson_gaps_are_exponential() -> None:
    gaps = np.diff(arrival_offsets(LoadPoint(rate=50, requests=20_000), seed_of("a test", "50/s")))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.01)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.03)
    assert np.quantile(gaps, 0.9) / gaps.mean() == pytest.approx(np.log(10), rel=0.05)


def test_a_closed_loop_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="4 at once: a closed loop has no schedule"):
        arrival_offsets(LoadPoint(concurrency=4, duration_s=1), 0)


def test_a_seed_is_the_same_in_every_process() -> None:
    code = "from pytest_llmperf.load.schedule import seed_of; print(seed_of('test_a[x]', 'poisson 4/s'))"
    printed = [
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, env={"PYTHONHASHSEED": hash_seed}
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert [int(line) for line in printed] == [seed_of("test_a[x]", "poisson 4/s")] * 2
    # Pinned: records of earlier runs name arrivals that must come again.
    assert seed_of("test_a[x]", "poisson 4/s") == 1360229011765558287


def test_a_seed_keeps_its_parts_apart() -> None:
    assert len({seed_of("ab", "c"), seed_of("a", "bc"), seed_of("abc"), seed_of("abc", "")}) == 4


# --- how bursty -----------------------------------------------------------------------------------------

WINDOWS, IN_A_WINDOW = 2000, 20.0


def dispersion(arrivals: str, processes: int, seed: int = 11) -> float:
    """Variance over mean of the counts in windows of equal length, of a schedule that was dealt out to
    processes and came together again."""
    point = LoadPoint(rate=100, arrivals=arrivals, requests=round(WINDOWS * IN_A_WINDOW))
    offsets = arrival_offsets(point, seed)
    shares = [offsets[index::processes] for index in range(processes)]
    merged = np.sort(np.concatenate(shares))
    counts, _ = np.histogram(merged, bins=WINDOWS, range=(0, point.scheduled_s))
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("processes", [1, 2, 7])
@pytest.mark.parametrize(
    ("arrivals", "cv2"), [("poisson", 1), ("gamma:1", 1), ("gamma:0.25", 4), ("gamma:4", 0.25)]
)
def test_counts_are_as_dispersed_as_the_process_says_however_many_drive_it(
    arrivals: str, cv2: float, processes: int
) -> None:
    # Variance of a renewal process's counts, with gamma's third moment (Cox, Renewal Theory, 4.5): 1 / shape
    # in long windows, and a little off in shorter ones.
    expected = cv2 + (1 - cv2**2) / (6 * IN_A_WINDOW)
    # A variance from n counts has a relative standard error of about √(2 / n), and more for a skewed one.
    assert dispersion(arrivals, processes) == pytest.approx(expected, rel=5 * 1.5 * np.sqrt(2 / WINDOWS))


@pytest.mark.parametrize("processes", [1, 2, 7])
def test_constant_counts_are_not_dispersed(processes: int) -> None:
    assert dispersion("constant", processes) < 0.05


@pytest.mark.parametrize("shape", [0.25, 1.0, 4.0])
def test_the_gaps_of_gamma_arrivals_have_their_coefficient_of_variation(shape: float) -> None:
    count = 40_000
    gaps = np.diff(arrival_offsets(LoadPoint(rate=50, arrivals=f"gamma:{shape}", requests=count), 3))
    assert gaps.mean() == pytest.approx(1 / 50, rel=5 / np.sqrt(shape * count))
    cv2 = (gaps.std() / gaps.mean()) ** 2
    # Its relative standard error is √(2 (1 + c²) / n), by gamma's moments up to the fourth.
    assert cv2 == pytest.approx(1 / shape, rel=5 * np.sqrt(2 * (1 + 1 / shape) / count))


def test_gamma_arrivals_of_shape_1_are_spread_like_poisson_ones() -> None:
    offsets = arrival_offsets(LoadPoint(rate=100, arrivals="gamma:1", requests=10_000), 5) / 100
    # Kolmogorov's distance from the uniform distribution passes 1.95 / √n once in a thousand times.
    distance = np.abs(offsets - (np.arange(10_000) + 0.5) / 10_000).max()
    assert distance < 1.95 / np.sqrt(10_000)


# --- ramps ------------------------------------------------------------------------------------------------


@given(rates, rates, st.integers(1, 300))
def test_a_constant_ramp_has_sent_by_then_what_the_rate_brought(start: float, end: float, count: int) -> None:
    ramp = Ramp(start, end)
    point = LoadPoint(rate=ramp, arrivals="constant", requests=count)
    offsets = arrival_offsets(point, 0)
    brought = start * offsets + (end - start) * offsets**2 / (2 * point.scheduled_s)
    np.testing.assert_allclose(brought, np.arange(count), atol=1e-6 * count)


@given(rates, by_requests, seeds)
def test_a_level_ramp_is_a_rate(rate: float, point: LoadPoint, seed: int) -> None:
    flat, level = (replace(point, rate=one) for one in (rate, Ramp(rate, rate)))
    np.testing.assert_allclose(arrival_offsets(level, seed), arrival_offsets(flat, seed), rtol=1e-9)


def test_a_random_ramp_sends_as_much_in_each_part_as_its_rate_says() -> None:
    point = LoadPoint(rate=Ramp(10, 90), duration_s=100)
    offsets = arrival_offsets(point, 8)
    counts, _ = np.histogram(offsets, bins=4, range=(0, 100))
    # Mean rates of 20, 40, 60, 80 for 25 s each; a count of that many varies by at most its square root.
    expected = np.array([500, 1000, 1500, 2000])
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()
    assert counts.sum() == 5000


# --- replays ----------------------------------------------------------------------------------------------

TRACE_S = (0.0, 0.5, 0.5, 3.0, 10.0)


@pytest.mark.parametrize(
    ("point", "offsets"),
    [
        (LoadPoint(replay=1), [0, 0.5, 0.5, 3, 10]),
        (LoadPoint(replay=2), [0, 0.25, 0.25, 1.5, 5]),
        (LoadPoint(replay=0.5, duration_s=6), [0, 1, 1, 6]),
        (LoadPoint(replay=1, requests=2), [0, 0.5]),
        (LoadPoint(replay=1, requests=4, duration_s=1), [0, 0.5, 0.5]),
        (LoadPoint(replay=1, requests=99), [0, 0.5, 0.5, 3, 10]),
    ],
)
def test_a_replay_has_the_times_of_its_trace_at_its_speed(point: LoadPoint, offsets: list[float]) -> None:
    assert arrival_offsets(point, 1, TRACE_S).tolist() == offsets
