"""What one session starts, measures and keeps."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.judge.capacity import Capacity
from pytest_llmperf.judging import Judge
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.environment import differences, environment
from pytest_llmperf.keep.prices import Prices
from pytest_llmperf.keep.record import KIND, VERSION, RecordFile, Store, now, versions
from pytest_llmperf.keep.repository import checkout
from pytest_llmperf.keep.result import Run, TestResult
from pytest_llmperf.keep.spreads import PastSpreads
from pytest_llmperf.keep.subject import subject_fields
from pytest_llmperf.launches import Launches
from pytest_llmperf.load.bounds import Bounds
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.measure.measurement import Measurement, Measurements
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.places.url import ExistingServer
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.rig import Rig
from pytest_llmperf.searching import seek, sought
from pytest_llmperf.sweeping import capped, explore, in_order, is_point, scheduled, single, told

_KEPT = "{test}: measured at the rates of its baseline; --llmperf-rates adaptive chooses new ones"


class PerformanceSession:
    """The measurements of one pytest session: launches, results and their record."""

    def __init__(
        self,
        settings: Settings,
        root: Path,
        engines: Mapping[str, Engine],
        place: Place,
        progress: Progress,
        command: Callable[[str], Sequence[str]],
        note: Callable[[str], None] = lambda text: None,
        baselines: Baselines | None = None,
        prices: Prices | None = None,
    ) -> None:
        """``place`` is where engines are started; ``command`` returns what a person would type to run a test
        again; ``note`` takes what a person has to know in the end; ``baselines`` are compared with, else
        those of the store, and ``prices`` are reckoned with, else those of the package."""
        self.settings = settings
        self._prices = prices or Prices.read()
        self._command, self.note = command, note
        self.store = Store(Path(os.path.normpath(root / settings.directory)))
        self.results: dict[str, TestResult] = {}
        self._progress = progress
        self.failures: list[dict[str, Any]] = []
        self.explored: Mapping[str, Sequence[str]] | None = None
        """Of each test the load points that its sweeps are to keep to, by key; None: none are known."""
        self._bounds: dict[tuple[int, str], Bounds] = {}
        self._schedules: dict[tuple[str, str, str], list[LoadPoint]] = {}
        self._baselines = baselines or Baselines(self.store.baselines)
        self.judge = Judge(settings, self._baselines, PastSpreads(self.store))
        self._started = now()
        self._checkout = checkout(root)
        self.record = RecordFile(self.store, self._started)
        self.launches = Launches(settings, engines, place, progress, note, self.store, self.record)

    # -- measuring ----------------------------------------------------------------------------------

    def prepare(self, nodeid: str, plan: Plan) -> Launch:
        """Have what the test is measured against running and its baseline readable, before its body runs."""
        self._progress.begin(nodeid)
        subject = self.launches.subject(plan)
        launch = self.launches.start(subject)
        result = self.results.setdefault(nodeid, TestResult(nodeid, plan.slo, self._command(nodeid)))
        machine = launch.server.environment()
        fields = subject_fields(subject, launch.description) | self._price_in(machine)
        if self.launches.measures_base:
            result.base_subject, result.base_subject_text = fields, str(subject)
        else:
            result.subject, result.subject_text = fields, str(subject)
        model = launch.model if subject.url is None else launch.description.model
        self._check_environment(result, environment(launch.place.name, model, machine))
        result.tolerances = plan.tolerances
        if self.settings.against is None:
            self._baselines.find(nodeid, result.environment)
        return launch

    def _price_in(self, machine: Mapping[str, str]) -> dict[str, str]:
        """A price that changes what is compared is told among what differs."""
        price = self._prices.of(machine)
        if price is None or all(key.metric_name != "cost" for key in self.settings.gate):
            return {}
        return {"price": f"${price.usd_per_hour:g} per hour"}

    def _check_environment(self, result: TestResult, here: Mapping[str, str]) -> None:
        """Raises :class:`InvalidRun` for one that is unlike that of an earlier launch of either side."""
        mine, others = result.environment, result.base_environment
        if self.launches.measures_base:
            mine, others = others, mine
        if mine and (unlike := differences(mine, here)):
            raise InvalidRun(
                "its launches are from unlike environments, which are never put together: "
                f"{'; '.join(unlike)}"
            )
        base, candidate = (here, others) if self.launches.measures_base else (others, here)
        if others and (unlike := differences(*self._without_address(base, candidate))):
            raise InvalidRun(
                "the base and the candidate are in unlike environments, so they cannot be compared: "
                f"{'; '.join(unlike)}"
            )
        if self.launches.measures_base:
            result.base_environment = here
        else:
            result.environment = here

    def _without_address(self, *sides: Mapping[str, str]) -> list[Mapping[str, str]]:
        """Environments without the place if one is a URL: two such servers never have one address."""
        if all(ExistingServer.is_not(side["place"]) for side in sides):
            return list(sides)
        return [{name: text for name, text in side.items() if name != "place"} for side in sides]

    def measure(self, nodeid: str, plan: Plan, workload: Workload, call: Sweep) -> Measurements:
        """Measure every load point of a call in the current launch."""
        rig = self.rig(nodeid, plan)
        sweep = plan.sweep(call)
        if sweep.search is not None:
            return self._explore(rig, plan, workload, capped(sweep))
        points = sweep.points()
        runs = (rig.measure(workload, point, at=(n, len(points))) for n, point in enumerate(points, 1))
        return Measurements([self._keep(rig, workload, *both) for both in zip(points, runs, strict=True)])

    def batch(self, nodeid: str, plan: Plan, workload: Workload, point: LoadPoint) -> Measurement:
        """Measure a batch in the current launch."""
        rig = self.rig(nodeid, plan)
        return self._keep(rig, workload, point, rig.measure(workload, point))

    def capacity(
        self, nodeid: str, plan: Plan, workload: Workload, call: Sweep, slo: Slo
    ) -> tuple[Measurement, Capacity]:
        """Search for the highest rate that meets the limits in the current launch."""
        rig, sweep = self.rig(nodeid, plan), capped(plan.sweep(call))
        bounds, left_s = self._bounded(rig, workload, sweep)
        found = seek(sweep, slo, bounds, lambda part, n: rig.probe(workload, part, n, slo), left_s)
        point = sought(sweep, slo)
        return self._keep(rig, workload, point, found.as_run(workload, point)), found.capacity

    def rig(self, nodeid: str, plan: Plan) -> Rig:
        """The current launch, for this test. Raises :class:`EngineError` if it is not there."""
        launches = self.launches
        launch = launches.running(launches.subject(plan))
        result = self.results[nodeid]
        machine = result.base_environment if launches.measures_base else result.environment
        return Rig(
            *(launch, launches.number(launch), launches.round, nodeid, plan.slo, self.settings, self._prices),
            *(machine, self._progress, launches.where(", "), launches.disturbances),
        )

    def _keep(
        self, rig: Rig, workload: Workload, point: LoadPoint, run: Run, *, is_explored: bool = False
    ) -> Measurement:
        result = self.results[rig.nodeid]
        result.add(workload, point, run, of_base=self.launches.measures_base, is_explored=is_explored)
        self.write_record("running")
        return run.measurement

    def _bounded(self, rig: Rig, workload: Workload, sweep: Sweep) -> tuple[Bounds, float]:
        """What the engine can do at most, looked for once in a launch, and the seconds left of the budget."""
        begun, budget_s = time.monotonic(), sweep.allowed_s
        key = len(self.launches.told), str(workload)
        if key not in self._bounds:
            self._bounds[key] = rig.bounds(workload, budget_s)
        return self._bounds[key], max(1.0, budget_s - (time.monotonic() - begun))

    def _explore(self, rig: Rig, plan: Plan, workload: Workload, sweep: Sweep) -> Measurements:
        """A sweep that finds its own rates: in the first launch that it is measured in, unless a baseline has
        a schedule of it; all other launches, of either side, keep to that, and to its end."""
        key = rig.nodeid, str(workload), str(sweep)
        result, alone, runs = self.results[rig.nodeid], single(sweep), dict[LoadPoint, Run]()

        def keep(point: LoadPoint, run: Run) -> Run:
            runs[point] = run
            self._keep(rig, workload, point, run, is_explored=point != alone)
            return run

        def try_out(point: LoadPoint) -> Run:
            run = rig.measure(workload, point, gives_up=True)
            return keep(point, run) if is_point(point, run) else run

        if key not in self._schedules:
            self._schedules[key] = scheduled(self._explored_before(result, plan), str(workload), sweep)
            if self._schedules[key] and self.explored is None:
                self.note(_KEPT.format(test=short_name(rig.nodeid)))
        if schedule := self._schedules[key]:
            for point in schedule:
                keep(point, rig.measure(workload, point))
        else:
            bounds, left_s = self._bounded(rig, workload, sweep)
            found = explore(sweep, plan.slo, bounds, try_out, left_s)
            if found.late and not found.open_loop():
                keep(*found.late[0])  # nothing that could be compared: the test says nothing
            self._schedules[key] = found.points
            result.sweeps[str(workload)] = told(
                str(workload), self.launches.side, sweep, plan.slo, bounds, found
            )
        result.arrange(workload, in_order(runs))
        return Measurements([runs[point].measurement for point in in_order(runs)])

    def _explored_before(self, result: TestResult, plan: Plan) -> Sequence[str]:
        """The load points that sweeps had found when the baseline that this is compared with was accepted.
        Who asks for a search on the command line is not given what another one found."""
        if self.explored is not None:
            return self.explored.get(result.nodeid, ())
        if self.settings.against is not None or plan.settings.above.sweep.search is not None:
            return ()
        base = self._baselines.find(result.nodeid, result.environment)
        return base.explored if base else ()

    # -- keeping ------------------------------------------------------------------------------------

    def as_json(self, status: str) -> dict[str, Any]:
        """The session's record.

        ``status`` is ``running`` until it is ``complete``, ``stopped`` (by -x, say), ``interrupted`` or
        ``crashed``.
        """
        settings = self.settings
        return {
            KIND: VERSION,
            "id": self.record.path.stem,
            "status": status,
            "started": self._started.isoformat(timespec="seconds"),
            "written": now().isoformat(timespec="seconds"),
            "versions": versions(),
            "repository": self._checkout,
            "settings": {
                "launches": str(settings.launches),
                "tolerance": str(settings.tolerances),
                "gate": [key.name for key in settings.gate],
                "percentile": settings.percentile,
                "request_timeout_s": settings.request_timeout_s,
            },
            "launches": self.launches.told,
            "failures": self.failures,
            "tests": [result.as_json() for result in self.results.values()],
        }

    def write_record(self, status: str) -> None:
        """Keep what is known so far. Raises :class:`~pytest_llmperf.errors.StoreError`."""
        self.record.write(self.as_json(status))
