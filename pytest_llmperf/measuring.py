"""The hooks of the process that measures: the pytest process itself, or one xdist worker."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.budget import Budget
from pytest_llmperf.collect import MISTAKE, PLAN
from pytest_llmperf.errors import EngineError, Hindered, InvalidRun, StoreError
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.history import History, session_of
from pytest_llmperf.keep.result import TestResult
from pytest_llmperf.outputs import write_output
from pytest_llmperf.pytest_process import PARENT
from pytest_llmperf.report.benchmark import as_benchmarks
from pytest_llmperf.report.explain import explain
from pytest_llmperf.report.progress import Progress, duration
from pytest_llmperf.report.startup import startup_lines
from pytest_llmperf.report.step_summary import append_step_summary
from pytest_llmperf.session import PerformanceSession
from pytest_llmperf.turn import Turn, sides

_OURS = (EngineError, InvalidRun, StoreError)


class Measuring:
    """Measures, judges after each round, and hands the results on with the tests' reports."""

    def __init__(
        self,
        session: PerformanceSession,
        progress: Progress,
        notes: list[str],
        history: History | None = None,
    ) -> None:
        self.session, self._progress, self.notes, self._history = session, progress, notes, history
        self._budget = Budget(session.settings.budget_s)
        self._turn: Turn | None = None
        self._planned: list[pytest.Item] = []
        self._is_worker = False

    # -- rounds -------------------------------------------------------------------------------------

    def turns(self, number: int, items: Sequence[pytest.Item]) -> list[Turn]:
        """The turns of a round, which begins: those of one side together, since they share a launch."""
        order = sides(number, has_base=self.session.settings.against is not None)
        if not self._is_worker:
            self._foresee(number, items)
        elif number == 0 and items[0] is self._planned[0]:
            self._foresee(0, self._planned)
        elif number > 0:
            self._plan(number, items)
        self._budget.begin_round()
        return [Turn(number, side, item) for side in order for item in items]

    def _foresee(self, number: int, items: Sequence[pytest.Item]) -> None:
        """Say what is to come, as far as it is sure."""
        ends = {item: number + self._rounds_left(item, number) for item in items}
        most = {item: self.session.launches.most_rounds(item.stash[PLAN]) for item in items}
        self._progress.begin_round([item.nodeid for item in items], may_go_on=ends != most)
        self._plan(number, items)
        if number == 0 and len(items) > 1:
            least, largest = min(ends.values()), max(most.values())
            launches = f"{least} to {largest} launches" if least < largest else _launches(largest)
            self._progress.announce(f"{len(items)} tests to measure, in {launches}")

    def _plan(self, number: int, items: Sequence[pytest.Item]) -> None:
        turns = 2 if self.session.settings.against is not None else 1
        for item in items:
            left = turns * self._rounds_left(item, number)
            self._progress.plan(item.nodeid, item.stash[PLAN].expected_s, left)

    def _rounds_left(self, item: pytest.Item, number: int) -> int:
        """How many rounds of an item are sure to come, from this one on."""
        settings = self.session.settings
        first = settings.launches.first(compares=settings.update or settings.against is not None)
        return max(1, min(first, self.session.launches.most_rounds(item.stash[PLAN])) - number)

    def begin(self, turn: Turn) -> None:
        self._turn = turn
        self.session.launches.begin(turn.number, turn.side)

    def end(self, turn: Turn, *, is_over: bool) -> None:
        self._progress.end(turn.item.nodeid, is_over=is_over)
        if is_over and (result := self.session.results.get(turn.item.nodeid)):
            result.is_over = True

    def tolerates(self, turn: Turn, error: BaseException) -> bool:
        """A body that fails against the base decides nothing: what is tested is the candidate."""
        if turn.side == "candidate" or isinstance(error, (*_OURS, pytest.skip.Exception)):
            return False
        said = next(iter(str(error).splitlines()), "") or type(error).__name__
        self.session.note(
            f"{turn.item.nodeid}: its body failed against the base, which decides nothing; "
            f"what it measured until then counts: {said}"
        )
        return True

    def judge(self, number: int, items: Sequence[pytest.Item]) -> list[pytest.Item]:
        """Judge all tests of the session; returns those of ``items`` that are to be measured once more."""
        self.session.judge.judge(self.session.results.values(), self._family())
        if self.session.results:
            self.session.write_record("running")
        wanting = [item for item in items if self._wants_round(item, number)]
        if wanting and not self._budget.affords_another():
            self._tell_of_the_budget(number + 1, len(wanting))
            for item in wanting:
                self.session.results[item.nodeid].is_last_look = True
            self.session.judge.judge(self.session.results.values(), self._family())
            return []
        return wanting

    def _family(self) -> int:
        """About how many comparisons the session will have, under xdist, where one test is judged after the
        other. Else 0."""
        if not self._is_worker:
            return 0
        measured = [self.session.results.get(item.nodeid) for item in self._planned]
        if all(result is not None and result.points for result in measured):
            return 0
        points = [
            len(result.points) if result is not None and result.points else item.stash[PLAN].expected_points
            for item, result in zip(self._planned, measured, strict=True)
        ]
        return sum(points) * len(self.session.settings.gate)

    def _wants_round(self, item: pytest.Item, number: int) -> bool:
        result = self.session.results.get(item.nodeid)
        if result is None or not result.points:
            return False
        most = self.session.launches.most_rounds(item.stash[PLAN]) + result.replaced
        return result.wants_launch and number + 1 < most

    def _tell_of_the_budget(self, rounds: int, tests: int) -> None:
        launches = _launches(rounds)
        side = " a side" if self.session.settings.against is not None else ""
        self.session.note(
            f"the budget of {duration(self._budget.limit_s or 0.0)} has no time for more than "
            f"{launches}{side}: "
            f"{tests} test{'s' if tests > 1 else ''} would have had another"
        )

    def conclude(self, item: pytest.Item) -> None:
        """Raises what the verdict on a test means for it; accepts its baseline where that was asked for."""
        self._progress.plan(item.nodeid, None, 0)
        result = self.session.results.get(item.nodeid)
        if result is None or not (result.points or result.probed):
            pytest.fail("nothing was measured: the test never called llmperf(Workload(...))", pytrace=False)
        result.is_over = True
        if not result.points:
            _conclude_probes(result)
            return
        if result.verdict is Verdict.INVALID:
            raise InvalidRun(result.error)
        if result.error is not None:
            raise StoreError(result.error)
        if self.session.settings.update:
            self.session.judge.accept(result)
        failing = {Verdict.SLO_BROKEN, Verdict.REGRESSED}
        if self.session.settings.inconclusive == "fail":
            failing.add(Verdict.INCONCLUSIVE)
        if result.verdict in failing:
            pytest.fail(explain(result.as_json()), pytrace=False)

    # -- hooks --------------------------------------------------------------------------------------

    @pytest.hookimpl
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._is_worker = hasattr(session.config, "workerinput")
        self._planned = [item for item in session.items if PLAN in item.stash and MISTAKE not in item.stash]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if mistake := item.stash.get(MISTAKE, None):
            pytest.fail(mistake, pytrace=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, object, object]:
        try:
            return (yield)
        except (Exception, pytest.fail.Exception):
            if self._turn is None or self._turn.side == "candidate":
                self._judge_quietly(pyfuncitem)
            raise

    def _judge_quietly(self, item: pytest.Item) -> None:
        """A test that failed by itself says so itself; what it measured is still judged for the record."""
        result = self.session.results.get(item.nodeid) if PLAN in item.stash else None
        if result is not None and (result.points or result.probed):
            self.session.judge.judge(self.session.results.values())
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
        if call.excinfo is not None and isinstance(error := call.excinfo.value, _OURS):
            report.longrepr = self._tell(error, report.when)
            report.llmperf_error = True  # type: ignore[attr-defined]
            report.llmperf_hindered = isinstance(error, Hindered)  # type: ignore[attr-defined]
            if isinstance(error, EngineError):
                self._keep_failure(item, error)
            if result is not None:
                result.verdict = Verdict.INVALID if isinstance(error, InvalidRun) else Verdict.ERROR
                result.error = report.longrepr
        if report.when == "call" and result is not None:
            # As text, because that is what every transport between processes can carry.
            report.llmperf = json.dumps(result.as_json())  # type: ignore[attr-defined]
        return report

    def _keep_failure(self, item: pytest.Item, error: EngineError) -> None:
        """Record that an engine did not start, or failed while a test measured it, and on which side."""
        launches = self.session.launches
        is_base = launches.measures_base
        failure = {
            "test": item.nodeid,
            "side": "base" if is_base else "candidate",
            # A probe may have asked for another engine than its test's.
            "text": str(launches.asked or launches.subject(item.stash[PLAN])),
            "is_hindered": isinstance(error, Hindered),
            "error": str(error),
        }
        self.session.failures.append(failure)

    def _tell(self, error: BaseException, when: str | None) -> str:
        is_base = self._turn is not None and self._turn.side == "base"
        if not (is_base and isinstance(error, EngineError)):
            # A note is what Hypothesis adds: the example that it happened at.
            return "\n".join((str(error), *getattr(error, "__notes__", ())))
        return f"the base of the comparison {'did not start' if when == 'setup' else 'failed'}: {error}"

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        # The stop comes first, because what came of it is kept too, and keeping comes whatever the stop does.
        try:
            self.session.launches.close()
        finally:
            try:
                if self.session.results or self.session.failures:
                    self._keep(session, _status(session, exitstatus))
            finally:
                self._hand_on_notes(session.config)

    def _hand_on_notes(self, config: pytest.Config) -> None:
        if hasattr(config, "workeroutput"):
            config.workeroutput["llmperf_notes"] = self.notes

    def _keep(self, session: pytest.Session, status: str) -> None:
        content = self.session.as_json(status)
        self.notes += startup_lines(content["launches"])
        told = self._write(content)  # first as it is: what a hook makes of it may not be writable
        try:
            session.config.hook.pytest_llmperf_record(record=content)
            told = self._write(content)
        except Exception as error:
            self.notes.append(f"pytest_llmperf_record: {type(error).__name__}: {error}; recorded without it")
            content = self.session.as_json(status)
        if status == "interrupted":
            self.notes.append(self._how_far())
        self.notes.append(told)
        for name, said in self.session.settings.outputs.items():
            path = Path(os.path.normpath(session.config.invocation_params.dir / said))
            try:
                write_output(name, path, [content])
                self.notes.append(f"{name}: {path}{_emptiness(name, content)}")
            except StoreError as error:
                self.notes.append(f"--llmperf-{name}: {error}")
        self._remember(content)
        if not session.config.pluginmanager.has_plugin(PARENT):  # whose sessions have one answer together
            self.notes += append_step_summary([content], os.environ)

    def _how_far(self) -> str:
        """``interrupted: 2 of 3 tests were measured, 1 of them in part``: pytest reports none of them."""
        measured = [result for result in self.session.results.values() if result.points]
        partly = sum(not result.is_over for result in measured)
        part = ", in part" if partly == len(measured) else f", {partly} of them in part"
        tests, many = len(self._planned), len(measured)
        said = f"{many} of {tests} test{'s were' if tests != 1 else ' was'} measured"
        return f"interrupted: {said}{part if partly else ''}"

    def _remember(self, content: Mapping[str, Any]) -> None:
        """Add it to the history; where that fails nothing is lost, for it is in the record."""
        if self._history is None:
            return
        path = str(self.session.record.path)
        try:
            session = session_of(content, path)
            if session.results:  # a session that only probed has none
                self._history.add(session)
        except StoreError as error:
            self.notes.append(f"not in the history: {error}; llmperf history add {path} tries again")

    def _write(self, content: Mapping[str, Any]) -> str:
        """Keep it, and tell where. Without a measurement in it, it is not worth a directory of its own."""
        record, is_precious = self.session.record, bool(self.session.results)
        try:
            record.write(content, falls_back=is_precious)
        except StoreError as error:
            if is_precious:
                raise
            return f"no record of what failed: {error}"
        return f"record: {record.path}" + (f" ({record.failure})" if record.failure else "")

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        # Normally stopped by now; this is for a session that ended before it began to finish.
        self.session.launches.close()


def _emptiness(name: str, content: Mapping[str, Any]) -> str:
    """Why there is nothing in an output; empty where there is something."""
    if name != "benchmark-json" or as_benchmarks(content)["benchmarks"]:
        return ""
    return " (no benchmark in it: no measurement of the session is valid)"


def _launches(launches: int) -> str:
    """``1 launch``, ``3 launches``."""
    return f"{launches} launch{'es' if launches > 1 else ''}"


def _conclude_probes(result: TestResult) -> None:
    """A test that only probes, and did not fail by itself, has found nothing. Raises :class:`InvalidRun` if
    none of its probes says anything."""
    answers = result.probed["answers"]
    if not any(answers.get(one) for one in ("met", "broken", "undecided")):
        result.verdict = Verdict.INVALID
        told = ", ".join(f"{count} {answer}" for answer, count in answers.items())
        raise InvalidRun(f"none of its probes says anything about the engine: {told}")
    result.verdict = Verdict.PASS


def _status(session: pytest.Session, exitstatus: int) -> str:
    if exitstatus == pytest.ExitCode.INTERRUPTED:
        return "interrupted"
    if exitstatus == pytest.ExitCode.INTERNAL_ERROR:
        return "crashed"
    return "stopped" if session.shouldfail or session.shouldstop else "complete"
