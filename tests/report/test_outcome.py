from __future__ import annotations

import random

import pytest

from pytest_llmperf.report.outcome import SEVERITY, outcomes, worst
from tests.report.records import failure, judged, record


def test_the_worst_is_first_whatever_the_order() -> None:
    entries = [
        judged(word, nodeid=f"t.py::test_{n}") for n, word in enumerate(SEVERITY) if word != "hindered"
    ]
    random.Random(7).shuffle(entries)
    found = outcomes(record(*entries, failures=[failure("t.py::test_busy", is_hindered=True)]))
    assert [outcome.word for outcome in found] == list(SEVERITY)


def test_of_two_that_are_worse_the_one_that_is_further_so_is_first() -> None:
    found = outcomes(
        record(judged("regressed", 1.3, "t.py::test_a"), judged("regressed", 0.4, "t.py::test_b"),
               judged("regressed", 1.9, "t.py::test_c"))
    )  # fmt: skip
    assert [outcome.test[-1] for outcome in found] == ["c", "a", "b"]


@pytest.mark.parametrize(("is_hindered", "word"), [(True, "hindered"), (False, "error")])
def test_an_engine_that_could_not_be_had_is_told_from_a_broken_one(is_hindered: bool, word: str) -> None:
    failed = failure("t.py::test_chat", "said", is_hindered)
    (never,) = outcomes(record(failures=[failed]))
    assert (never.word, never.error, never.entry) == (word, "said", None)
    (died,) = outcomes(record(judged("error", nodeid="t.py::test_chat"), failures=[failed]))
    assert died.word == word
    assert died.entry is not None


def test_a_failure_that_another_launch_made_up_for_changes_no_verdict() -> None:
    (outcome,) = outcomes(record(judged("pass", nodeid="t.py::t"), failures=[failure("t.py::t")]))
    assert outcome.word == "pass"


def test_the_word_for_several_records_is_the_worst_of_all() -> None:
    assert worst([record(judged("pass")), record(judged("inconclusive"))]) == "inconclusive"
    assert worst([record()]) == worst([]) == "nothing measured"


def test_what_an_older_record_does_not_tell_is_not_missed() -> None:
    entry = judged("pass")
    del entry["left_out"], entry["sweeps"], entry["points"][0]["creep"]
    assert worst([record(entry)]) == "pass"
