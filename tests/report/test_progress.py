from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.progress import Progress, Told
from pytest_llmperf.report.width import cells


class Clock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    # What the wall says: 14:00:00 at 5000 s.
    monkeypatch.setattr(time, "time", lambda: 45400.0 + clock.now)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    return clock


class Screen:
    """What was shown: lines that stay, and with ``~`` those that the next one overwrites."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, told: Told, transient: bool) -> None:
        self.told = told
        self.lines.append(f"~{told}" if transient else str(told))


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
def progress(clock: Clock, screen: Screen) -> Progress:
    return Progress(screen)


def test_a_whole_session_reads_like_a_story(progress: Progress, screen: Screen, clock: Clock) -> None:
    tests = ["test_chat", "test_code"]
    progress.begin_round(tests, may_go_on=False)
    for test in tests:
        progress.plan(test, 60, turns=2)
    progress.announce("2 tests to measure, in 2 launches")
    progress.begin("test_chat")
    progress.phase("round 1 of 2: starting vllm")
    clock.now += 12
    progress.waiting(12.4)
    progress.at(1, 2)
    progress.phase("test_chat: measuring at 1/s", 30)
    clock.now += 10
    progress.tick(12, 9)
    clock.now += 48
    progress.end("test_chat", is_over=False)
    progress.begin("test_code")
    progress.phase("test_code: measuring at 1/s", 60)
    clock.now += 64
    progress.end("test_code", is_over=False)
    progress.begin("test_chat")
    progress.phase("test_chat: measuring at 1/s", 30)
    clock.now += 70
    progress.end("test_chat", is_over=False)
    progress.phase("stopping vllm")
    assert screen.lines == [
        "2 tests to measure, in 2 launches · at least 4 min 00 s left, until 14:04 or later",
        "round 1 of 2: starting vllm · test 1 of 2 · at least 4 min 00 s left, until 14:04 or later",
        "~round 1 of 2: starting vllm: 12 s · test 1 of 2 · at least 3 min 48 s left, until 14:04 or later",
        "test_chat: measuring at 1/s, about 30 s · test 1 of 2, load 1 of 2 · "
        "at least 3 min 48 s left, until 14:04 or later",
        "~test_chat: measuring at 1/s: 9 of 12 requests answered, 20 s left · test 1 of 2, load 1 of 2 · "
        "at least 3 min 38 s left, until 14:04 or later",
        "test_code: measuring at 1/s, about 60 s · test 2 of 2 · "
        "at least 3 min 10 s left, until 14:04 or later",
        "test_chat: measuring at 1/s, about 30 s · test 1 of 2 · 2 min 14 s left, until about 14:04",
        "stopping vllm · about 1 min 04 s left",
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
        (30, " · about 30 s left"),
        (89.4, " · about 1 min 29 s left"),
        (90, " · 1 min 30 s left, until about 14:01"),
        (3599.9, " · 1 h 00 min left, until about 14:59"),
        (35_940, " · 9 h 59 min left, until about 23:59"),
        (100_000, " · 27 h 46 min left, until about Fri 17:46"),
    ],
)
def test_the_time_left_is_told_for_people(
    turn_s: float, left: str, progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.plan("test", turn_s, turns=2)
    progress.begin("test")
    clock.now += turn_s
    progress.end("test", is_over=False)
    clock.now -= turn_s
    progress.phase("next")
    progress.waiting(3)
    assert screen.lines == [f"next{left}", f"~next: 3 s{left}"]


def test_as_long_as_one_test_is_unknown_what_is_known_is_the_least(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.plan("known", 30, turns=1)
    progress.plan("unknown", None, turns=3)
    progress.phase("before")
    progress.begin("unknown")
    clock.now += 7
    progress.end("unknown", is_over=False)
    progress.phase("after")
    assert screen.lines == ["before · at least 30 s left", "after · at least 44 s left"]


def test_what_two_tests_took_longer_than_declared_others_are_expected_to(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    for test in "abc":
        progress.plan(test, 30, turns=1)
    for test, took_s in (("a", 130), ("b", 35)):  # the first waited for the engine's start
        progress.begin(test)
        clock.now += took_s
        progress.end(test, is_over=False)
        progress.phase(f"after {test}")
    assert screen.lines == ["after a · at least 1 min 00 s left", "after b · about 35 s left"]


def test_of_rounds_that_may_not_come_nothing_is_promised(
    progress: Progress, screen: Screen, clock: Clock
) -> None:
    progress.begin_round(["test"], may_go_on=True)
    progress.plan("test", 30, turns=1)
    progress.begin("test")
    clock.now += 20
    progress.end("test", is_over=False)
    progress.phase("judging")
    progress.plan("test", 30, turns=1)  # it takes another one after all, as long as the first
    progress.phase("starting")
    assert screen.lines == ["judging", "starting · at least 20 s left"]


def test_a_test_that_is_over_needs_no_more_time(progress: Progress, screen: Screen, clock: Clock) -> None:
    progress.plan("test", 30, turns=3)
    progress.begin("test")
    clock.now += 7
    progress.end("test", is_over=True)
    progress.phase("after")
    assert screen.lines == ["after"]


TOLD = Told(
    "test_chat_stays_interactive: measuring at 4/s",
    (": 44 of 60 requests answered, 15 s left", ": 44/60"),
    ("test 3 of 20, load 2 of 4", "3/20"),
    ("12 min 00 s left, until about 14:32", "until 14:32"),
)


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            160,
            "test_chat_stays_interactive: measuring at 4/s: 44 of 60 requests answered, 15 s left · "
            "test 3 of 20, load 2 of 4 · 12 min 00 s left, until about 14:32",
        ),
        (
            120,
            "test_chat_stays_interactive: measuring at 4/s: 44 of 60 requests answered, 15 s left · 3/20 · "
            "until 14:32",
        ),
        (80, "test_chat_stays_interactive: measuring at 4/s: 44/60 · 3/20 · until 14:32"),
        (70, "test_chat_stays_interactive: measuring at 4/s: 44/60 · until 14:32"),
        (40, "test_chat…ng at 4/s: 44/60 · until 14:32"),
        (25, "test_chat_st…t 4/s: 44/60"),
    ],
)
def test_a_narrow_terminal_has_the_same_in_fewer_words(width: int, line: str) -> None:
    assert TOLD.fitted(width) == line


def test_what_others_log_has_what_room_is_left() -> None:
    told = Told("starting vllm", (": 12 s", ": 12 s"), end=("about 30 s left", "30 s left"), aside="x" * 100)
    assert told.fitted(60) == f"starting vllm: 12 s · about 30 s left · {'x' * 19}…"
    assert told.fitted(45) == "starting vllm: 12 s · about 30 s left"
    assert told.fitted(35) == "starting vllm: 12 s · 30 s left"


TEXTS = st.text(max_size=300).map(printable)
PAIRS = st.tuples(TEXTS, TEXTS)


@given(told=st.builds(Told, TEXTS, PAIRS, PAIRS, PAIRS, TEXTS), width=st.integers(0, 250))
def test_a_line_of_progress_fits(told: Told, width: int) -> None:
    assert cells(told.fitted(width)) <= width
    assert cells(str(told)) <= 200
    if cells(str(told)) < 200 and cells(str(told)) <= width:
        assert told.fitted(width) == str(told) or told.aside


@given(name=st.text(max_size=50))
def test_names_cannot_move_the_cursor(name: str) -> None:
    told: list[Told] = []
    progress = Progress(lambda one, transient: told.append(one))
    progress.phase(f"{name}: measuring", 30)
    progress.tick(2, 1)
    progress.waiting(1.0, name)
    assert all(str(one).isprintable() for one in told)
