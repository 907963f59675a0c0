"""Tests that got worse, and what is proposed then."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pytest_llmperf.bisect.arguments import check_arguments
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.cli import _halves, parser
from pytest_llmperf.cli_bisect import _order
from pytest_llmperf.report.steps import next_steps
from tests.report.entries import Writer, latencies

TEST = "tests/test_perf.py::test_chat"
AGAIN = ["pytest", "--llmperf", TEST]


def worse(
    candidate: str,
    base: str,
    *options: str,
    now: str = "0.24.0",
    before: str = "0.24.0",
    differences: Sequence[str] = (),
    fields: Mapping[str, str] = MappingProxyType({}),
) -> Writer:
    """A candidate that is worse than a baseline of ``base``, by TTFT at one load."""
    writer = Writer(TEST)
    writer.result.command = [*writer.result.command, *options]
    writer.result.subject_text = candidate
    writer.result.subject = {"engine": candidate.partition("@")[0].partition(" ")[0], "version": now}
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(1.3))
    writer.judge(ttft_p50_ms=[100] * 3)
    writer.from_baseline(base, {"version": before, **fields})
    writer.result.subject_differences = list(differences)
    return writer


def steps(writer: Writer) -> dict[str, list[str]]:
    """What to do, by its first words, with the command if there is one."""
    told = [step.partition(": ") for step in next_steps(writer.entry())]
    return {
        what: shlex.split(command) if command.startswith(("pytest ", "llmperf ")) else []
        for what, _, command in told
    }


def bisected(writer: Writer, what: str) -> BisectOrder:
    """The order that the proposed command gives, read by the parser of the command and found in order."""
    (command,) = (command for words, command in steps(writer).items() if words == what)
    return ordered(command)


def ordered(command: Sequence[str]) -> BisectOrder:
    program, *words = command
    assert program == "llmperf"
    ours, theirs = _halves(words)
    said = parser().parse_args(ours)
    said.after = theirs
    order = _order(said)
    check_arguments(order.arguments)
    assert [word for word in order.arguments if "::" in word] != []
    if order.recipe is not None:
        order.recipe.parsed()
    return order
