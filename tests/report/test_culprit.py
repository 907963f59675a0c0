from __future__ import annotations

import dataclasses
import json
import re
import shlex
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.bisect.account import Step
from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.bisect.position import Position
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.culprit import culprit_lines, culprit_markdown, headline, notes
from pytest_llmperf.report.printable import printable, typed_words
from tests.report.accounts import COMMITS, TOKENS, TTFT, change, found, members, odd, told

HOSTILE = st.one_of(
    st.sampled_from(
        [
            "a | b || c",
            "`code` ``` ````",
            "one\ntwo\r\n\n# three",
            "<script>alert(1)</script> <!-- &lt; -->",
            "[text](http://example.com) ![](x)",
            "\u202eright to left\u2066",
            "\x1b[2J\x1b]0;title\x07\x08\x7f\x9b",
            "$x^2$ ~~gone~~ **bold** _it_ \\",
            "@everyone and @team/all",
            "- one",
            "1. one",
            "---",
            "\udce4 \u2028 \u2029",
            "x" * 5000,
            "",
        ]
    ),
    st.text(),
)
COMMAND = ("llmperf", "bisect", "log", ".llmperf/bisect/a b")


def hostile(axis: str, outcome: Outcome, texts: list[str]) -> dict[str, Any]:
    """An account in which everything that others wrote is one of these texts."""
    name, author, subject, why, test, end = texts
    positions = [
        Position(f"{name}{n}", f"{name}", {"subject": subject, "author": author, "date": "2026-05-04"})
        for n in range(6)
    ]
    question = dataclasses.replace(TTFT, test=test, workload=end)
    whole = {question: change(1.2), dataclasses.replace(TOKENS, test=test): change(1.0, Verdict.PASS)}
    is_searched = outcome in (Outcome.CULPRIT, Outcome.UNDECIDED)
    finding = found(
        outcome,
        (2, 3),
        ends=whole,
        skipped={2: why, 4: why} if outcome is not Outcome.UNUSABLE else {5: why},
        **({"question": question, "oddities": [odd(4, 1.0, "good again")]} if is_searched else {}),
    )
    steps = [Step("see what was measured", [*COMMAND, subject.replace("\0", "")])]
    account = told(axis, finding, steps, positions, open=end)
    return {**account, "good": {"name": name, "subject": end}}


@given(
    st.sampled_from(["releases", "commits", "flags"]),
    st.sampled_from(list(Outcome)),
    st.lists(HOSTILE, min_size=6, max_size=6),
)
def test_what_others_wrote_breaks_neither_the_terminal_nor_the_markdown(
    axis: str, outcome: Outcome, texts: list[str]
) -> None:
    account = hostile(axis, outcome, texts)
    assert all(line.isprintable() for line in culprit_lines(account))
    markdown = culprit_markdown(account)
    lines = markdown.split("\n")
    fence = next(line for line in lines if line.startswith("```"))
    prose = lines[: lines.index(fence)]
    assert lines[lines.index(fence) + 2 :] == [fence, ""]
    assert fence not in lines[lines.index(fence) + 1]
    for line in prose:
        assert line.isprintable()
        assert unescaped("`<>$~&#", line.replace("@<!-- -->", "")) == ""
        assert re.search(r"(?<!\w)@[0-9A-Za-z]", line) is None
        assert re.match(r"\* ([-+]|[0-9]+[.)]) ", line) is None
    table = [line for line in prose if line.startswith("|")]
    assert len(table) in (0, 4)
    assert all(unescaped("|", line) == "|" * 5 for line in table)
    assert all(len(line) < 2500 for line in prose)


def unescaped(signs: str, line: str) -> str:
    """Those of the signs that Markdown would take for its own."""
    return "".join(one for one in re.sub(r"\\[!-/:-@\[-`{-~]", "", line) if one in signs)


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_a_command_is_what_it_was_whatever_is_in_it(words: list[str]) -> None:
    typed = typed_words(words)
    assert typed.isprintable()
    if all(word.isprintable() for word in words):
        assert shlex.split(typed) == words


@pytest.mark.parametrize("word", ["\x1b[2J", "a\nb'c\\d", "é\u202eü\t", "\udce4\udcff"])
def test_what_is_not_printable_reaches_the_command_as_it_was(word: str) -> None:
    ran = subprocess.run(["bash", "-c", f"printf %s {typed_words([word])}"], capture_output=True, check=True)
    assert ran.stdout == word.encode(errors="surrogateescape")


@given(st.text(), st.integers(1, 50))
def test_printable_text_is_left_alone_and_cut_only_where_it_is_too_long(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) == min(len(text), most)
    if text.isprintable() and len(text) <= most:
        assert shown == text


# -- what is said -------------------------------------------------------------------------------------


def test_a_culprit_comes_with_who_when_and_what_and_the_numbers_on_both_sides() -> None:
    account = told("commits", steps=[Step("compare the two again", ["llmperf", "bisect", "--good", "a"])])
    assert "\n".join(culprit_lines(account)) == (
        """\
Commit 3a3b3c3 made TTFT p50 at 4/s worse, +19% (97% sure).

  3a3b3c3: Batch the copies (#3); A. Dev; 2026-05-04; commit 3333333333333333333333333333333333333333
  TTFT p50 at 4/s in tests/test_chat.py::test_it, 64 in / 32 out
    2a2b2c2  100 ms  (97.3 ms to 103 ms; 2 launches)
    3a3b3c3  119 ms  (116 ms to 122 ms; 2 launches)   +19% (+14% to +24%)
  That is the change of +20% (+15% to +25%) between 0a0b0c0 and 5a5b5c5.

  22 launches in 18 min 03 s; 6 commits.

  Next:
    compare the two again: llmperf bisect --good a"""
    )


def test_the_markdown_of_a_culprit() -> None:
    assert culprit_markdown(told("releases")) == (
        r"""**Release 0.23.0 made TTFT p50 at 4/s worse, +19% (97% sure).**

* 0.23.0: 2026-04-12

TTFT p50 at 4/s in tests/test\_chat.py::test\_it, 64 in / 32 out:

| | | 95% interval, launches | change |
|---|---|---|---|
| 0.22.0 | 100 ms | (97.3 ms to 103 ms; 2 launches) |  |
| 0.23.0 | 119 ms | (116 ms to 122 ms; 2 launches) | +19% (+14% to +24%) |

* That is the change of +20% (+15% to +25%) between 0.20.0 and 0.25.0.
* 22 launches in 18 min 03 s; 6 releases.

See what was measured:

```
llmperf bisect log 'a b'
```
"""
    )


def test_of_several_that_could_not_be_measured_apart_all_are_named_and_why() -> None:
    skipped = {2: "commit 2a2b2c2: it does not build\nmore of the log", 3: "it does not start"}
    account = told("commits", found(suspects=(2, 3, 4), skipped=skipped))
    assert headline(account) == (
        "One of 3 commits, 2a2b2c2 to 4a4b4c4, made TTFT p50 at 4/s worse, +19% (97% sure)."
    )
    text = "\n".join(culprit_lines(account))
    for n in (2, 3, 4):
        assert (
            f"  {n}a{n}b{n}c{n}: Batch the copies (#{n}); A. Dev; 2026-05-04; commit {str(n) * 40} (32%)"
            in text
        )
    # The sides are those that were measured.
    assert re.findall(r"^    (\S+)  1..? ms", text, re.MULTILINE) == ["1a1b1c1", "4a4b4c4"]
    assert "Not measured: 2a2b2c2: commit 2a2b2c2: it does not build\n" in text
    assert "Not measured: 3a3b3c3: it does not start\n" in text


def test_flags_that_do_it_together_have_the_whole_change_and_what_was_confirmed_of_one() -> None:
    both = members("--a 1", "--max-num-seqs 64 (was --max-num-seqs 256)")
    finding = found(probabilities={1: 0.01, 2: 0.01, 3: 0.98}, ends={TTFT: change(1.4)})
    account = told("flags", finding, suspects=both)
    assert headline(account) == (
        "--a 1 together with --max-num-seqs 64 (was --max-num-seqs 256) made TTFT p50 at 4/s worse, "
        "+40% (97% sure)."
    )
    text = "\n".join(culprit_lines(account))
    assert "good: vllm --b --max-num-seqs 256\n  bad: vllm --a 1 --max-num-seqs 64\n" in text
    assert re.search(r"^    good +100 ms .*\n    bad +140 ms .* \+40%", text, re.MULTILINE)
    assert (
        "Confirmed in fresh launches: --max-num-seqs 64 (was --max-num-seqs 256) brings +19%, +14% to +24%."
        in text
    )


def test_one_flag_is_measured_without_it_and_with_it() -> None:
    text = "\n".join(culprit_lines(told("flags", found(probabilities={3: 0.97}))))
    assert text.startswith(
        "--max-num-seqs 64 (was --max-num-seqs 256) made TTFT p50 at 4/s worse, +19% (97% sure).\n"
    )
    assert re.search(r"^    without it +100 ms .*\n    with it +119 ms ", text, re.MULTILINE)


def test_what_is_open_of_the_flags_is_said() -> None:
    account = told("flags", found(probabilities={3: 0.97}), open="with --a 1 taken over: ends undecided")
    assert "That may not be all: with --a 1 taken over: ends undecided." in list(notes(account))


@pytest.mark.parametrize(
    ("outcome", "verdict", "words", "note"),
    [
        (
            Outcome.NO_DIFFERENCE,
            Verdict.PASS,
            "No difference between 0.20.0 and 0.25.0",
            "no worse",
        ),
        (
            Outcome.ENDS_UNDECIDED,
            Verdict.INCONCLUSIVE,
            "0.20.0 and 0.25.0 could not be told apart, nor be called equal",
            "undecided",
        ),
        (Outcome.BETTER, Verdict.IMPROVED, "0.25.0 is not worse than 0.20.0, but better", "better"),
    ],
)
def test_where_nothing_is_worse_the_end_points_say_so_metric_by_metric(
    outcome: Outcome, verdict: Verdict, words: str, note: str
) -> None:
    account = told("releases", found(outcome, ends={TTFT: change(1.01, verdict)}))
    assert headline(account).startswith(words)
    assert next(notes(account)) == (
        f"TTFT p50 at 4/s in tests/test_chat.py::test_it, 64 in / 32 out: +1.0%, -2.9% to +5.0%, {note}"
    )
    assert "|" not in culprit_markdown(account)


def test_the_ends_of_flags_have_no_names() -> None:
    account = told("flags", found(Outcome.NO_DIFFERENCE))
    assert headline(account) == (
        "No difference between the good end and the bad end: there is nothing to bisect."
    )


@pytest.mark.parametrize(
    ("axis", "index", "words"),
    [
        ("releases", 5, "Not bisected: the end point 0.25.0 cannot be measured."),
        ("commits", 0, "Not bisected: the end point 0a0b0c0 cannot be measured."),
        ("flags", 3, "Not bisected: the bad end cannot be measured."),
    ],
)
def test_the_end_that_cannot_be_measured_is_named_whatever_else_was_skipped(
    axis: str, index: int, words: str
) -> None:
    account = told(axis, found(Outcome.UNUSABLE, skipped={2: "no", index: "it does not start"}))
    assert headline(account) == words
    assert any(note.endswith(": it does not start") for note in notes(account))


def test_after_an_oddity_it_is_said_what_the_suspects_and_the_confidence_are_of() -> None:
    finding = found(
        Outcome.UNDECIDED,
        (1, 2),
        probabilities={1: 0.6, 2: 0.37, 3: 0.03},
        oddities=(odd(4, 1.01, "good again"),),
        confirmation=change(1.1),
    )
    account = told("releases", finding)
    assert headline(account) == (
        "Not found: what made TTFT p50 at 4/s worse is between 0.20.0 and 0.23.0; it is one of 2 releases, "
        "0.21.0 to 0.22.0 (97%)."
    )
    assert list(notes(account)) == [
        "The history is not one change for good: 0.24.0 is good again (+1.0%, -2.9% to +5.0%, against "
        "0.20.0).",
        "So only what is up to 0.23.0 was searched: who is suspected, and how sure that is, holds for that "
        "part. What comes after it was not searched.",
    ]
    culprit = told("releases", dataclasses.replace(finding, outcome=Outcome.CULPRIT, suspects=(2,)))
    assert headline(culprit) == (
        "Release 0.22.0 made TTFT p50 at 4/s worse, +10% (97% sure of what is up to 0.23.0)."
    )
    # What the ends differ in is not what this one brought, however large that is.
    assert next(notes(culprit)) == "The ends: +20% (+15% to +25%) between 0.20.0 and 0.25.0."


def test_what_was_measured_of_one_suspect_is_not_shown_as_if_of_all() -> None:
    account = told("releases", found(Outcome.UNDECIDED, (2, 3, 4), confirmation=change(1.04)))
    text = "\n".join(culprit_lines(account))
    assert re.search(r"^    0\.20\.0 +100 ms .*\n    0\.25\.0 +120 ms ", text, re.MULTILINE)
    assert "+4.0%" not in text


@pytest.mark.parametrize(
    ("suspects", "words"),
    [
        ((), "and 0.25.0."),
        ((2,), "most likely it is 0.22.0 (97%)."),
        ((1, 4), "one of 2 releases, 0.21.0 to 0.24.0 (97%)."),
    ],
)
def test_an_undecided_bisection_blames_nobody(suspects: tuple[int, ...], words: str) -> None:
    account = told("releases", found(Outcome.UNDECIDED, suspects, probabilities={5: 0.5}))
    assert headline(account).startswith("Not found: ")
    assert headline(account).endswith(words)


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [
        (1.2, 1.2, "That is the change of +20%"),
        (1.1, 1.21, "That is about 50% of +21%"),
        (1.4, 1.2, "Of that, +20%"),
        (0.8, 0.8, "That is the change of -20%"),  # of a throughput
    ],
)
def test_how_much_of_the_whole_it_explains(part: float, whole: float, words: str) -> None:
    account = told("releases", found(confirmation=change(part), ends={TTFT: change(whole)}))
    assert next(notes(account)).startswith(words)


@pytest.mark.parametrize("part", [1.05, 1.4])
def test_what_the_intervals_leave_open_is_not_called_another_culprit(part: float) -> None:
    wide = dataclasses.replace(change(part), error=0.08)
    account = told("releases", found(confirmation=wide, ends={TTFT: change(1.2)}))
    assert next(notes(account)) == (
        "The ends: +20% (+15% to +25%) between 0.20.0 and 0.25.0; whether that is all of it, the intervals "
        "leave open."
    )


def test_of_very_many_the_first_are_listed_and_the_rest_is_counted() -> None:
    many = [Position(f"p{n}", f"commit p{n}", {}) for n in range(40)]
    finding = found(
        Outcome.UNDECIDED,
        range(1, 39),
        probabilities=dict.fromkeys(range(1, 40), 0.025),
        skipped=dict.fromkeys(range(1, 21), "no"),
    )
    text = culprit_lines(told("commits", finding, positions=many))
    assert "  and 30 more" in text
    assert "  Not measured: 12 more." in text
    assert len(text) < 40


def test_a_metric_of_launches_has_no_load() -> None:
    question = dataclasses.replace(TTFT, metric="startup_s")
    account = told("releases", found(question=question, ends={question: change(1.2)}))
    assert headline(account) == "Release 0.23.0 made start-up worse, +19% (97% sure)."


def test_the_account_survives_its_file() -> None:
    account = told("commits")
    assert json.loads(json.dumps(account)) == account
    assert account["suspects"][0]["about"]["commit"] == COMMITS[3].about["commit"]
