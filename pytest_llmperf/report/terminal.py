"""The terminal: the progress line, the tables after the run, the words for errors of the engine's making."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_llmperf.report.drift import course_lines
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.judged import (
    changes,
    is_side_by_side,
    limits,
    short_change_line,
    short_limit_line,
    without_left_out,
)
from pytest_llmperf.report.light import light_lines, price_lines
from pytest_llmperf.report.notes import notes
from pytest_llmperf.report.overview import FINE, ORDER, by_verdict, overview, total, trimmed
from pytest_llmperf.report.plain import show_plainly
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.progress import Pulse, Told
from pytest_llmperf.report.row import Row
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.table import CHANGE_MARKS, LEGEND, SLO_BROKEN, SLO_MARKS, fitted_table, no_room
from pytest_llmperf.report.width import squeezed, width_of, wrapped

Entry = Mapping[str, Any]
MARKUP = {
    "pass": {"green": True},
    "improved": {"green": True},
    "inconclusive": {"yellow": True},
    "not judged": {"yellow": True},
}
_EXPLAINED = ("inconclusive", SLO_BROKEN, "regressed")
# A figure that is not as it should be, and one that is better, as they stand in tables.
_MARKED = re.compile(r"(?<!\S)([~+\-$\d]\S*)([✗?▲])(?!\S)")
_COLOURS = {"✗": "red", "?": "yellow", "▲": "green"}
_FEW, _TABLES = 2, 3
"""So many tests are shown in full, and of more so many tables, where something is wrong."""


class Terminal:
    """Collects the entries that come with test reports and shows them in the end."""

    tells_always = False
    """Progress is shown to the quiet as well."""

    def __init__(self, config: pytest.Config) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._config = config
        self._row, self._pulse = Row(), Pulse()
        self._began = time.monotonic()
        self._width: int | None = None
        self._left_out: dict[str, None] = {}

    # -- progress -----------------------------------------------------------------------------------

    def write_progress(self, told: Told, transient: bool) -> None:
        """A line of progress: in place on a terminal that nobody else writes to; elsewhere one of its own for
        what stays, and now and then a sign of life. None with ``-q``."""
        reporter = self._reporter()
        if reporter is None or (self._config.get_verbosity() < 0 and not self.tells_always):
            return
        if self._changes_in_place(reporter):
            with self._uncaptured():
                self._row.show(sys.stdout, told, "  ")
        elif self._pulse.beats(is_transient=transient):
            with self._uncaptured():
                reporter.ensure_newline()
                if reporter._tw.width_of_current_line:
                    reporter._tw.line()
                reporter.write_line(f"  llmperf: {told}")
                reporter._tw.flush()

    def clear_progress(self) -> None:
        """Give the line back as it was before progress was written over it."""
        if (reporter := self._reporter()) is not None:
            with self._uncaptured():
                # Not through the reporter, which would count it as part of its own line.
                self._row.clear(sys.stdout, getattr(reporter._tw, "_current_line", ""))

    def _changes_in_place(self, reporter: pytest.TerminalReporter) -> bool:
        """Not where what tests print, or log, comes in between."""
        config, is_shared = self._config, self._config.getoption("capture", "no") == "no"
        if config.pluginmanager.has_plugin("logging-plugin"):
            is_shared |= bool(config.getoption("log_cli_level") is not None or config.getini("log_cli"))
        return bool(reporter.isatty) and not is_shared and os.environ.get("TERM") != "dumb"

    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()

    # -- hooks --------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_sessionstart(self) -> None:
        if (reporter := self._reporter()) is not None:
            show_plainly(reporter._tw._file)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self.clear_progress()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.clear_progress()
        entry = getattr(report, "llmperf", None)
        if entry is not None:
            self.entries[report.nodeid] = dict(without_left_out(json.loads(entry)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.failed and getattr(report, "llmperf_error", False):
            return "error", "E", "ERROR"
        return None

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        self.clear_progress()

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.notes += getattr(node, "workeroutput", {}).get("llmperf_notes", [])

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        self.clear_progress()
        if not (self.entries or self.notes):
            return
        terminalreporter.write_sep("=", "llmperf")
        self._width = width_of(terminalreporter._tw._file)
        verbosity, entries = self._config.get_verbosity(), list[Entry](self.entries.values())
        if verbosity > 0 or (verbosity == 0 and len(entries) <= _FEW):
            for entry in entries:
                self._write_entry(terminalreporter, entry)
        else:
            entries = [*self._write_overview(terminalreporter, verbosity)]
        if any(entry["points"] for entry in entries):
            is_compared = any(point["changes"] for entry in entries for point in entry["points"])
            for line in LEGEND if is_compared else LEGEND[:1]:
                self._say(terminalreporter, line)
        if self._left_out:
            self._say(terminalreporter, no_room(self._left_out))
        for note in self.notes:
            terminalreporter.write_line(printable(note))
        if len(self.entries) > 1:
            self._write_total(terminalreporter)

    def _write_overview(self, terminal: pytest.TerminalReporter, verbosity: int) -> Sequence[Entry]:
        """A line for each test, only for those with trouble where it is to be very quiet; below it the table
        of the first few of those. Returns those with a table."""
        entries = by_verdict(self.entries.values())
        shown = [entry for entry in entries if verbosity > -2 or entry["verdict"] not in FINE]
        wrong = [entry for entry in shown if entry["verdict"] in _EXPLAINED] if verbosity == 0 else []
        longest = max((len(entry["verdict"]) for entry in shown), default=0)
        for entry, (verdict, line) in zip(shown, overview(shown, self._width), strict=True):
            terminal.write(verdict.ljust(longest), **_markup(verdict))
            terminal.write_line(f"  {line}")
            if any(entry is one for one in wrong[:_TABLES]):
                self._write_trouble(terminal, entry)
        return wrong[:_TABLES]

    def _write_trouble(self, terminal: pytest.TerminalReporter, entry: Entry) -> None:
        worst, others = trimmed(entry)
        for line in self._table(worst, 4):
            self._write_marked(terminal, f"    {line}")
        if others and worst["points"]:
            self._say(terminal, f"    and {others} other load point{'s' if others > 1 else ''}: see -v")

    def _write_total(self, terminal: pytest.TerminalReporter) -> None:
        verdicts = {entry["verdict"] for entry in self.entries.values()}
        worst = max(verdicts, key=ORDER.index)
        for line in wrapped(f"llmperf: {total(list(self.entries.values()), self._seconds())}", self._width):
            terminal.write_line(line, **_markup(worst))

    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _write_entry(self, terminal: pytest.TerminalReporter, entry: Entry) -> None:
        verdict = entry["verdict"]
        name = printable(entry["test"])
        if self._width is not None:
            name = squeezed(name, self._width - len(verdict) - 2)
        terminal.write(f"{name}  ")
        terminal.write(verdict, **_markup(verdict))
        terminal.write_line("")
        self._say(terminal, f"  {headline(entry)}")
        for line in self._table(entry, 2):
            self._write_marked(terminal, f"  {line}")
        for line in (*light_lines(entry), *price_lines(entry), *sweep_lines(entry), *probe_lines(entry)):
            self._say(terminal, f"  {line}")
        for note in (*notes(entry), *(f"left out: {problem}" for problem in entry["left_out"])):
            self._say(terminal, f"  note: {note}")
        if self._config.get_verbosity() >= 2:
            for line in details(entry):
                self._say(terminal, f"  {line}")
        if verdict == "inconclusive":
            terminal.write_line("")
            for line in explain(entry).split("\n"):
                self._say(terminal, f"  {line}")
        elif entry["baseline"]:
            title = "" if is_side_by_side(entry) else "baseline: "
            self._say(terminal, f"  {title}{entry['baseline']}")
        terminal.write_line("")

    def _table(self, entry: Entry, margin: int) -> list[str]:
        lines, left_out = fitted_table(entry, None if self._width is None else self._width - margin)
        self._left_out.update(dict.fromkeys(left_out))
        return lines

    def _say(self, terminal: pytest.TerminalReporter, text: str) -> None:
        for line in wrapped(printable(text), self._width):
            terminal.write_line(line)

    @staticmethod
    def _write_marked(terminal: pytest.TerminalReporter, line: str) -> None:
        """A row of a table; what stands out in it, does."""
        for part in re.split(r"( {2,})", line):
            found = _MARKED.fullmatch(part)
            terminal.write(part, **({_COLOURS[found[2]]: True} if found else {}))
        terminal.write_line("")


def _markup(verdict: str) -> dict[str, bool]:
    return {**MARKUP.get(verdict, {"red": True}), "bold": True}


def details(entry: Entry) -> list[str]:
    """Every limit with its interval and margin, every comparison with its interval and its chance of
    being worse than the tolerance, and how the accepted baselines went."""
    return [
        *(short_limit_line(*found) for found in limits(entry, *SLO_MARKS) if not _is_plain(found[1])),
        *(short_change_line(*found) for found in changes(entry, *CHANGE_MARKS)),
        *(line for point in entry["points"] for line in course_lines(point)),
    ]


def _is_plain(objective: Mapping[str, Any]) -> bool:
    """That nothing failed where nothing may is no news."""
    return bool(objective["limit"] == 0 and objective["verdict"] == "pass")


def headline(entry: Mapping[str, Any]) -> str:
    """The subject, its version, what it was measured beside, the workload if there is only one, and the
    evidence."""
    workloads = {point["workload"] for point in entry["points"]}
    launches = f"{entry['launches']} launch{'es' if entry['launches'] != 1 else ''}"
    parts = [entry["subject"]["text"], entry["subject"]["fields"].get("version", "")]
    if is_side_by_side(entry):
        base = entry["compared_with"]
        version = base["fields"].get("version", "")
        told = base["text"] if version in base["text"] else f"{base['text']} {version}"
        parts.append(f"against {told}, side by side")
        launches = f"{base['launches']} + {entry['launches']} launches"
    if entry["points"]:
        parts += [*(workloads if len(workloads) == 1 else ()), launches]
    return " · ".join(filter(None, parts))
