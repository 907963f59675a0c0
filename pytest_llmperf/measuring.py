"""The hooks of the process that measures: the pytest process itself, or one xdist worker."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from pytest_llmperf.collect import MISTAKE, PLAN
from pytest_llmperf.errors import EngineError, InvalidRun, StoreError
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.files import write_json
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.report.startup import startup_lines
from pytest_llmperf.rounds import Rounds
from pytest_llmperf.session import PerformanceSession


class Measuring:
    """Judges each test when its body has ended, and hands the results on with its reports."""

    def __init__(
        self, session: PerformanceSession, rounds: Rounds, progress: Progress, notes: list[str]
    ) -> None:
        self.session, self._rounds, self._progress, self.notes = session, rounds, progress, notes

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if mistake := item.stash.get(MISTAKE, None):
            pytest.fail(mistake, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        try:
            outcome = yield
        except (Exception, pytest.fail.Exception):
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
        self.session.judge.judge(self.session.results.values())
        if result.verdict is Verdict.INVALID:
            raise InvalidRun(result.error)
        if self.session.settings.update:
            self.session.judge.accept(result)
        failing = {Verdict.SLO_BROKEN, Verdict.REGRESSED}
        if self.session.settings.inconclusive == "fail":
            failing.add(Verdict.INCONCLUSIVE)
        if result.verdict in failing:
            pytest.fail(explain(result.as_json()), pytrace=False)

    def _judge_quietly(self, item: pytest.Item) -> None:
        """A test that failed by itself says so itself; what it measured is still judged for the record."""
        result = self.session.results.get(item.nodeid) if PLAN in item.stash else None
        if result is not None and result.points:
            self.session.judge.judge([result])
            if result.error is None:
                result.verdict = Verdict.FAILED_BY_ITSELF

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
                is_invalid = isinstance(call.excinfo.value, InvalidRun)
                result.verdict = Verdict.INVALID if is_invalid else Verdict.ERROR
                result.error = str(call.excinfo.value)
        if report.when == "call" and result is not None:
            # As text, because that is what every transport between processes can carry.
            report.llmperf = json.dumps(result.as_json())  # type: ignore[attr-defined]
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        # The stop comes first, because what came of it is kept too, and keeping comes whatever the stop does.
        try:
            self.session.close()
        finally:
            try:
                if self.session.results:
                    self._keep(session, _status(session, exitstatus))
            finally:
                self._hand_on_notes(session.config)

    def _hand_on_notes(self, config: pytest.Config) -> None:
        if hasattr(config, "workeroutput"):
            config.workeroutput["llmperf_notes"] = self.notes

    def _keep(self, session: pytest.Session, status: str) -> None:
        record = self.session.record
        content = self.session.as_json(status)
        record.write(content)  # first as it is: what a hook makes of it may not be writable
        try:
            session.config.hook.pytest_llmperf_record(record=content)
            record.write(content)
        except Exception as error:
            self.notes.append(f"pytest_llmperf_record: {type(error).__name__}: {error}; recorded without it")
            content = self.session.as_json(status)
        self.notes += startup_lines(content["launches"])
        self.notes.append(f"record: {record.path}" + (f" ({record.failure})" if record.failure else ""))
        if self.session.settings.json_path is not None:
            try:
                path = Path(session.config.invocation_params.dir, self.session.settings.json_path)
                write_json(path.resolve(), content)  # what a link points to, and not the link
            except StoreError as error:
                self.notes.append(f"--llmperf-json: {error}")

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        # Normally stopped by now; this is for a session that ended before it began to finish.
        self.session.close()


def _status(session: pytest.Session, exitstatus: int) -> str:
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return "interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "crashed"
    return "stopped" if session.shouldfail or session.shouldstop else "complete"
