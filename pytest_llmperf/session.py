"""What one session starts, measures and keeps."""

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
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import EngineError, InvalidRun
from pytest_llmperf.judging import Judge
from pytest_llmperf.keep.baseline import Baselines
from pytest_llmperf.keep.environment import differences, environment
from pytest_llmperf.keep.record import KIND, VERSION, RecordFile, Store, now
from pytest_llmperf.keep.result import Run, TestResult
from pytest_llmperf.keep.subject import subject_fields
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.load.schedule import seed_of
from pytest_llmperf.load.warmup import warm_up
from pytest_llmperf.measure.measurement import Measurement, Measurements
from pytest_llmperf.measure.metrics import summarise, uncertainty
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
    ) -> None:
        """``place`` is where engines are started; ``command`` returns what a person would type to run a test
        again; ``note`` takes what a person has to know in the end."""
        self.settings = settings
        self._command, self._note = command, note
        self.store = Store(Path(os.path.normpath(root / settings.directory)))
        self.results: dict[str, TestResult] = {}
        self._engines, self._place, self._listener = engines, place, listener
        self._launch: Launch | None = None
        self._round = 0
        self._launched: list[dict[str, Any]] = []
        self._broken: dict[tuple[Subject, int], EngineError] = {}
        self._baselines = Baselines(self.store.baselines)
        self.judge = Judge(settings, self._baselines, note)
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
