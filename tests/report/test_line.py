from __future__ import annotations

import io

import pytest

from pytest_llmperf.report.line import Line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    @property
    def screen(self) -> list[str]:
        """What is seen of what was written."""
        return [line.rpartition("\r")[2].rstrip() for line in self.getvalue().split("\n")]


def test_elsewhere_than_on_a_terminal_only_what_stays_is_shown() -> None:
    out = io.StringIO()
    line = Line(out)
    line.write("warming up", False)
    line.write("warming up: 3 of 4", True)
    line.say("note: cold")
    line.clear()
    assert out.getvalue() == "llmperf: warming up\nllmperf: note: cold\n"


def test_on_a_terminal_one_line_changes() -> None:
    out = Terminal()
    line = Line(out)
    line.write("warming up, about 30 s", False)
    line.write("measuring", False)
    line.write("measuring: 3 of 4", True)
    assert out.screen == ["measuring: 3 of 4"]
    line.clear()
    line.clear()
    assert out.screen == [""]
    assert "\n" not in out.getvalue()


def test_what_stays_takes_the_place_of_what_does_not() -> None:
    out = Terminal()
    line = Line(out)
    line.write("measuring: a long line of progress", True)
    line.say("no")
    line.write("measuring", True)
    assert out.screen == ["llmperf: no", "measuring"]


def test_a_line_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = Terminal()
    Line(out).write("x" * 100, True)
    assert out.screen == ["x" * 19]
