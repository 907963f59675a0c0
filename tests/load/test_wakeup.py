from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.load.target import Target
from pytest_llmperf.load.wakeup import fine_timers, sleep_until
from tests.load.asking import ask, driver
from tests.servers import TruthServer

SET, GET = 29, 30
CUSTOM_NS = 123_456
needs_slack = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has timer slack")


def slack_ns() -> int:
    return int(ctypes.CDLL(None).prctl(GET, 0, 0, 0, 0))


@pytest.fixture
def _custom_slack() -> Iterator[None]:
    before = slack_ns()
    ctypes.CDLL(None).prctl(SET, CUSTOM_NS, 0, 0, 0)
    yield
    ctypes.CDLL(None).prctl(SET, before, 0, 0, 0)


@needs_slack
@pytest.mark.usefixtures("_custom_slack")
def test_timers_are_fine_for_a_while_and_then_as_they_were() -> None:
    with fine_timers():
        assert slack_ns() == 1
    assert slack_ns() == CUSTOM_NS


@needs_slack
@pytest.mark.usefixtures("_custom_slack")
def test_timers_are_as_they_were_after_an_error_too() -> None:
    with pytest.raises(KeyboardInterrupt), fine_timers():
        raise KeyboardInterrupt
    assert slack_ns() == CUSTOM_NS


def of_an_open_loop(target: Target, watch: Callable[[int, int], None]) -> None:
    driver(target, watch=watch).open_loop([ask(target)], [0.0])


def of_a_closed_loop(target: Target, watch: Callable[[int, int], None]) -> None:
    driver(target, watch=watch).closed_loop(iter([ask(target)]), 1, duration_s=None, count=1)


@needs_slack
@pytest.mark.usefixtures("_custom_slack")
@pytest.mark.parametrize("drive", [of_an_open_loop, of_a_closed_loop])
def test_a_run_has_fine_timers_and_nothing_after_it(
    drive: Callable[[Target, Callable[[int, int], None]], None],
) -> None:
    seen = []
    with TruthServer(ttft_s=0.5) as server:
        drive(Target.of(server.url), lambda sent, ended: seen.append(slack_ns()))
    assert set(seen) == {1}
    assert slack_ns() == CUSTOM_NS


def test_a_system_without_timer_slack_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", None)
    with fine_timers():
        pass


@settings(max_examples=30, deadline=None)
@given(st.integers(-1_000_000_000, 3_000_000))
def test_nobody_wakes_up_before_the_moment(after_ns: int) -> None:
    moment_ns = time.monotonic_ns() + after_ns
    sleep_until(moment_ns)
    assert time.monotonic_ns() >= moment_ns


def test_a_moment_that_has_passed_is_not_slept_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    sleep_until(time.monotonic_ns() - 1)
    sleep_until(0)
    assert slept == []


def test_only_the_end_is_spent_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic_ns", iter([1_000_000, 4_900_000, 5_000_000]).__next__)
    sleep_until(5_000_000)
    assert slept == [pytest.approx(0.00395)]
