from __future__ import annotations

import io
import time

import pytest

from pytest_llmperf.report.line import Line
from pytest_llmperf.report.progress import Told


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        """What is seen of what was written."""
        rows = []
        for line in self.getvalue().split("\n"):
            row = ""
            for text in line.split("\r"):
                row = text + row[len(text) :]
            rows.append(row.rstrip())
        return rows


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("COLUMNS", raising=False)


def test_elsewhere_than_on_a_terminal_only_what_stays_is_shown() -> None:
    out = io.StringIO()
    line = Line(out)
    line.write(Told("warming up"), False)
    line.write(Told("warming up: 3 of 4"), True)
    line.say("note: cold")
    line.clear()
    assert out.getvalue() == "llmperf: warming up\nllmperf: note: cold\n"


def test_where_nothing_is_shown_for_a_minute_there_is_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    out = io.StringIO()
    line = Line(out)
    line.write(Told("starting"), False)
    for now in range(1, 200):
        line.write(Told(f"starting: {now} s"), True)
    assert out.getvalue().splitlines() == [
        "llmperf: starting",
        "llmperf: starting: 60 s",
        "llmperf: starting: 120 s",
        "llmperf: starting: 180 s",
    ]


def test_a_terminal_that_cannot_go_back_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    line = Line(out)
    line.write(Told("warming up"), False)
    line.write(Told("warming up: 3 of 4"), True)
    assert out.getvalue() == "llmperf: warming up\n"


def test_on_a_terminal_one_line_changes() -> None:
    out = Terminal()
    line = Line(out)
    line.write(Told("warming up, about 30 s"), False)
    line.write(Told("measuring"), False)
    line.write(Told("measuring: 3 of 4"), True)
    assert out.screen == ["measuring: 3 of 4"]
    line.clear()
    line.clear()
    assert out.screen == [""]
    assert "\n" not in out.getvalue()


def test_what_stays_takes_the_place_of_what_does_not() -> None:
    out = Terminal()
    line = Line(out)
    line.write(Told("measuring: a long line of progress"), True)
    line.say("no")
    line.write(Told("measuring"), True)
    assert out.screen == ["llmperf: no", "measuring"]


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    line = Line(out)
    monkeypatch.setenv("COLUMNS", "50")
    line.write(Told("x" * 100), True)
    assert len(out.screen[0]) == 49
    monkeypatch.setenv("COLUMNS", "30")  # it was made narrower
    line.write(Told("日" * 100), True)
    line.clear()
    assert [len(text) for text in out.getvalue().split("\r")] == [0, 49, 15, 29, 0]
