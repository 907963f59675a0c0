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
    progress.plan("test_chat", 60, turns=2)
    progress.begin("test_chat")
    progress.phase("starting vllm")
    clock.now += 12
    progress.waiting(12.4)
    clock.now += 8
    progress.phase("test_chat: measuring at 1/s", 30)
    clock.now += 10
    progress.tick(12, 9)
    clock.now += 42
    progress.tick(30, 30)
    progress.end("test_chat", is_over=False)
    progress.begin("test_chat")
    progress.phase("test_chat: measuring at 4/s", 30)
    clock.now += 15
    progress.tick(60, 44)
    progress.end("test_chat", is_over=False)
    progress.phase("stopping vllm")
    assert screen.lines == [
        "starting vllm · session about 2 min 00 s left",
        "~starting vllm: 12 s · session about 1 min 48 s left",
        "test_chat: measuring at 1/s, about 30 s · session about 1 min 40 s left",
        "~test_chat: measuring at 1/s: 9 of 12 requests answered, 20 s left · session about 1 min 30 s left",
        "~test_chat: measuring at 1/s: 30 of 30 requests answered, 0 s left · session about 1 min 00 s left",
        "test_chat: measuring at 4/s, about 30 s · session about 1 min 12 s left",
        "~test_chat: measuring at 4/s: 44 of 60 requests answered, 15 s left · session about 57 s left",
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
    ("turn_s", "left"),
    [
        (0.4, ""),
        (30, " · session about 30 s left"),
        (59.4, " · session about 59 s left"),
        (59.6, " · session about 1 min 00 s left"),
        (90, " · session about 1 min 30 s left"),
        (3599.9, " · session about 1 h 00 min left"),
        (35_940, " · session about 9 h 59 min left"),
    ],
)
def test_the_time_left_is_told_for_people(
    turn_s: float, left: str, progress: Progress, screen: Screen
) -> None:
    progress.plan("test", turn_s, turns=1)
    progress.phase("next")
    progress.waiting(3)
    assert screen.lines == [f"next{left}", f"~next: 3 s{left}"]


def test_as_long_as_one_test_is_unknown_nothing_is_promised(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.plan("known", 30, turns=1)
    progress.plan("unknown", None, turns=3)
    progress.phase("before")
    progress.begin("unknown")
    clock.now += 7
    progress.end("unknown", is_over=False)
    progress.phase("after")
    assert screen.lines == ["before", "after · session about 44 s left"]


def test_of_rounds_that_may_not_come_nothing_is_promised(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.of = "round"
    progress.plan("test", 30, turns=1)
    progress.begin("test")
    clock.now += 20
    progress.end("test", is_over=False)
    progress.phase("judging")
    progress.plan("test", 30, turns=1)  # it takes another one after all, as long as the first
    progress.phase("starting")
    assert screen.lines == ["judging", "starting · round about 20 s left"]


def test_a_test_that_is_over_needs_no_more_time(progress: Progress, screen: Screen, clock: Clock) -> None:
    progress.plan("test", 30, turns=3)
    progress.begin("test")
    clock.now += 7
    progress.end("test", is_over=True)
    progress.phase("after")
    assert screen.lines == ["after"]
