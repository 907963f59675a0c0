from __future__ import annotations

import time

import pytest

from pytest_llmperf.report.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


class Screen:
    """What was shown: lines that stay, and with ``~`` those that the next one overwrites."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str, transient: bool) -> None:
        self.lines.append(f"~{text}" if transient else text)


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def progress(clock: Clock, screen: Screen) -> Progress:
    return Progress(screen)


def test_a_whole_session_reads_like_a_story(progress: Progress, screen: Screen, clock: Clock) -> None:
    progress.work_s = 60
    progress.phase("starting vllm")
    clock.now += 12
    progress.waiting(12.4)
    clock.now += 8
    progress.phase("test_chat: measuring at 1/s", 30)
    clock.now += 10
    progress.tick(12, 9)
    clock.now += 25
    progress.tick(30, 30)
    progress.done(30)
    progress.phase("test_chat: measuring at 4/s", 30)
    clock.now += 15
    progress.tick(60, 44)
    clock.now += 15
    progress.done(30)
    progress.phase("stopping vllm")
    assert screen.lines == [
        "starting vllm",
        "~starting vllm: 12 s",
        "test_chat: measuring at 1/s, about 30 s",
        "~test_chat: measuring at 1/s: 9 of 12 requests answered, 20 s left",
        "~test_chat: measuring at 1/s: 30 of 30 requests answered, 0 s left",
        "test_chat: measuring at 4/s, about 30 s · session about 55 s left",
        "~test_chat: measuring at 4/s: 44 of 60 requests answered, 15 s left · session about 1 min 10 s left",
        "stopping vllm",
    ]


def test_a_phase_that_repeats_itself_is_shown_once_and_keeps_its_clock(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.phase("measuring", 30)
    clock.now += 10
    progress.phase("measuring", 30)
    progress.tick(2, 1)
    assert screen.lines == ["measuring, about 30 s", "~measuring: 1 of 2 requests answered, 20 s left"]


def test_a_phase_that_comes_again_later_is_shown_again(progress: Progress, screen: Screen) -> None:
    for text in ("measuring", "warming up", "measuring"):
        progress.phase(text)
    assert screen.lines == ["measuring", "warming up", "measuring"]


def test_a_phase_of_unknown_length_promises_nothing(progress: Progress, screen: Screen) -> None:
    progress.phase("warming up")
    progress.tick(2, 1)
    assert screen.lines == ["warming up", "~warming up: 1 of 2 requests answered"]


def test_a_phase_does_not_inherit_the_length_of_the_one_before(progress: Progress, screen: Screen) -> None:
    progress.phase("measuring", 30)
    progress.phase("warming up")
    progress.tick(2, 1)
    assert screen.lines[-1] == "~warming up: 1 of 2 requests answered"


@pytest.mark.parametrize(
    ("work_s", "done_s", "took_s", "left"),
    [
        (60, 0, 100, ""),
        (0, 10, 100, ""),
        (60, 60, 100, ""),
        (60, 70, 100, ""),
        (60, 30, 30, " · session about 30 s left"),
        (60, 30, 59.4, " · session about 59 s left"),
        (60, 30, 59.6, " · session about 1 min 00 s left"),
        (60, 30, 90, " · session about 1 min 30 s left"),
        (60, 30, 3599.9, " · session about 1 h 00 min left"),
        (60, 1, 610, " · session about 9 h 59 min left"),
    ],
)
def test_the_time_left_is_told_at_the_pace_until_now_as_soon_as_there_is_one(
    work_s: float, done_s: float, took_s: float, left: str, progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.work_s = work_s
    if done_s:
        progress.done(done_s)
    clock.now += took_s
    progress.phase("next")
    progress.waiting(3)
    assert screen.lines == [f"next{left}", f"~next: 3 s{left}"]
