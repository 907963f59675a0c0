from __future__ import annotations

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.report.notes import notes
from tests.report.entries import FAST, SLOW, Writer, latencies


def test_there_is_nothing_to_say_of_a_run_that_went_well() -> None:
    writer = Writer()
    writer.launch(
        1, values=latencies(), counters={"prompt_tokens": 1024, "preemptions": 0, "draft_tokens": 0}
    )
    assert notes(writer.entry()) == []


def test_preemptions_are_told_of_all_launches_of_a_load_point() -> None:
    writer = Writer()
    writer.launch(1, SLOW, values=latencies(), counters={"preemptions": 1})
    writer.launch(1, FAST, values=latencies(), counters={"preemptions": 30})
    writer.launch(2, FAST, values=latencies(), counters={"preemptions": 4})
    told = "the engine ran out of KV cache and made a request wait and begin again (preemption)"
    assert notes(writer.entry()) == [f"1/s: once {told}", f"4/s: 34 times {told}"]


def test_the_acceptance_of_drafts_is_over_all_launches() -> None:
    writer = Writer()
    writer.launch(1, values=latencies(), counters={"draft_tokens": 100, "accepted_tokens": 50})
    writer.launch(2, values=latencies(), counters={"draft_tokens": 300, "accepted_tokens": 250})
    assert notes(writer.entry()) == ["1/s: 75% of the drafted tokens were accepted"]


def test_a_reset_that_was_refused_matters_if_the_cache_was_hit() -> None:
    for is_reset, share, count in ((False, 0.03, 1), (False, 0.0, 0), (True, 0.03, 0), (None, 0.03, 0)):
        writer = Writer()
        writer.launch(1, values=latencies(), cache_reset=is_reset, health={"cached_prompt_share": share})
        assert len(notes(writer.entry())) == count
        assert all("refused to reset" in note for note in notes(writer.entry()))


def test_points_of_several_workloads_are_told_apart() -> None:
    writer = Writer()
    for tokens in (64, 128):
        workload = Workload(input_tokens=tokens, output_tokens=8)
        writer.launch(1, values=latencies(), workload=workload, counters={"preemptions": 1})
    assert [note.partition(":")[0] for note in notes(writer.entry())] == [
        "1/s, 64 in / 8 out",
        "1/s, 128 in / 8 out",
    ]
