"""Read as GitHub's runner reads the output of a job."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytest_llmperf.report.annotations import MOST, Annotation, commands, defused, defused_json
from pytest_llmperf.report.outcome import outcome_of
from tests.report.records import HOSTILE, judged

PIECES = (
    "::",
    "error",
    "::error::x",
    "##[error]y",
    "::stop-commands::t",
    "%0A",
    "%25",
    ",line=9",
    "a",
    ":",
    "#",
)
BLANKS = ("\n", "\r", "\r\n", " ", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x1b", "\u202e", "\xa0")
LINES = st.lists(st.sampled_from(PIECES + BLANKS), max_size=12).map("".join)


@dataclass(frozen=True)
class Command:
    name: str
    properties: dict[str, str]
    data: str


def commands_in(output: str) -> list[Command]:
    """What a runner finds: lines that begin with ``::`` after blanks, and ``##[`` anywhere in a line."""
    found = []
    for line in re.split(r"[\r\n]+", output):
        if match := re.match(r"\s*::([a-z-]+)(?: (.*?))?::(.*)", line, re.DOTALL):
            pairs = [pair.partition("=") for pair in (match[2] or "").split(",") if pair]
            properties = {name: _decoded(value, property_too=True) for name, _, value in pairs}
            found.append(Command(match[1], properties, _decoded(match[3])))
        elif match := re.search(r"##\[([a-z-]+)(.*?)\](.*)", line):
            found.append(Command(match[1], {}, match[3]))
    return found


def _decoded(text: str, property_too: bool = False) -> str:
    text = text.replace("%0D", "\r").replace("%0A", "\n")
    if property_too:
        text = text.replace("%3A", ":").replace("%2C", ",")
    return text.replace("%25", "%")


def annotation(word: str, scale: float = 1.2, nodeid: str = "t.py::test_a", **changed: object) -> Annotation:
    outcome = outcome_of(nodeid, judged(word, scale, nodeid, ttft_ms=100), "", False)
    return Annotation(outcome, "perf/t.py", 7, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("regressed", "error"),
        ("slo broken", "error"),
        ("failed by itself", "error"),
        ("error", "error"),
        ("invalid", "warning"),
        ("inconclusive", "warning"),
        ("not judged", "notice"),
        ("improved", "notice"),
    ],
)
def test_each_word_is_one_command_at_the_line_of_its_test(word: str, kind: str) -> None:
    (found,) = commands_in(annotation(word).command())
    assert found.name == kind
    assert (found.properties["file"], found.properties["line"]) == ("perf/t.py", "7")
    assert found.properties["title"].startswith("llmperf: test_a: ")
    assert found.data


def test_what_got_worse_is_told_as_in_the_terminal() -> None:
    (found,) = commands_in(annotation("regressed").command())
    assert "TTFT p50 at 1/s: 100 ms → 120 ms, +20% (95% interval +14% to +26%" in found.data
    assert "\n  Next:\n" in found.data


def test_what_got_better_is_told_with_its_evidence() -> None:
    (found,) = commands_in(annotation("improved", 0.5).command())
    assert "TTFT p50 at 1/s: 100 ms → 50 ms, -50% (95% interval" in found.data


def test_what_is_undecided_is_an_error_where_that_fails_the_test() -> None:
    (found,) = commands_in(annotation("inconclusive", 1.04, has_failed=True).command())
    assert found.name == "error"


def test_what_needs_others_to_end_is_a_warning() -> None:
    outcome = outcome_of("t.py::test_a", None, "leased", is_hindered=True)
    (found,) = commands_in(Annotation(outcome, "t.py", 1, has_failed=True).command())
    assert (found.name, found.data) == ("warning", "leased")


def test_as_many_as_github_shows_are_printed_and_the_worst_first() -> None:
    words = ["regressed"] * 14 + ["invalid"] * 12 + ["slo broken"] * 3
    found = [annotation(word, 1.1 + n / 100, f"t.py::test_{n}") for n, word in enumerate(words)]
    shown = [command for line in commands(found) for command in commands_in(line)]
    assert [command.name for command in shown] == ["error"] * MOST + ["warning"] * MOST
    assert [shown[n].properties["title"].split(": ")[2] for n in (0, 2, 3)] == [
        *["misses its SLO"] * 2,
        "worse than its base",
    ]
    assert "test_13" in shown[3].properties["title"]


@settings(max_examples=60)
@given(LINES, LINES)
@example(HOSTILE, HOSTILE)
def test_no_name_and_no_message_starts_a_command_of_its_own(name: str, message: str) -> None:
    outcome = outcome_of(f"t.py::{name}", None, message, is_hindered=False)
    line = Annotation(outcome, name, 1).command()
    assert len(line.splitlines()) == 1
    assert "##[" not in line
    (found,) = commands_in(line)
    assert found.name == "error"
    assert set(found.properties) == {"file", "line", "title"}


@settings(max_examples=100)
@given(LINES)
@example("\n  ::stop-commands::x\n##[add-mask]y")
def test_what_is_defused_has_no_command_and_nothing_else_is_changed(text: str) -> None:
    assert not commands_in(defused(text))
    assert re.sub(r"\s", "", defused(text)) == re.sub(r"\s", "", text)


@settings(max_examples=100)
@given(LINES, LINES)
@example("\n::error::x", "::add-mask::x\r::y")
def test_so_are_the_texts_of_an_entry(name: str, text: str) -> None:
    entry = json.loads(defused_json(json.dumps({name: [text]})))
    ((shown, (found,)),) = entry.items()
    assert not commands_in(found)
    assert not commands_in(shown)
    assert re.sub(r"\s", "", found) == re.sub(r"\s", "", text)


def test_an_ordinary_text_is_left_as_it_is() -> None:
    text = "t.py::test_a failed: std::vector [##] a: :b # [x]"
    assert defused(text) == text
