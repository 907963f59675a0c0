from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_llmperf.bisect.diary import Replay, keeping
from pytest_llmperf.bisect.flags import Flags as FlagsAxis
from pytest_llmperf.bisect.measuring import Stage, Standing
from pytest_llmperf.bisect.telling import Telling, say
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.judge.culprit import Estimate
from tests.bisect.histories import ASKED, POSITIONS, TTFT, Flags, Scripted, pair

EFFECT = Estimate(0.1133, 0.07, 0.12)


class Releases(Flags):
    kind = "releases"


AXIS = Releases("vllm==1", "vllm==2", "vllm==3")


def standing(stage: Stage = "search", suspects: tuple[int, ...] = (1,), confidence: float = 0.6) -> Standing:
    question = None if stage == "ends" else TTFT
    return Standing(stage, 0, 1, 3, 2, question, suspects=suspects, confidence=confidence, effect=EFFECT)


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    with keeping(tmp_path / "d", ASKED, POSITIONS, print) as diary:
        return Replay(Scripted(), diary)


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (standing("ends", ()), "do the ends differ?"),
        (standing(), "most likely: vllm==2 (60%, +12%)"),
        (standing(confidence=0.5), "the ends differ, +12%; which of 2 changes did it?"),
        (standing(suspects=(1, 2)), "the ends differ, +12%; which of 2 changes did it?"),
        (
            standing("confirmation", confidence=0.96),
            "suspected: vllm==2 (96%, +12%); beside what comes before it, in fresh launches",
        ),
        (standing("behind"), "suspected: vllm==2 (60%, +12%); has it been bad ever since?"),
    ],
)
def test_it_is_told_what_is_believed_and_why_the_next_pair_is_asked_for(
    one: Standing, words: str, replay: Replay, capsys: pytest.CaptureFixture[str]
) -> None:
    Telling(AXIS, 0).hear(one, replay)
    assert capsys.readouterr().out == f"llmperf: {words}\n"


def test_the_same_is_not_told_twice(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    telling = Telling(AXIS, 0)
    for one in (standing("ends", ()), standing("ends", ()), standing()):
        telling.hear(one, replay)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_what_the_last_pair_said_comes_first(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    telling = Telling(AXIS, 0)
    replay.compare(0, 1)
    telling.hear(standing(), replay)
    assert capsys.readouterr().out == "llmperf: +10%; most likely: vllm==2 (60%, +12%)\n"


@pytest.mark.parametrize(("kept", "words"), [(1, "going on after 1 pair"), (2, "going on after 2 pairs")])
def test_of_what_is_kept_only_the_number_is_told(
    kept: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with keeping(tmp_path, ASKED, POSITIONS, print) as diary:
        for number in range(1, kept + 1):
            diary.write("pair", diary.event_of(pair(0, 1, number)))
        replay, telling = Replay(Scripted(), diary), Telling(AXIS, kept)
        for _ in range(kept):
            telling.hear(standing(), replay)
            assert capsys.readouterr().out == ""
            replay.compare(0, 1)
        telling.hear(standing(), replay)
        assert capsys.readouterr().out.splitlines()[0] == f"llmperf: {words}"


def test_kept_pairs_that_nobody_asks_for_any_more_silence_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after another try of what could not be measured: the search goes elsewhere."""
    with keeping(tmp_path, ASKED, POSITIONS, print) as diary:
        diary.write("pair", diary.event_of(pair(0, 2, 1)))
        Telling(AXIS, 1).hear(standing(), Replay(Scripted(), diary))
    assert "most likely: vllm==2" in capsys.readouterr().out


def test_flags_are_known_by_what_they_change(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    axis = FlagsAxis(parse_subject("vllm"), parse_subject("vllm --a 1 --b"))
    Telling(axis, 0).hear(standing(suspects=(2,)), replay)
    assert "most likely: --b (60%" in capsys.readouterr().out


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_a_line_is_one_line_whatever_is_in_it(capsys: pytest.CaptureFixture[str], text: str) -> None:
    say(text)
    out = capsys.readouterr().out
    assert out.startswith("llmperf: ")
    assert out.endswith("\n")
    assert out[:-1].isprintable()
