from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.terminal import details, headline
from pytest_llmperf.report.width import cells
from tests.pseudo_terminal import run_on_a_terminal, shown, without_colours
from tests.report.entries import FAST, SLOW, Writer, latencies, text_block


def measured(launches: int = 3, **limits: float) -> Writer:
    writer = Writer("test_perf.py::test_chat", **limits)
    for launch in range(1, launches + 1):
        writer.launch(launch, values=latencies())
    return writer


@pytest.mark.parametrize(("launches", "told"), [(1, "1 launch"), (3, "3 launches")])
def test_the_headline_has_the_subject_the_workload_and_the_evidence(launches: int, told: str) -> None:
    writer = measured(launches)
    writer.judge(ttft_p50_ms=[100] * 3)
    assert headline(writer.entry()) == (f"vllm --max-num-seqs 256 · 0.24.0 · 1024 in / 128 out chat · {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("vllm==0.22.1 --x 1", "vllm==0.22.1 --x 1"),
        ("vllm", "vllm 0.22.1"),
        ("http://gpu:8000", "http://gpu:8000 0.22.1"),
    ],
)
def test_side_by_side_it_has_the_other_subject_and_the_launches_of_both(text: str, told: str) -> None:
    writer = measured(4)
    for launch in (1, 2, 3):
        writer.launch(launch, values=latencies(), of_base=True)
    writer.side_by_side(text, version="0.22.1")
    assert headline(writer.entry()) == (
        f"vllm --max-num-seqs 256 · 0.24.0 · against {told}, side by side · 1024 in / 128 out chat · "
        "3 + 4 launches"
    )


def test_nothing_measured_has_no_evidence() -> None:
    assert headline(Writer().entry()) == "vllm --max-num-seqs 256 · 0.24.0"


def test_details_are_all_that_was_judged_but_for_errors_that_were_none() -> None:
    writer = measured(8, ttft_ms=300, goodput=0.5)
    for launch in range(1, 9):
        writer.launch(launch, FAST, values=latencies(1.01))
    writer.judge(ttft_p50_ms=[100] * 8, tpot_p50_ms=[6] * 8)
    expected = """
SLO: TTFT p95 at 1/s 150 ms (148 to 152), 50% under 300 ms
SLO: TTFT p95 at 4/s 152 ms (149 to 154), 50% under 300 ms
TTFT p50 at 1/s +0.0% (-4.8% to +5.0%), 3% chance of being worse than 5%
TPOT p50 at 1/s +38% (+31% to +44%), more than 99% chance of being worse than 5%
TTFT p50 at 4/s +1.0% (-3.8% to +6.1%), 6% chance of being worse than 5%
TPOT p50 at 4/s +39% (+32% to +46%), more than 99% chance of being worse than 5%
"""
    assert text_block(details(writer.entry())) == expected


def test_details_tell_errors_and_limits_on_them() -> None:
    errors = {"reset": (10, "reset: x")}
    for limits, line in (
        ({}, "SLO: error rate at 1/s 1%, limit 0%"),
        ({"error_rate": 0.1}, "SLO: error rate at 1/s 1%, limit 10%"),
    ):
        writer = Writer("test_perf.py::test_chat", **limits)
        writer.launch(1, SLOW, errors=errors, values=latencies())
        writer.judge()
        assert details(writer.entry()) == [line]


# --- in pytest, on real terminals -------------------------------------------------------------------------

CONFTEST = """
import json
from pathlib import Path
import pytest
from pytest_llmperf.report import progress
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.terminal import Terminal

ENTRIES = json.loads(Path("entries.json").read_text())
progress._BEAT_S = 0.05

def pytest_configure(config):
    config.terminal = Terminal(config)
    config.pluginmanager.register(config.terminal)

def pytest_generate_tests(metafunc):
    metafunc.parametrize("number", range(len(ENTRIES)))

@pytest.fixture
def told(request):
    return progress.Progress(request.config.terminal.write_progress)

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call":
        report.llmperf = json.dumps(ENTRIES[item.callspec.params["number"]])
    return report
"""
TESTS = """
import time

def test_it(number, told):
    told.begin_round([f"test {n}" for n in range(30)], may_go_on=True)
    told.plan(f"test {number}", 3000.0, 1)
    told.begin(f"test {number}")
    told.phase(f"test_\u65e5\u672c\u8a9e_{'x' * 60}\x1b[31m\\n: measuring at 4/s", 30.0)
    for sent in range(3):
        told.tick(sent, sent)
        time.sleep(0.03 if number == 0 else 0)
    print("said by the test")
"""


def many(passing: int = 16) -> list[dict[str, Any]]:
    """The entries of twenty tests, four of which are not as they should be."""
    entries = []
    for number in range(20):
        writer = Writer(f"tests/test_perf.py::test_chat[{number}-\x1b[31m\n{'日本' * number}]", ttft_ms=160)
        for launch in (1, 2, 3):
            writer.launch(launch, SLOW, values=latencies())
            writer.launch(launch, FAST, values=latencies(1.0 if number < passing else 1.3))
        writer.judge(tpot_p50_ms=[8.25] * 3)
        writer.result.verdict = Verdict.PASS if number < passing else Verdict.REGRESSED
        entries.append(writer.entry())
    return entries


class Told:
    """A project whose tests have these entries."""

    def __init__(self, pytester: pytest.Pytester, entries: Iterable[dict[str, Any]]) -> None:
        self._pytester = pytester
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_it=TESTS)
        (pytester.path / "entries.json").write_text(json.dumps(list(entries)))

    def on_a_terminal(self, columns: int, *args: str, **variables: str) -> str:
        options = ("-p", "no:cacheprovider", "-p", "no:xdist", "--tb=no", *args)
        written, code = run_on_a_terminal(self._pytester.path, columns, *options, **variables)
        assert code == 0
        return written

    def elsewhere(self, *args: str) -> list[str]:
        return self._pytester.runpytest_inprocess("-p", "no:cacheprovider", *args).outlines


def section(lines: list[str]) -> list[str]:
    begin = next(i for i, line in enumerate(lines) if line.strip("= ") == "llmperf")
    return [line for line in lines[begin + 1 : -1] if line.strip()]


@pytest.mark.parametrize(("columns", "color"), [(40, "yes"), (80, "no"), (120, "yes")])
def test_nothing_is_wider_than_the_terminal(pytester: pytest.Pytester, columns: int, color: str) -> None:
    written = Told(pytester, many()).on_a_terminal(columns, f"--color={color}")
    pieces = [piece for line in written.split("\r\n") for piece in line.split("\r")[1:]]
    progress = [piece for piece in map(without_colours, pieces) if piece.startswith("  ") and piece.strip()]
    assert len(progress) >= 20
    assert all(cells(piece) < columns and piece.isprintable() for piece in progress)
    assert all(re.search(r"until \d\d:\d\d\+|or later", piece) for piece in progress)
    told = section(shown(without_colours(written)))
    assert all(cells(line) <= columns and line.isprintable() for line in told)
    assert len(told) <= 50 or columns < 80
    assert (f"\x1b[31m{'+30%✗' if columns > 40 else ''}" in written) is (color == "yes")


def test_pytests_own_line_is_as_it_was(pytester: pytest.Pytester) -> None:
    lines = shown(Told(pytester, many()[:3]).on_a_terminal(70, "--color=no"))
    assert [line for line in lines if line.startswith("test_it.py")] == [f"{'test_it.py ...':<63}[100%]"]


@pytest.mark.parametrize(
    ("options", "variables"), [(("-s",), {}), (("-o", "log_cli=true"), {"TERM": "dumb"})]
)
def test_where_others_write_too_phases_have_lines(
    pytester: pytest.Pytester, options: tuple[str, ...], variables: dict[str, str]
) -> None:
    written = Told(pytester, many()[:2]).on_a_terminal(80, "--color=no", *options, **variables)
    assert "\r  " not in written
    found = [line for line in written.split("\r\n") if line.startswith("  llmperf: test_日本語")]
    assert sum(", about 30 s · " in line for line in found) == 2
    assert any("requests answered" in line for line in found), "a sign of life"


def test_old_encodings_have_plain_words(pytester: pytest.Pytester) -> None:
    variables = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    written = Told(pytester, many()).on_a_terminal(240, "--color=no", **variables)
    assert "+30%!" in written
    assert "150.0=" in written
    assert "8.25 ms -> 10.7 ms" in written
    assert "\\u2717" not in written


@pytest.mark.parametrize(
    ("option", "tests", "tables", "details"),
    [("-vv", 20, 20, 40), ("-v", 20, 20, 0), ("--no-header", 20, 3, 0), ("-q", 20, 0, 0), ("-qq", 4, 0, 0)],
)
def test_how_much_is_told_is_asked_for(
    pytester: pytest.Pytester, option: str, tests: int, tables: int, details: int
) -> None:
    lines = Told(pytester, many()).elsewhere(option)
    told = section([*lines, ""])
    assert sum("test_chat[" in line for line in told) == tests
    assert sum(line.strip().startswith("load  TTFT") for line in told) == tables
    assert sum("SLO: " in line for line in told) == details
    assert any("llmperf: measuring" in line or "measuring at" in line for line in lines) is (
        option[:2] != "-q"
    )
    total = next(line for line in told if line.startswith("llmperf: "))
    assert total.startswith("llmperf: 16 pass, 4 regressed against baselines; 3 launches; ")


def test_one_test_or_two_are_shown_in_full(pytester: pytest.Pytester) -> None:
    told = section(Told(pytester, many()[:2]).elsewhere())
    assert told[0] == "tests/test_perf.py::test_chat[0- [31m ]  pass"
    assert sum(line.strip().startswith("load  TTFT") for line in told) == 2
