"""What GitHub shows beside the lines of a change: workflow commands in the output of a job.

The runner takes each line of output that begins with ``::`` for a command, and ``##[`` anywhere in one. So
what engines and names of tests say is defused before it is printed.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprExceptionInfo

from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.judged import change_line, changes
from pytest_llmperf.report.outcome import HINDERED, Outcome, outcome_of
from pytest_llmperf.report.printable import printable

MOST = 10
"""GitHub shows ten of a kind of each step."""
_LONGEST = 3000
_KINDS = {
    "slo broken": ("error", "misses its SLO"),
    "regressed": ("error", "worse than its base"),
    "failed by itself": ("error", "failed by an assertion of its own"),
    "error": ("error", "could not be measured"),
    "invalid": ("warning", "invalid measurement, says nothing about the engine"),
    HINDERED: ("warning", "not measured: what the engine needs is in use or out of reach"),
    "inconclusive": ("warning", "undecided"),
    "not judged": ("notice", "measured, but not judged"),
    "improved": ("notice", "better than its base"),
}


@dataclass(frozen=True)
class Annotation:
    """What is said of a test, at its line; ``line`` is the first of all with 1."""

    outcome: Outcome
    file: str
    line: int
    has_failed: bool = False
    message: str = ""

    @property
    def kind(self) -> str:
        """``error``, ``warning`` or ``notice``; what is undecided is an error where that fails the test."""
        kind, _ = _KINDS[self.outcome.word]
        return "error" if self.has_failed and self.outcome.word == "inconclusive" else kind

    def command(self) -> str:
        """The line to print."""
        _, told = _KINDS[self.outcome.word]
        name = short_name(self.outcome.test)
        properties = {"file": self.file, "line": str(self.line), "title": f"llmperf: {name}: {told}"}
        shown = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        return _unbracketed(f"::{self.kind} {shown}::{_data(self.message or _message(self.outcome))}")


def commands(annotations: Iterable[Annotation]) -> list[str]:
    """The lines to print, the worst first, as many of a kind as are shown."""
    counted: Counter[str] = Counter()
    shown = []
    for annotation in sorted(annotations, key=lambda one: one.outcome.rank):
        counted[annotation.kind] += 1
        if counted[annotation.kind] <= MOST:
            shown.append(annotation.command())
    return shown


def _message(outcome: Outcome) -> str:
    if outcome.error or outcome.entry is None:
        return outcome.error or outcome.word
    if outcome.word == "improved":
        better = [change_line(*found) for found in changes(outcome.entry, "improved")]
        return "\n".join(filter(None, (*better, outcome.entry["baseline"]))) or outcome.word
    if outcome.word == "failed by itself":
        return outcome.entry["baseline"] or outcome.word
    return explain(outcome.entry)


def _data(text: str) -> str:
    lines = [printable(line) for line in text[:_LONGEST].splitlines()]
    return "\n".join(lines).strip().replace("%", "%25").replace("\n", "%0A") or "-"


def _property(text: str) -> str:
    return printable(text, 200).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")


# -- what others say --------------------------------------------------------------------------------------


def defused(text: str) -> str:
    """``text`` in which the runner finds no command; a space more shows where one was."""
    return re.sub(r"((?:^|[\r\n])\s*:)(?=:)", r"\1 ", _unbracketed(text))


def defused_json(text: str) -> str:
    """The same within the strings of a JSON text, where a line's end is written as an escape."""
    return re.sub(r'((?:\\[nrtf]|\\u[0-9a-f]{4}|")\s*:)(?=:)', r"\1 ", _unbracketed(text))


def _unbracketed(text: str) -> str:
    return text.replace("##[", "## [")


def _defuse_traceback(told: ExceptionChainRepr | ReprExceptionInfo) -> None:
    """The same in place in what pytest shows of an exception, :func:`pytest.fail` among them."""
    chain = told.chain if isinstance(told, ExceptionChainRepr) else [(told.reprtraceback, told.reprcrash)]
    for traceback, crash, *_ in chain:
        for entry in traceback.reprentries:
            entry.lines = [defused(line) for line in entry.lines]
        if crash is not None:
            crash.message = defused(crash.message)
    if told.reprcrash is not None:
        told.reprcrash.message = defused(told.reprcrash.message)


# -- hooks ------------------------------------------------------------------------------------------------


class Annotating:
    """Hooks of the process that has the terminal, where that is read by GitHub.

    ``notes`` are those of the terminal, which others have written as well.
    """

    def __init__(self, config: pytest.Config, notes: list[str], environment: Mapping[str, str]) -> None:
        self._root, self._notes = config.rootpath, notes
        self._workspace = Path(environment.get("GITHUB_WORKSPACE") or config.rootpath)
        self._found: dict[str, Annotation] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        entry = getattr(report, "llmperf", None)
        is_error = getattr(report, "llmperf_error", False)
        if entry is None and not is_error:
            return
        if isinstance(report.longrepr, str):
            report.longrepr = defused(report.longrepr)
        elif isinstance(report.longrepr, ExceptionChainRepr | ReprExceptionInfo):
            _defuse_traceback(report.longrepr)
        if entry is not None:
            report.llmperf = entry = defused_json(entry)  # type: ignore[attr-defined]
        self._found[report.nodeid] = self._annotation(report, None if entry is None else json.loads(entry))

    def _annotation(self, report: pytest.TestReport, entry: Mapping[str, Any] | None) -> Annotation:
        is_hindered = bool(getattr(report, "llmperf_hindered", False))
        said = str(report.longrepr or "") if report.failed else ""
        outcome = outcome_of(report.nodeid, entry, said, is_hindered)
        file, line, _ = report.location
        crash = getattr(report.longrepr, "reprcrash", None)
        own = crash.message if crash and outcome.word == "failed by itself" else ""
        return Annotation(outcome, self._file(file), (line or 0) + 1, report.failed, own)

    def _file(self, file: str) -> str:
        """As GitHub knows it: from the top of the checkout."""
        path = os.path.normpath(self._root / file)
        relative = os.path.relpath(path, self._workspace)
        return path if relative.startswith("..") else relative

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
        self._notes[:] = map(defused, self._notes)
        result = yield
        for line in commands(one for one in self._found.values() if one.outcome.word in _KINDS):
            terminalreporter.ensure_newline()
            terminalreporter.write_line(line)
        return result
