"""One session's loop: start what is needed next, measure, judge, keep.

The only place that knows all rooms.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import EngineError, InvalidRun
from pytest_llmperf.judge.change import Change, compare
from pytest_llmperf.judge.objective import Objective, judge_limit
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.environment import differences, environment
from pytest_llmperf.keep.record import KIND, VERSION, RecordFile, Store, now
from pytest_llmperf.keep.result import PointResult, Run, TestResult
from pytest_llmperf.keep.subject import subject_fields
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.load.schedule import seed_of
from pytest_llmperf.load.warmup import warm_up
from pytest_llmperf.measure.measurement import Measurement, Measurements
from pytest_llmperf.measure.metrics import is_supported, summarise, uncertainty
from pytest_llmperf.measure.timeline import Timeline
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.places.url import ExistingServer


class Listener(Protocol):
    """Who is told what is going on (the progress line)."""

    def phase(self, text: str, expected_s: float | None = None) -> None: ...
    def tick(self, sent: int, ended: int) -> None: ...
    def waiting(self, elapsed_s: float, line: str) -> None: ...
    def begin(self, test: str) -> None: ...


class PerformanceSession:
    """The measurements of one pytest session: launches, results and their record."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        engines: Mapping[str, Engine],
        place: Place,
        listener: Listener,
        command: Callable[[str], Sequence[str]],
        note: Callable[[str], None] = lambda text: None,
        baselines: Baselines | None = None,
    ) -> None:
        """``place`` is where engines are started; ``command`` returns what a person would type to run a test
        again; ``note`` takes what a person has to know in the end; ``baselines`` are compared with, else
        those of the store."""
        self.settings = settings
        self._command, self._note = command, note
        self.store = Store(Path(os.path.normpath(root / settings.directory)))
        self.results: dict[str, TestResult] = {}
        self._engines, self._place, self._listener = engines, place, listener
        self._launch: Launch | None = None
        self._round = 0
        self._launched: list[dict[str, Any]] = []
        self._broken: dict[tuple[Subject, int], EngineError] = {}
        self._baselines = baselines or Baselines(self.store.baselines)
        self._started = now()
        self.record = RecordFile(self.store, self._started)

    # -- launches -----------------------------------------------------------------------------------

    def begin_round(self, number: int) -> None:
        """From here on tests are measured in their launch ``number`` (0, 1, …)."""
        self._round = number

    def launch(self, subject: Subject) -> Launch:
        """The running launch of this subject and round; started, after stopping another, if need be.

        One that died or hangs since an earlier test, which was told, is started anew. Raises
        :class:`EngineError`; a subject that failed to start is not tried again in this round.
        """
        current = self._launch
        if current and (current.subject, current.number) == (subject, self._round) and current.is_answering():
            return current
        if failed := self._broken.get((subject, self._round)):
            raise EngineError(f"{failed}\n(not tried again for this test)")
        self.stop_launch()
        stamp = f"{self.record.path.stem}-{subject.engine}-launch{len(self._launched) + 1}"
        self._listener.phase(f"starting {subject}")
        log = self.store.logs() / f"{stamp}.log"
        try:
            self._launch = Launch(
                self._round,
                subject,
                self._engines[subject.engine],
                self.settings.model,
                place=ExistingServer() if subject.url is not None else self._place,
                log=log,
                startup_timeout_s=self.settings.startup_timeout_s,
                request_timeout_s=self.settings.request_timeout_s,
                workers=self.settings.workers,
                waiting=self._listener.waiting,
                watch=self._listener.tick,
            )
        except EngineError as error:
            self._broken[subject, self._round] = error
            raise
        self._note_launch(self._launch)
        return self._launch

    def stop_launch(self) -> None:
        """Stop the running engine, if there is one."""
        if self._launch is not None:
            launch, self._launch = self._launch, None
            self._listener.phase(f"stopping {launch.subject}")
            try:
                launch.stop()
            finally:
                self._launched[-1]["hardware"] |= launch.server.hardware()

    def close(self) -> None:
        """Stop the running engine, and give back what is kept from one to the next."""
        try:
            self.stop_launch()
        finally:
            self._place.close()

    def _note_launch(self, launch: Launch) -> None:
        entry: dict[str, Any] = {
            "launch": self._launch_number(launch),
            "started": now().isoformat(timespec="seconds"),
            "subject": subject_fields(launch.subject, launch.description),
            "text": str(launch.subject),
            "startup_s": launch.startup_s,
            "log": str(launch.log) if launch.startup_s else None,
            "hardware": {},
        }
        self._launched.append(entry)
        entry["hardware"] = dict(launch.server.hardware())
        entry["disturbances"] = self._disturbances(launch)

    def _disturbances(self, launch: Launch) -> list[str]:
        """What disturbs the measurements of this launch, or did since the last call; the person is told."""
        found = launch.server.disturbances()
        for text in found:
            self._note(f"{launch.subject}: {text}")
        return found

    # -- measuring ----------------------------------------------------------------------------------

    def prepare(self, nodeid: str, plan: Plan) -> Launch:
        """Have the test's engine running and its baseline readable, before its body runs."""
        self._listener.begin(nodeid)
        launch = self.launch(plan.subject)
        result = self.results.setdefault(nodeid, TestResult(nodeid, plan.slo, self._command(nodeid)))
        result.discard_round(self._round + 1)
        result.subject = subject_fields(plan.subject, launch.description)
        result.subject_text = str(plan.subject)
        model = launch.model if plan.subject.url is None else launch.description.model
        here = environment(launch.place.name, model, launch.server.environment())
        if result.points and (others := differences(result.environment, here)):
            raise InvalidRun(
                "its launches are from unlike environments, which are never put together: "
                f"{'; '.join(others)}"
            )
        result.environment = here
        result.tolerances = plan.tolerances
        self._baselines.find(nodeid, result.environment)
        return launch

    def measure(self, nodeid: str, plan: Plan, workload: Workload, call: Sweep) -> Measurements:
        """Measure every load point of a call in the current launch."""
        launch = self._launch
        if launch is None or launch.subject != plan.subject:
            raise EngineError(f"{plan.subject} does not run; was llmperf() called after its test ended?")
        launch.check_alive()
        measured = []
        for point in plan.points(call):
            run = self._measure_point(launch, nodeid, plan, workload, point)
            self.results[nodeid].add(workload, point, run)
            self.write_record("running")
            measured.append(run.measurement)
        return Measurements(measured)

    def _measure_point(
        self, launch: Launch, nodeid: str, plan: Plan, workload: Workload, point: LoadPoint
    ) -> Run:
        name = nodeid.rpartition("::")[2]
        rounds = self.settings.launches.first(compares=False)
        of = f"round {self._round + 1} of {rounds}, " if rounds > 1 else ""
        self._listener.phase(f"{name}: {of}warming up at {point.label}")
        is_reset = launch.engine.reset_cache(launch.control)
        warmth = warm_up(launch.client, workload, point)
        if not warmth.medians_ms:
            launch.check_answering()
        seed = seed_of(nodeid, str(workload), point.key)
        for attempt in (1, 2):
            again = " (again: the load generator was late)" if attempt == 2 else ""
            self._listener.phase(f"{name}: {of}measuring at {point.label}{again}", point.expected_s)
            driven = launch.client.run(workload, point, seed, warmth.latency_s)
            if not driven.health.is_late:
                break
        disturbances = self._disturbances(launch)
        timeline = Timeline.of(driven.traces, driven.started_ns, point.scheduled_s)
        if timeline.errors:
            launch.check_answering()
        startup_s = launch.startup_s["first_answer"] if launch.startup_s else None
        measurement = Measurement(
            workload=workload,
            point=point,
            requests=timeline.requests,
            values=summarise(timeline, plan.slo, startup_s),
            uncertainty=uncertainty(timeline),
            errors=timeline.errors,
            health=driven.health,
            percentile=self.settings.percentile,
        )
        return Run(
            self._launch_number(launch),
            self._round + 1,
            measurement,
            dataclasses.asdict(warmth),
            driven.counters,
            driven.moments,
            is_reset,
            attempt,
            disturbances,
        )

    def _launch_number(self, launch: Launch) -> int:
        """A server that we cannot start again is one launch, however often it is measured."""
        return self._round + 1 if launch.startup_s else 1

    # -- judging ------------------------------------------------------------------------------------

    def judge(self, nodeid: str, *, accepting: bool = True) -> TestResult:
        """Judge a test on all its launches, and accept its baseline where that was asked for.

        The result says ``pass``, ``slo broken``, ``regressed`` or ``inconclusive``. Raises
        :class:`InvalidRun` if the measurement says nothing about the engine.
        """
        result = self.results[nodeid]
        problems = [problem for point in result.points.values() for problem in point.problems]
        if problems:
            result.verdict = Verdict.INVALID
            failed = [
                f"  {count} requests failed, {example}"
                for point in result.points.values()
                for run in point.runs
                for count, example in run.measurement.errors.values()
            ]
            result.error = "\n".join(("the measurement is invalid:", *(f"  {p}" for p in problems), *failed))
            raise InvalidRun(result.error)
        for point in result.points.values():
            point.objectives, point.changes = _objectives(point, result), {}
        baseline = self._baselines.find(nodeid, result.environment)
        if baseline is not None:
            self._compare(result, baseline)
        else:
            result.baseline = _not_compared(self._baselines.elsewhere(nodeid, result.environment))
        result.verdict = _overall(result, ignoring_changes=self.settings.update)
        must_compare = self.settings.inconclusive == "fail" and not self.settings.update
        if must_compare and not result.is_compared and result.verdict in (Verdict.PASS, Verdict.IMPROVED):
            result.verdict = Verdict.INCONCLUSIVE
        if self.settings.update and accepting:
            self._accept(result, baseline)
        return result

    def _compare(self, result: TestResult, baseline: Baseline) -> None:
        result.subject_differences = differences(baseline.subject, result.subject)
        missing: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for key, point in result.points.items():
            known = baseline.points.get(key)
            if known is None:
                missing[point.point.label] = None
                continue
            for metric in self.settings.gate:
                if not _is_known(metric, point):
                    unknown[f"{metric.label} at {point.point.label}"] = None
                elif change := _change(metric, baseline, key, point, result.tolerances.of(metric)):
                    point.changes[metric] = change
                elif point.values(metric) and metric.name not in known:
                    missing[metric.label] = None
        result.baseline = (
            f"compared with {baseline.subject_text}, accepted {baseline.accepted[:10]}, "
            f"{baseline.launches} launch{'es' if baseline.launches != 1 else ''}"
            + (f"; not in it: {', '.join(missing)}" if missing else "")
            + (f"; too few requests for {', '.join(unknown)}" if unknown else "")
        )
        result.is_compared = not missing

    def _accept(self, result: TestResult, before: Baseline | None) -> None:
        if result.verdict is Verdict.SLO_BROKEN:
            result.baseline += "; not accepted as a baseline, because the SLO is broken"
            return
        kept = {*self.settings.gate, *(limit.key for limit in result.slo.limits)}
        accepted = Baseline(
            test=result.nodeid,
            accepted=now().isoformat(timespec="seconds"),
            environment=result.environment,
            subject=result.subject,
            subject_text=result.subject_text,
            points={
                key: {metric.name: values for metric in sorted(kept) if (values := point.values(metric))}
                for key, point in result.points.items()
            },
            uncertainty={
                key: {
                    m.name: known
                    for m in sorted(kept)
                    if m.metric.per == "request" and (known := point.uncertainty(m))
                }
                for key, point in result.points.items()
            },
        )
        path = self._baselines.path(result.nodeid, result.environment)
        gone = [key for key in before.points if key not in accepted.points] if before else []
        decided = {
            (key, metric.name)
            for key, point in result.points.items()
            for metric, change in point.changes.items()
            if change.verdict in (Verdict.REGRESSED, Verdict.IMPROVED)
        }
        accepted.grown_from(before, decided).write(path)
        result.baseline = f"accepted as the new baseline: {path}" + (
            f"; no longer in it, because not measured now: {'; '.join(gone)}" if gone else ""
        )

    # -- keeping ------------------------------------------------------------------------------------

    def as_json(self, status: str) -> dict[str, Any]:
        """The session's record.

        ``status`` is ``running`` until it is ``complete``, ``stopped`` (by -x, say), ``interrupted`` or
        ``crashed``.
        """
        settings = self.settings
        return {
            KIND: VERSION,
            "status": status,
            "started": self._started.isoformat(timespec="seconds"),
            "written": now().isoformat(timespec="seconds"),
            "versions": {
                "pytest-llmperf": importlib.metadata.version("pytest-llmperf"),
                "python": platform.python_version(),
            },
            "settings": {
                "launches": str(settings.launches),
                "tolerance": str(settings.tolerances),
                "gate": [key.name for key in settings.gate],
                "percentile": settings.percentile,
                "request_timeout_s": settings.request_timeout_s,
            },
            "launches": self._launched,
            "tests": [result.as_json() for result in self.results.values()],
        }

    def write_record(self, status: str) -> None:
        """Keep what is known so far. Raises :class:`~pytest_llmperf.errors.StoreError`."""
        self.record.write(self.as_json(status))


def _not_compared(others: Sequence[Sequence[str]]) -> str:
    """Why there is nothing to compare with; ``others`` are the differences from baselines elsewhere."""
    if not others:
        return "no baseline yet (--llmperf-update accepts one)"
    closest = "; ".join(others[0])
    if len(others) == 1:
        return f"not compared: the baseline is from another environment ({closest})"
    return f"not compared: all {len(others)} baselines are from other environments (the closest: {closest})"


def _objectives(point: PointResult, result: TestResult) -> list[Objective]:
    """Raises :class:`InvalidRun` for a limit on something that was not measured."""
    objectives = []
    for limit in result.slo.with_no_errors().limits:
        values = point.values(limit.key)
        if values:
            objectives.append(judge_limit(limit, values))
        elif any(run.measurement.values.get("error_rate", 1.0) < 1 for run in point.runs):
            result.verdict = Verdict.INVALID
            result.error = f"the SLO {limit} cannot be judged at {point.point.label}: it has no value there"
            raise InvalidRun(result.error)
    return objectives


def _is_known(metric: MetricKey, point: PointResult) -> bool:
    """Whether every run had the requests that the percentile needs: what is marked ~ fails no build."""
    if metric.metric.per != "request":
        return True
    succeeded = [
        run.measurement.requests - sum(count for count, _ in run.measurement.errors.values())
        for run in point.runs
    ]
    return all(is_supported(metric, number) for number in succeeded)


def _change(
    metric: MetricKey, baseline: Baseline, key: str, point: PointResult, tolerance: float
) -> Change | None:
    """The change of one metric; None where one side has no positive value to compare."""
    base, values = baseline.points[key].get(metric.name, ()), point.values(metric)
    if not base or not values or min(*base, *values) <= 0:
        return None
    known = baseline.uncertainty.get(key, {}).get(metric.name, ())
    return compare(
        base,
        values,
        better=metric.metric.better,
        tolerance=tolerance,
        prior_spread=metric.metric.spread,
        sampling=[*known, *point.uncertainty(metric)],
    )


def _overall(result: TestResult, *, ignoring_changes: bool) -> Verdict:
    if any(not objective.is_met for point in result.points.values() for objective in point.objectives):
        return Verdict.SLO_BROKEN
    verdicts = {change.verdict for point in result.points.values() for change in point.changes.values()}
    if not ignoring_changes:
        for verdict in (Verdict.REGRESSED, Verdict.INCONCLUSIVE):
            if verdict in verdicts:
                return verdict
    return Verdict.IMPROVED if Verdict.IMPROVED in verdicts else Verdict.PASS
