"""The hooks of the process that measures: the pytest process itself, or one xdist worker."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.collect import PLAN
from pytest_llmperf.errors import EngineError, InvalidRun, StoreError
from pytest_llmperf.keep.files import write_json
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.rounds import Rounds
from pytest_llmperf.session import PerformanceSession


class Measuring:
    """Judges each test when its body has ended, and hands the results on with its reports."""

    def __init__(
        self, session: PerformanceSession, rounds: Rounds, progress: Progress, notes: list[str]
    ) -> None:
        self.session, self._rounds, self._progress, self.notes = session, rounds, progress, notes
        self._interrupted = False

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        try:
            outcome = yield
        except Exception:
            self._progress.end(pyfuncitem.nodeid, is_over=True)
            self._judge_quietly(pyfuncitem)
            raise
        self._progress.end(pyfuncitem.nodeid, is_over=False)
        if PLAN in pyfuncitem.stash and self._rounds.is_last:
            self._judge(pyfuncitem)
        return outcome

    def _judge(self, item: pytest.Item) -> None:
        nodeid = item.nodeid
        result = self.session.results.get(nodeid)
        if result is None or not result.points:
            pytest.fail("nothing was measured: the test never called llmperf(Workload(...))", pytrace=False)
        self.session.judge(nodeid)
        failing = {"slo broken", "regressed"}
        if self.session.settings.inconclusive == "fail":
            failing.add("inconclusive")
        if result.verdict in failing:
            pytest.fail(explain(result.as_json()), pytrace=False)

    def _judge_quietly(self, item: pytest.Item) -> None:
        """A test that failed by itself says so itself; what it measured is still judged for the record."""
        result = self.session.results.get(item.nodeid) if PLAN in item.stash else None
        if result is not None and result.points:
            try:
                self.session.judge(item.nodeid, accepting=False)
                result.verdict = "failed by itself"
            except (InvalidRun, StoreError) as error:
                result.error = str(error)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if PLAN not in item.stash:
            return report
        result = self.session.results.get(item.nodeid)
        if call.excinfo is not None and isinstance(call.excinfo.value, EngineError | InvalidRun | StoreError):
            report.longrepr = str(call.excinfo.value)
            report.llmperf_error = True  # type: ignore[attr-defined]
            if result is not None:
                result.verdict, result.error = "error", str(call.excinfo.value)
        if report.when == "call" and result is not None:
            # As text, because that is what every transport between processes can carry.
            report.llmperf = json.dumps(result.as_json())  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self) -> None:
        self._interrupted = True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        interrupted = self._interrupted or exitstatus == pytest.ExitCode.INTERRUPTED
        record = self.session.finish(interrupted=interrupted)
        if record is not None:
            config = session.config
            config.hook.pytest_llmperf_record(record=record)
            self._keep(record, Path(config.invocation_params.dir))
            if hasattr(config, "workeroutput"):
                config.workeroutput["llmperf_notes"] = self.notes

    def _keep(self, record: dict[str, Any], base: Path) -> None:
        path, failure = self.session.store.write_record(record)
        self.notes.append(f"record: {path}" + (f" ({failure})" if failure else ""))
        if self.session.settings.json_path is not None:
            try:
                write_json(base / self.session.settings.json_path, record)
            except StoreError as error:
                self.notes.append(f"--llmperf-json: {error}")

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        # Normally stopped by now; this is for a session that ended before it began to finish.
        self.session.stop_launch()
