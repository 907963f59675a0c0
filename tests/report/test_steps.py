from __future__ import annotations

from collections.abc import Mapping

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.report.steps import next_steps
from tests.report.entries import FAST, SLOW, Writer, latencies
from tests.report.worsenings import AGAIN, TEST, ordered, steps, worse

# -- worse --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("candidate", "base", "before", "against"),
    [
        ("vllm==0.24.0", "vllm==0.22.1", "0.22.1", "vllm==0.22.1"),
        ("vllm", "vllm", "0.22.1", "vllm==0.22.1"),  # what was installed then
        ("vllm", "A=1 vllm --x 2", "0.22.1", "A=1 vllm==0.22.1 --x 2"),
        ("vllm", "vllm", "0.24.0", "vllm"),  # the same: what differs is the hour
        (
            "vllm",
            "vllm@dist/vllm-0.22.1-py3-none-any.whl",
            "0.22.1",
            "vllm@dist/vllm-0.22.1-py3-none-any.whl",
        ),
        (
            "command -- ./b --port {port}",
            "command -- ./a --port {port}",
            "1",
            "command -- ./a --port '{port}'",
        ),
    ],
)
def test_what_can_be_started_again_is_measured_beside_it(
    candidate: str, base: str, before: str, against: str
) -> None:
    told = steps(worse(candidate, base, before=before))
    assert told[f"look closer, side by side with {against}"] == [*AGAIN, "--llmperf-against", against]


@pytest.mark.parametrize(
    ("candidate", "base", "before"),
    [
        ("vllm", "http://gpu.example:8000", "0.22.1"),
        ("http://gpu.example:8000", "http://gpu.example:8000", "0.22.1"),
        ("vllm", "vllm --api-key '[redacted]'", "0.22.1"),
        ("vllm@/src/vllm", "vllm@/src/vllm", "0.24.1.dev1"),  # another commit is there now
        ("vllm", "vllm", "unknown"),
        ("command -- ./a", "command -- ./a", "1"),  # what it was then is not there any more
    ],
)
def test_what_cannot_be_started_again_is_not_proposed(candidate: str, base: str, before: str) -> None:
    told = steps(worse(candidate, base, before=before))
    assert not any("--llmperf-against" in command for command in told.values())
    assert told["see whether it repeats"][-2:] == ["--llmperf-launches", "3"]


def test_only_the_load_that_got_worst_is_measured_again_with_the_rest_of_what_was_typed() -> None:
    writer = Writer(TEST)
    options = ("--llmperf-engine", "vllm", "--llmperf-rates=1,4", "--llmperf-slo", "ttft_ms=300 tpot_ms=40")
    writer.result.command = [*AGAIN, *options]
    writer.result.subject_text = "vllm"
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies(1.6))
    writer.judge(ttft_p50_ms=[100] * 3)
    told = steps(writer)
    assert told["look closer, side by side with vllm==0.23.0 at that load alone"] == [
        *AGAIN,
        *("--llmperf-engine", "vllm", "--llmperf-slo", "ttft_ms=300 tpot_ms=40"),
        *("--llmperf-against", "vllm==0.23.0", "--llmperf-rates", "4"),
    ]
    assert told["if it is meant to be so, accept it"] == [*AGAIN, *options, "--llmperf-update"]


def test_options_that_exclude_each_other_never_meet() -> None:
    typed = ("--llmperf-baseline", "main", "--llmperf-concurrency", "1,2", "--llmperf-slo", "ttft_ms=300")
    writer = Writer(TEST)
    writer.result.command = [*AGAIN, *typed]
    for launch in (1, 2, 3):
        writer.launch(launch, SLOW, values=latencies(1.3))
        writer.launch(launch, FAST, values=latencies(1.0))
    writer.judge(ttft_p50_ms=[100] * 3)
    told = steps(writer)
    assert told["look closer, side by side with vllm==0.23.0 at that load alone"] == [
        *(*AGAIN, "--llmperf-slo", "ttft_ms=300"),
        *("--llmperf-against", "vllm==0.23.0", "--llmperf-rates", "1"),
    ]
    # What is on a branch cannot be written to.
    assert told["if it is meant to be so, accept it"] == [*AGAIN, *typed[2:], "--llmperf-update"]


def test_where_flags_and_version_differ_they_are_told_apart_first() -> None:
    told = steps(worse("vllm==0.24.0 --x 1", "vllm==0.22.1 --x 2", before="0.22.1"))
    assert told["tell the flags from the version, by the old flags with the new version"] == [
        *AGAIN,
        *("--llmperf-engine", "vllm==0.24.0 --x 2", "--llmperf-against", "vllm==0.22.1 --x 2"),
    ]


def test_one_flag_needs_no_search() -> None:
    writer = worse("vllm --b 2", "vllm", differences=["flag --b: (none) → 2"])
    assert not any(what.startswith("find the flag") for what in steps(writer))


def test_changes_that_are_not_committed_cannot_be_bisected() -> None:
    writer = worse("vllm@.", "vllm@.", before="0.24.1.dev1", fields={"commit": "aaaaaaaaaaaa"})
    writer.result.subject = {**writer.result.subject, "commit": "bbbbbbbbbbbb+changes.12345678"}
    assert not any("bisect" in step for step in next_steps(writer.entry()))


def test_small_steps_are_looked_at_beside_the_first_of_them_if_its_version_is_known() -> None:
    for text, against in (("vllm==0.20.0", "vllm==0.20.0"), ("vllm", None), ("http://gpu:8000", None)):
        writer = Writer(TEST)
        for launch in range(1, 9):
            writer.launch(launch, values=latencies())
        writer.judge(ttft_p50_ms=[99] * 8)
        writer.crept("ttft_p50_ms", [86] * 8, text)
        commands = [command for command in steps(writer).values() if "--llmperf-against" in command]
        assert commands == ([[*AGAIN, "--llmperf-against", against]] if against else [])


# -- the SLO ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loads", [(SLOW,), (SLOW, FAST)])
def test_when_everything_failed_the_engine_has_the_word_and_no_lower_load_is_advised(
    loads: tuple[LoadPoint, ...],
) -> None:
    writer = Writer(ttft_ms=160)
    for point in loads:
        writer.launch(1, point, requests=50, errors={"HTTP 500": (50, "HTTP 500: 'no GPU'")})
    writer.judge()
    assert list(steps(writer)) == ["see whether it repeats", "read what the engine says"]


@pytest.mark.parametrize(
    ("limits", "startup_s", "of_load"),
    [({"startup_s": 60}, 90.0, False), ({"startup_s": 60, "ttft_ms": 10}, 90.0, True)],
)
def test_no_lower_load_is_advised_against_a_slow_start(
    limits: Mapping[str, float], startup_s: float, of_load: bool
) -> None:
    writer = Writer(TEST, **limits)
    writer.launch(1, values=latencies() | {"startup_s": startup_s})
    writer.judge()
    told = next_steps(writer.entry())
    assert [step for step in told if "that still meets the SLO" in step] == told[1:] * of_load
    assert [step for step in told if "see what the start spends its time on" in step] == (
        [] if of_load else told[1:]
    )


def test_a_start_that_got_slower_is_measured_again_at_all_loads() -> None:
    writer = Writer(TEST)
    for launch in (1, 2, 3):
        for point in (SLOW, FAST):
            writer.launch(launch, point, values=latencies() | {"startup_s": 90.0})
    writer.judge(startup_s=[60] * 3)
    writer.result.subject_text = "vllm==0.24.0"
    command = steps(writer)["look closer, side by side with vllm==0.23.0"]
    assert command == [*AGAIN, "--llmperf-against", "vllm==0.23.0"]


def test_a_load_at_which_some_succeeded_is_worth_a_search_for_a_lower_one() -> None:
    writer = Writer()
    writer.launch(1, SLOW, requests=50, values=latencies())
    writer.launch(1, FAST, requests=50, errors={"reset": (50, "reset: by peer")})
    writer.judge()
    assert list(steps(writer)) == ["see whether it repeats", "find the load that still meets the SLO"]


# -- undecided ----------------------------------------------------------------------------------------


def undecided(base: float = 100.0, launches: int = 2, subject: str = "vllm") -> Writer:
    writer = Writer(TEST)
    writer.result.subject_text, writer.result.subject = subject, {"engine": subject, "version": "1"}
    for launch in range(1, launches + 1):
        writer.launch(launch, values=latencies())
    writer.judge(ttft_p50_ms=[base] * launches)
    return writer


def test_more_launches_are_asked_for_on_both_sides_at_once() -> None:
    writer = undecided()
    writer.result.command = [*AGAIN, "--llmperf-budget", "20m", "--llmperf-launches=2"]
    (command,) = steps(writer).values()
    assert command[:-1] == [*AGAIN, "--llmperf-against", "vllm==0.23.0", "--llmperf-launches"]
    least, most = map(int, command[-1].split(".."))
    assert 3 <= least < most


def test_a_baseline_that_cannot_be_started_again_wants_more_launches_of_its_own() -> None:
    writer = undecided()
    writer.from_baseline("vllm@/src", {"version": "0.23.0"})
    first, second = next_steps(writer.entry())
    assert first.startswith("decide it with about ")
    assert "--llmperf-against" not in first
    assert second == "the same with --llmperf-update, run on what the baseline is from, gives it as many"


def test_a_change_that_lies_on_the_tolerance_is_said_to_be_hopeless() -> None:
    assert next_steps(undecided(base=100 / 1.0499).entry()) == [
        "more launches will hardly decide it: it lies too close to --llmperf-tolerance"
    ]


def test_more_launches_are_not_advised_where_there_is_but_one_to_measure() -> None:
    (step,) = next_steps(undecided(subject="http://gpu.example:8000").entry())
    assert step.startswith("a server at a URL is one launch however often it is measured")


def test_a_limit_at_a_url_wants_more_requests() -> None:
    writer = Writer(TEST, ttft_ms=151)
    writer.result.subject = {"engine": "http://gpu.example:8000"}
    writer.launch(1, values=latencies())
    writer.judge()
    (step,) = next_steps(writer.entry())
    assert step.startswith("measure for longer, by --llmperf-duration or --llmperf-requests")


@pytest.mark.parametrize(
    ("limit", "launches", "asked"), [(152, 3, "9..13"), (150.1, 3, None), (147, 1, "4..6"), (153, 3, "4..6")]
)
def test_a_limit_wants_as_many_launches_as_bring_it_out_of_the_interval(
    limit: float, launches: int, asked: str | None
) -> None:
    writer = Writer(ttft_ms=limit)
    for launch in range(1, launches + 1):
        writer.launch(launch, values=latencies())
    writer.judge()
    (step,) = next_steps(writer.entry())
    if asked is None:
        assert step == "more launches will hardly decide it: it lies too close to the limit"
    else:
        assert step.endswith(f"--llmperf-launches {asked}")


@pytest.mark.parametrize(
    ("nodeid", "options"),
    [
        ("tests/test_perf.py::test_chat[it's a model]", ()),
        ("my tests/test_perf.py::test_chat", ("--llmperf-slo", "ttft_ms=300 tpot_ms=40")),
        ("t.py::test[$HOME]", ("--llmperf-engine", "A='x y' vllm --json '{\"a\": 1}'")),
    ],
)
def test_every_command_can_be_pasted_into_a_shell(nodeid: str, options: tuple[str, ...]) -> None:
    writer = Writer(nodeid)
    writer.result.command = [*writer.result.command, *options]
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3)
    commands = [command for command in steps(writer).values() if command]
    assert commands
    again = [command for command in commands if command[0] == "pytest"]
    assert all(command[:3] == ["pytest", "--llmperf", nodeid] for command in again)
    for command in commands:
        if command[0] != "pytest":
            assert ordered(command).arguments[0] == nodeid
    assert commands[-1] == ["pytest", "--llmperf", nodeid, *options, "--llmperf-update"]


def test_a_command_is_one_line_whatever_a_test_is_called() -> None:
    writer = Writer("t.py::test[a\n::error::b]")
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3)
    assert [step for step in next_steps(writer.entry()) if not step.isprintable()] == []
