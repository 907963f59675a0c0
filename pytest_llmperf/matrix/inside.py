"""The plugin of the pytest process that measures the cells of one subject: which they are, and their records.

A cell's record is written as soon as its last launch has been measured, and again with its verdict: whatever
ends the process, what is finished is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.collect import ACTIVE, PLAN
from pytest_llmperf.declare.grid import Cell, read_grid, slug
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.result import TestResult
from pytest_llmperf.matrix.records import Records, again
from pytest_llmperf.session import PerformanceSession

_CELLS = pytest.StashKey[list[Cell]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("matrix", "cells of a matrix; said by llmperf matrix")
    for name in ("grid", "name", "out", "cells"):
        group.addoption(f"--matrix-{name}", required=True)


@pytest.hookimpl
def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--matrix-cells").split(",")
    cells = [cell for cell in read_grid(Path(config.getoption("--matrix-grid"))).cells if cell.id in wanted]
    config.stash[_CELLS] = cells
    records = Records(Path(config.getoption("--matrix-out")))
    session = config.stash[ACTIVE].session
    if (terminal := config.pluginmanager.get_plugin("llmperf-terminal")) is not None:
        terminal.tells_always = True
    config.pluginmanager.register(Keeper(cells, records, session, config.getoption("--matrix-name")))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    cells = metafunc.config.stash[_CELLS]
    # The arrivals follow from a test's name, and are to be the same for every subject.
    metafunc.parametrize("cell", cells, ids=[slug(str(cell.workload)) for cell in cells])


class Keeper:
    """Hooks that keep the record of each cell."""

    def __init__(self, cells: list[Cell], records: Records, session: PerformanceSession, name: str) -> None:
        self._planned, self._records, self._session, self._name = cells, records, session, name
        self._cells: dict[str, Cell] = {}
        self._measured: Counter[str] = Counter()
        self._entries: dict[str, Mapping[str, Any]] = {}

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """What cannot be collected, as an engine that nobody knows, is what came of all cells."""
        if report.failed:
            for cell in self._planned:
                self._write(cell, self._failure(cell, str(report.longrepr)))

    @pytest.hookimpl
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if isinstance(item, pytest.Function):
                self._cells[item.nodeid] = item.callspec.params["cell"]  # type: ignore[assignment]

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        cell = self._cells[pyfuncitem.nodeid]
        # What would repeat it, for those who explain it.
        self._session.results[pyfuncitem.nodeid].command = again(self._name, cell)
        outcome = yield
        nodeid, launches = pyfuncitem.nodeid, pyfuncitem.stash[PLAN].settings.launches
        self._measured[nodeid] += 1
        if launches.are_fixed and self._measured[nodeid] == launches.most:
            self._session.judge.judge(self._session.results.values())
            self._keep(nodeid, self._session.results[nodeid].as_json())
        return outcome

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if (text := getattr(report, "llmperf", None)) is not None:
            self._keep(report.nodeid, judged(json.loads(text), report))
        elif report.failed and report.when == "setup":
            self._keep(report.nodeid, self._failure(self._cells[report.nodeid], str(report.longrepr)))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        # Once more, because what the machine tells of a launch is complete when it has been stopped.
        for nodeid, entry in self._entries.items():
            self._write(self._cells[nodeid], entry)

    def _keep(self, nodeid: str, entry: Mapping[str, Any]) -> None:
        self._entries[nodeid] = entry
        self._write(self._cells[nodeid], entry)

    def _write(self, cell: Cell, entry: Mapping[str, Any]) -> None:
        self._records.write(cell, self._session.as_json("complete"), entry, self._name)

    def _failure(self, cell: Cell, why: str) -> dict[str, Any]:
        failed = TestResult(slug(str(cell.workload)), cell.slo, subject_text=str(cell.subject))
        failed.verdict, failed.error = Verdict.ERROR, why
        return {**failed.as_json(), "workload": str(cell.workload)}


def judged(entry: Mapping[str, Any], report: pytest.TestReport) -> Mapping[str, Any]:
    """The entry of a test that has ended; what its body raised, as nobody else would, is an error."""
    if not report.failed or entry["verdict"] not in (Verdict.NOT_JUDGED, Verdict.FAILED_BY_ITSELF):
        return entry
    crash = getattr(report.longrepr, "reprcrash", None)
    return {**entry, "verdict": str(Verdict.ERROR), "error": str(crash.message if crash else report.longrepr)}
