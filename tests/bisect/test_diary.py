"""What is kept of a bisection: real files, locks and processes that are killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect import diary as diaries
from pytest_llmperf.bisect.diary import Diary, Replay, keeping, newest, read_diary
from pytest_llmperf.bisect.events import Asked, pair_event, pair_of
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.pair import Pair, Question
from pytest_llmperf.bisect.position import Position, Unusable
from pytest_llmperf.errors import StoreError
from tests.bisect.histories import ASKED, POSITIONS, TTFT, Scripted, Working, pair
from tests.git import Git


def quietly(text: str) -> None:
    """Tells nobody."""


@contextlib.contextmanager
def opened(directory: Path, notes: list[str] | None = None) -> Iterator[Diary]:
    with keeping(directory, ASKED, POSITIONS, quietly if notes is None else notes.append) as diary:
        yield diary


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "diary.jsonl").read_text().splitlines()]


def kinds(directory: Path) -> list[str]:
    return [event["event"] for event in lines(directory)]


# --- what is written --------------------------------------------------------------------------------------


names = st.text(min_size=1, max_size=20)
positive = st.floats(1e-9, 1e9)


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    questions = st.builds(
        Question, names, names, names, names, st.sampled_from(["lower", "higher"]), st.floats(0.001, 0.9)
    )
    figures = draw(st.dictionaries(questions, st.tuples(positive, positive), max_size=4))
    known = {question: (draw(st.floats(0, 1)), draw(st.floats(0, 1))) for question in figures}
    left, right = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    notes = tuple(draw(st.lists(names, max_size=2)))
    return Pair(
        left, right, figures, draw(st.integers(1, 99)), draw(positive), draw(names), notes, uncertainty=known
    )


@given(pairs())
def test_a_pair_is_read_as_it_was_written_to_the_last_digit(one: Pair) -> None:
    assert pair_of(json.loads(json.dumps(pair_event(one, POSITIONS)))) == one


def test_the_first_event_says_what_was_asked_without_secrets(tmp_path: Path) -> None:
    asked = Asked(
        "releases",
        "http://me:pw@host:1",
        "vllm==0.24.0",
        ("t.py", "--llmperf-model=https://me:pw@host/m", "--api-key", "sk-1"),
        {"LLMPERF_RATES": "1"},
    )
    with keeping(tmp_path, asked, POSITIONS, quietly):
        pass
    (begun,) = lines(tmp_path)
    assert begun["event"] == "begun"
    assert begun["llmperf_diary"] == 1
    assert [one["name"] for one in begun["positions"]] == [one.name for one in POSITIONS]
    assert begun["asked"]["variables"] == {"LLMPERF_RATES": "1"}
    assert "pytest-llmperf" in begun["versions"]
    text = (tmp_path / "diary.jsonl").read_text() + asked.name
    assert "sk-1" not in text
    assert "pw" not in text


def test_a_name_is_readable_and_of_all_that_is_asked() -> None:
    assert ASKED.name.startswith("flags-llamacpp-llamacpp-parallel-1-")
    others = [
        Asked("flags", "llamacpp", "llamacpp --parallel 1", ("test_it.py",), {}),
        Asked("flags", "llamacpp", "llamacpp --parallel 2", ASKED.arguments, {}),
        Asked("releases", "llamacpp", "llamacpp --parallel 1", ASKED.arguments, {}),
        Asked("flags", "llamacpp", "llamacpp --parallel 1", ASKED.arguments, {"LLMPERF_RATES": "1"}),
        Asked("flags", "llamacpp", "llamacpp --parallel 1", ASKED.arguments, {}, ("a branch is here now",)),
    ]
    assert len({ASKED.name, *(other.name for other in others)}) == 6
    long = Asked("flags", "a" * 300, "/etc/../b c" * 30).name
    assert len(long) < 80
    assert "/" not in long


# --- going on ---------------------------------------------------------------------------------------------


def search(oracle: Replay) -> list[Pair | Unusable]:
    """A search that asks the same whenever it is answered the same."""
    answers: list[Pair | Unusable] = []
    for left, right in ((0, 1), (0, 1), (0, 2), (1, 0)):
        try:
            answers.append(oracle.compare(left, right))
            oracle.suspected(TTFT, [1, 2], 0.7)
        except Unusable as error:
            answers.append(error)
    return answers


def told(answers: list[Pair | Unusable]) -> list[object]:
    return [(one.position, one.why) if isinstance(one, Unusable) else one for one in answers]


def test_an_attempt_in_vain_took_as_long_when_it_is_read_again(tmp_path: Path) -> None:
    """So that a budget ends at the same pair."""
    took = []
    for _ in range(3):
        with opened(tmp_path) as diary, pytest.raises(Unusable) as caught:
            Replay(Scripted(seconds=0.02), diary).compare(0, 2)
        took.append(caught.value.seconds)
    assert took[0] >= 0.02
    assert took == [took[0]] * 3


@pytest.mark.parametrize("kept", range(5))
def test_a_search_goes_on_where_it_was_whenever_it_ended(tmp_path: Path, kept: int) -> None:
    """Only what the first had not asked is asked."""
    with opened(tmp_path / "whole") as diary:
        whole = search(Replay(Scripted(), diary))
    first, second = Scripted(), Scripted(2.0)
    with opened(tmp_path / "parts") as diary, contextlib.suppress(StopIteration):
        replay = Replay(first, diary)
        for _, (left, right) in zip(range(kept), ((0, 1), (0, 1), (0, 2), (1, 0)), strict=False):
            with contextlib.suppress(Unusable):
                replay.compare(left, right)
                replay.suspected(TTFT, [1, 2], 0.7)
    with opened(tmp_path / "parts") as diary:
        replay = Replay(second, diary)
        again = search(replay)
        assert not any(replay.knows(left, right) for left, right in itertools.product(range(3), repeat=2))
    assert told(again[:kept]) == told(whole[:kept])
    assert len(second.asked) == 4 - kept
    written = [kind for kind in kinds(tmp_path / "parts") if kind != "resumed"]
    assert written == kinds(tmp_path / "whole")


def test_kept_pairs_are_given_once_each_in_their_order_and_only_for_their_positions(tmp_path: Path) -> None:
    with opened(tmp_path) as diary:
        for number, change in ((1, 1.1), (2, 1.2)):
            diary.write("pair", diary.event_of(pair(0, 1, number, change)))
    oracle = Scripted(3.0)
    with opened(tmp_path) as diary:
        replay = Replay(oracle, diary)
        assert replay.compare(1, 0).figures[TTFT] == (10.0, 30.0)
        assert [replay.compare(0, 1).figures[TTFT][1] for _ in range(3)] == [11.0, 12.0, 30.0]
    assert oracle.asked == [(1, 0), (0, 1)]


def test_what_could_not_be_measured_is_tried_again_only_if_that_is_asked_for(tmp_path: Path) -> None:
    with opened(tmp_path) as diary, pytest.raises(Unusable):
        Replay(Scripted(), diary).compare(0, 2)
    for retries, asked in ((False, 0), (True, 1)):
        oracle = Scripted()
        with opened(tmp_path) as diary, pytest.raises(Unusable, match="it does not start"):
            Replay(oracle, diary, retries_unusable=retries).compare(0, 2)
        assert len(oracle.asked) == asked


def test_what_came_of_another_try_is_what_counts_from_then_on(tmp_path: Path) -> None:
    with opened(tmp_path) as diary, pytest.raises(Unusable):
        Replay(Scripted(), diary).compare(0, 2)
    with opened(tmp_path) as diary:
        replay = Replay(Working(), diary, retries_unusable=True)
        measured = replay.compare(0, 2)
    with opened(tmp_path) as diary:
        assert Replay(Scripted(), diary).compare(0, 2) == measured


def test_what_is_believed_is_kept_after_a_fresh_answer_alone(tmp_path: Path) -> None:
    for fresh in (1, 0):
        with opened(tmp_path) as diary:
            replay = Replay(Working(), diary)
            replay.suspected(TTFT, [1], 0.5)
            replay.compare(0, 1)
            replay.suspected(None, [1], 0.5)
            replay.suspected(TTFT, [], 0.0)
            replay.suspected(TTFT, [2], 0.75)
        assert replay.is_fresh is bool(fresh)
    (kept,) = [event for event in lines(tmp_path) if event["event"] == "suspicion"]
    assert (kept["suspects"], kept["confidence"]) == ([{"index": 2, "name": POSITIONS[2].name}], 0.75)


def test_a_finding_is_kept_once_as_long_as_it_stays(tmp_path: Path) -> None:
    finding = Finding(Outcome.CULPRIT, TTFT, {}, [1], 0.99, {1: 0.99, 2: 0.01}, skipped={2: "no"})
    for suspects in ([1], [1], [2]):
        with opened(tmp_path) as diary:
            found = Finding(finding.outcome, TTFT, {}, suspects, 0.99, skipped={2: "no"})
            Replay(Scripted(), diary).found(found)
    found_events = [event for event in lines(tmp_path) if event["event"] == "found"]
    assert [event["suspects"][0]["index"] for event in found_events] == [1, 2]
    assert found_events[0]["skipped"] == [{"index": 2, "name": POSITIONS[2].name, "why": "no"}]


def test_records_are_found_wherever_the_directory_was_moved_to(tmp_path: Path) -> None:
    record = str(tmp_path / "before" / "pairs" / "001.json")
    with opened(tmp_path / "before") as diary:
        diary.write("pair", diary.event_of(pair(0, 1, record=record)))
        assert diary.pairs[0].record == record
    (tmp_path / "before").rename(tmp_path / "after")
    with opened(tmp_path / "after") as diary:
        assert diary.pairs[0].record == str(tmp_path / "after" / "pairs" / "001.json")


# --- what goes wrong --------------------------------------------------------------------------------------


WRITER = """
import sys
from pathlib import Path
from tests.bisect.histories import ASKED, POSITIONS, pair
from pytest_llmperf.bisect.diary import keeping
with keeping(Path(sys.argv[1]), ASKED, POSITIONS, print) as diary:
    for number in range(1, 100000):
        diary.write("pair", diary.event_of(pair(0, 1, number, notes=("x" * 5000,))))
        print(number, flush=True)
"""


def test_what_was_told_to_be_written_survives_a_kill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = 0
        for line in process.stdout:
            written = int(line)
            if written == 20:
                process.send_signal(signal.SIGKILL)
        process.wait(60)
    assert process.returncode == -signal.SIGKILL
    with opened(tmp_path) as diary:
        kept = [one.number for one in diary.pairs]
        assert kept == list(range(1, len(kept) + 1))
        assert written <= len(kept) <= written + 1
        diary.interrupted("here")
    assert kinds(tmp_path)[-2:] == ["resumed", "interrupted"]


def test_wherever_the_last_line_is_cut_off_it_is_left_out_and_said(tmp_path: Path) -> None:
    with opened(tmp_path) as diary:
        diary.write("pair", diary.event_of(pair(0, 1)))
    path = tmp_path / "diary.jsonl"
    content = path.read_bytes()
    end_of_first = content.index(b"\n") + 1
    for cut in (1, 10, end_of_first - 1, end_of_first + 1, len(content) - 20, len(content) - 1):
        path.write_bytes(content[:cut])
        notes: list[str] = []
        with opened(tmp_path, notes) as diary:
            assert diary.pairs == []
            diary.write("pair", diary.event_of(pair(0, 1)))
        assert [note for note in notes if "cut off" in note]
        assert kinds(tmp_path)[0] == "begun"
        assert kinds(tmp_path)[-1] == "pair"


def test_a_line_that_is_damaged_in_the_middle_is_an_error_and_nothing_is_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as diary:
        diary.write("pair", diary.event_of(pair(0, 1)))
        diary.interrupted("now")
    path = tmp_path / "diary.jsonl"
    begun, one, last = path.read_text().splitlines(keepends=True)
    for middle in (one[:50] + "\n", "3\n", one.replace('"figures"', '"figs"'), one.replace("10.0", '"ten"')):
        path.write_text(begun + middle + last)
        with (
            pytest.raises(StoreError, match=r"diary\.jsonl is damaged.*move it away to begin anew"),
            opened(tmp_path),
        ):
            pass
        assert path.read_text() == begun + middle + last


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("hello", "is not a diary of ours"),
        ('{"event": "x"}\n', "is not a diary of ours"),
        (
            '{"event": "begun", "llmperf_diary": 2}\n',
            "has llmperf_diary version 2, this release reads version 1",
        ),
    ],
)
def test_a_file_of_others_or_of_a_newer_release_is_an_error_and_stays(
    tmp_path: Path, content: str, why: str
) -> None:
    path = tmp_path / "diary.jsonl"
    path.write_text(content)
    with pytest.raises(StoreError, match=why), opened(tmp_path):
        pass
    with pytest.raises(StoreError, match=why):
        read_diary(tmp_path)
    assert path.read_text() == content


def test_two_do_not_write_at_once_and_one_may_read(tmp_path: Path) -> None:
    with opened(tmp_path):
        with (
            pytest.raises(StoreError, match=r"the same bisection writes to .*: wait for it, or end it"),
            opened(tmp_path),
        ):
            pass
        assert [event["event"] for event in read_diary(tmp_path)] == ["begun"]
    with opened(tmp_path):
        pass


def test_another_question_in_the_same_place_is_refused_and_named(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    other = Asked("flags", "llamacpp", "llamacpp --parallel 1", ("other.py",), {})
    with (
        pytest.raises(StoreError, match=r"is of another question \(arguments: .*other\.py"),
        keeping(tmp_path, other, POSITIONS, quietly),
    ):
        pass
    more = [*POSITIONS[:2], Position("new", "new"), POSITIONS[2]]
    with (
        pytest.raises(StoreError, match=r"is not what it was \(new: new\): move it away to begin anew"),
        keeping(tmp_path, ASKED, more, quietly),
    ):
        pass
    with (
        pytest.raises(StoreError, match="in another order"),
        keeping(tmp_path, ASKED, [POSITIONS[1], POSITIONS[0], POSITIONS[2]], quietly),
    ):
        pass


def test_another_machine_is_another_bisection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path):
        pass
    here = diaries._machine()
    monkeypatch.setattr(diaries, "_machine", lambda: {**here, "cpu": "an abacus"})
    with pytest.raises(StoreError, match=r"another machine.*cpu: .* → an abacus"), opened(tmp_path):
        pass


def test_a_disk_that_is_full_is_an_error_and_leaves_whole_lines(tmp_path: Path) -> None:
    """By a limit on the size of files, in a process of its own."""
    code = WRITER.replace(
        "import sys", "import resource, signal, sys\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)", 1
    ).replace(
        "    for number", "    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n    for number"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert "StoreError" in ran.stderr
    assert "cannot be written: File too large" in ran.stderr
    assert len(lines(tmp_path)) == int(ran.stdout.split()[-1]) + 1
    assert (tmp_path / "diary.jsonl").read_bytes().endswith(b"\n")


def test_the_newest_bisection_is_the_one_that_was_written_last(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no bisection"):
        newest(tmp_path)
    for name in ("b", "a"):
        with opened(tmp_path / name):
            pass
    assert newest(tmp_path) == tmp_path / "a"
    with pytest.raises(StoreError, match=r"has no diary\.jsonl"):
        read_diary(tmp_path)


def test_git_does_not_see_it(git: Git) -> None:
    with opened(git.directory / "wherever" / "x") as diary:
        diary.interrupted("by the person")
    assert git("status", "--porcelain", "--untracked-files=all") == ""
