"""Workloads of every kind, from the declaration to the record."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Project
from tests.servers import TruthServer

HEAD = "from pytest_llmperf import LogNormal, Normal, Uniform, Workload, sweep\n"


@pytest.mark.beside_others
def test_prompts_of_every_length_share_what_they_were_told_to_share(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
@sweep(concurrency=[2], requests=24)
def test_prefixes(llmperf):
    lengths = {"input_tokens": Normal(200, 30, low=130, high=300), "output_tokens": Uniform(4, 12)}
    llmperf(Workload(**lengths, shared_prefix_tokens=128, prefixes=2, sampling={"temperature": 0.5}))
    llmperf(Workload(**lengths, chat=True))
"""
    )
    project.run("--llmperf")
    # Whether it passed depends on how busy this machine is; what was sent and counted does not.
    (test,) = project.records()[0]["tests"]
    prefixes, chat = test["points"]
    assert prefixes["workload"] == ("200±30 (130-300) in / 4-12 out, 2 prefixes of 128, temperature=0.5")
    assert prefixes["declared"]["workload"]["sampling"] == {"temperature": 0.5}
    for point in (prefixes, chat):
        (run,) = point["runs"]
        assert run["errors"] == {}
        assert run["health"]["wrong_prompt_lengths"] == 0
    # The engine did know the prefixes, and that is as it should be.
    (counters,) = [run["counters"] for run in prefixes["runs"]]
    assert counters["prompt_tokens"] + counters.get("cached_prompt_tokens", 0) >= 24 * 130
    assert prefixes["runs"][0]["health"]["cached_prompt_share"] == 0


@pytest.mark.beside_others
def test_a_trace_is_replayed_and_bursts_and_ramps_are_driven(project: Project) -> None:
    rows = [f"2023-11-16 18:15:{46 + at * 0.4:010.7f},{40 + 8 * at},{30 + at}" for at in range(10)]
    (project.path / "azure.csv").write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]))
    project.write(
        test_it=HEAD
        + """
TRACE = Workload(trace="azure.csv")

@sweep(replay=[2, 4])
def test_replay(llmperf):
    m = llmperf(TRACE)
    assert m.at(replay=2).requests == m.at(replay=4).requests == 10

@sweep(rates=["2..10"], arrivals="gamma:0.25", duration=2)
def test_lengths_of_the_trace(llmperf):
    assert llmperf(TRACE).at(rate="2..10").requests == 12
"""
    )
    with TruthServer(itl_s=0.005) as server:
        result = project.run("--llmperf", "--llmperf-engine", server.url)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["  replay ×2 *", "  replay ×4 *", "  2→10/s *"])
    replayed, lengths = project.records()[0]["tests"]
    assert [point["declared"]["load"] for point in replayed["points"]] == [{"replay": 2}, {"replay": 4}]
    assert lengths["points"][0]["key"].endswith(", gamma:0.25 2..10/s for 2 s")
    assert lengths["points"][0]["key"].startswith("azure.csv (")


@pytest.mark.beside_others
def test_a_data_set_is_sent_as_it_is(project: Project) -> None:
    prompts = [{"prompt": f"Number {n} is {n * 7919} or {n * 104729}, is it not?"} for n in range(200)]
    (project.path / "p.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    project.write(
        test_it=HEAD
        + """
def test_dataset(llmperf):
    llmperf(Workload(dataset="p.jsonl", output_tokens=4, chat=True), concurrency=1, requests=20)
"""
    )
    project.run("--llmperf", "--llmperf-engine", "llamacpp --no-cache-prompt")
    (run,) = project.records()[0]["tests"][0]["points"][0]["runs"]
    assert (run["requests"], run["errors"]) == (20, {})
    assert run["health"]["cached_prompt_share"] == 0


@pytest.mark.beside_others
def test_a_replay_without_a_trace_and_a_file_that_is_not_there_are_named(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
@sweep(replay=[2])
def test_replay(llmperf):
    llmperf(Workload(input_tokens=8, output_tokens=4))
""",
        test_missing=HEAD + "MISSING = Workload(trace='nowhere.csv')\n",
    )
    missing = project.run("test_missing.py")
    missing.assert_outcomes(errors=1)
    missing.stdout.fnmatch_lines(["*DeclarationError: trace='nowhere.csv': No such file or directory *"])
    result = project.run("--llmperf", "test_it.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E *DeclarationError: replay ×2: needs a workload with a trace: Workload(trace=…)"]
    )


@pytest.mark.beside_others
def test_conversations_go_on_with_the_answers_of_the_engine(project: Project) -> None:
    project.write(
        test_it=HEAD
        + """
@sweep(rates=[4], arrivals="constant", requests=4)
def test_talk(llmperf):
    llmperf(Workload(input_tokens=60, output_tokens=6, chat=True, turns=3, think_s=0.1))

@sweep(concurrency=[2], requests=6)
def test_talk_in_a_closed_loop(llmperf):
    llmperf(Workload(input_tokens=60, output_tokens=6, chat=True, turns=3))
"""
    )
    project.run("--llmperf", "--llmperf-workers", "2")
    open_loop, closed_loop = project.records()[0]["tests"]
    (run,) = open_loop["points"][0]["runs"]
    # Four conversations of three turns; in the closed loop it is the turns that count.
    assert (run["requests"], run["errors"]) == (12, {})
    assert run["health"]["processes"] == 2
    assert run["health"]["wrong_prompt_lengths"] == 0
    # Each turn is longer than the one before: at least what was said and answered.
    assert run["counters"]["prompt_tokens"] + run["counters"].get("cached_prompt_tokens", 0) > 4 * 3 * 60
    (run,) = closed_loop["points"][0]["runs"]
    assert (run["requests"], run["errors"]) == (6, {})


@pytest.mark.beside_others
def test_a_load_that_one_process_can_drive_is_driven_by_one(project: Project) -> None:
    project.write(
        test_it=HEAD + "def test_it(llmperf):\n    llmperf(Workload(input_tokens=16, output_tokens=4), "
        "concurrency=2, requests=4)\n"
    )
    project.run("--llmperf")
    (run,) = project.records()[0]["tests"][0]["points"][0]["runs"]
    assert run["health"]["processes"] == 1
