"""The terminal: the progress line, the tables after the run, the words for errors of the engine's making."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
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
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.table import CHANGE_MARKS, LEGEND, SLO_MARKS, table

MARKUP = {
    "pass": {"green": True},
    "improved": {"green": True},
    "inconclusive": {"yellow": True},
    "not judged": {"yellow": True},
}


class Terminal:
    """Collects the entries that come with test reports and shows them in the end."""

    def __init__(self, config: pytest.Config) -> None:
        self.entries: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._config = config
        self._shown_width = 0

    def write_progress(self, text: str, transient: bool) -> None:
        """A line of progress: in place on a terminal, a line of its own elsewhere; none with ``-q``."""
        reporter = self._reporter()
        if reporter is None or self._config.get_verbosity() < 0 or (transient and not reporter.isatty):
            return
        with self._uncaptured():
            if reporter.isatty:
                shown = f"  {text}"[: reporter._tw.fullwidth - 1]
                self._overwrite(shown.ljust(self._shown_width))
                self._shown_width = len(shown)
            else:
                reporter.ensure_newline()
                if reporter._tw.width_of_current_line:
                    reporter._tw.line()
                reporter.write_line(f"  llmperf: {text}")

    def clear_progress(self) -> None:
        """Give the line back as it was before progress was written over it."""
        if self._shown_width and (reporter := self._reporter()) is not None:
            with self._uncaptured():
                self._overwrite(" " * self._shown_width)
                self._overwrite(getattr(reporter._tw, "_current_line", ""))
            self._shown_width = 0

    def _reporter(self) -> pytest.TerminalReporter | None:
        reporter: pytest.TerminalReporter | None = self._config.pluginmanager.get_plugin("terminalreporter")
        return reporter

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        return capture.global_and_fixture_disabled() if capture else contextlib.nullcontext()

    @staticmethod
    def _overwrite(line: str) -> None:
        # Not through the reporter, which would count it as part of its own line.
        sys.stdout.write(f"\r{line}")
        sys.stdout.flush()

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
        for entry in self.entries.values():
            self._write_entry(terminalreporter, entry)
        if any(entry["points"] for entry in self.entries.values()):
            for line in LEGEND:
                terminalreporter.write_line(line)
        for note in self.notes:
            terminalreporter.write_line(note)

    def _write_entry(self, terminal: pytest.TerminalReporter, entry: dict[str, Any]) -> None:
        terminal.write(f"{entry['test']}  ")
        terminal.write(entry["verdict"], **MARKUP.get(entry["verdict"], {"red": True}), bold=True)
        terminal.write_line(f"\n  {headline(entry)}")
        for line in (*table(entry), *light_lines(entry), *price_lines(entry)):
            terminal.write_line(f"  {line}")
        for line in (*sweep_lines(entry), *probe_lines(entry)):
            terminal.write_line(f"  {line}")
        for note in (*notes(entry), *(f"left out: {problem}" for problem in entry["left_out"])):
            terminal.write_line(f"  note: {note}")
        if self._config.get_verbosity() >= 1:
            for line in details(entry):
                terminal.write_line(f"  {line}")
        if entry["verdict"] == "inconclusive":
            terminal.write_line("")
            for line in explain(entry).splitlines():
                terminal.write_line(f"  {line}")
        elif entry["baseline"]:
            title = "" if is_side_by_side(entry) else "baseline: "
            terminal.write_line(f"  {title}{entry['baseline']}")
        terminal.write_line("")


def details(entry: Mapping[str, Any]) -> list[str]:
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
