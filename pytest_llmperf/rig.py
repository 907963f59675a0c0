"""One launch with the load generator at it, for one test: load points in, runs out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import EngineError
from pytest_llmperf.keep.prices import Prices
from pytest_llmperf.keep.result import Run
from pytest_llmperf.load.bounds import Bounds, find_bounds
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.load.run_in import WithRunIn
from pytest_llmperf.load.schedule import seed_of
from pytest_llmperf.load.warmup import WarmUp, warm_up
from pytest_llmperf.measure.measurement import Measurement
from pytest_llmperf.measure.metrics import summarise, uncertainty
from pytest_llmperf.measure.saturation import is_saturated
from pytest_llmperf.measure.series import series
from pytest_llmperf.measure.timeline import Timeline
from pytest_llmperf.reckoning import reckon
from pytest_llmperf.report.progress import Progress

_BOUNDS_SHARE = 0.25
_NOT_WARMED_UP = WarmUp((), settled=False)


@dataclass(frozen=True)
class Rig:
    """``number`` and ``round`` are those of the launch; ``where`` says in words which launch it is, where
    there are several; ``disturbances`` asks what disturbs it."""

    launch: Launch
    number: int
    round: int
    nodeid: str
    slo: Slo
    settings: Settings
    prices: Prices
    environment: Mapping[str, str]
    progress: Progress
    where: str
    disturbances: Callable[[Launch], list[str]]

    def measure(
        self, workload: Workload, point: LoadPoint, *, at: tuple[int, int] = (0, 0), gives_up: bool = False
    ) -> Run:
        """Warm up, then drive the point; again, once, if the load generator was late.

        ``at``: which it is, of how many, if that is known. ``gives_up``: sending may end
        early where the engine's queue grows without bound. Raises
        :class:`EngineError` if the engine does not survive.
        """
        self.progress.at(*at)
        self._phase(f"warming up at {point.label}")
        is_reset = self.launch.engine.reset_cache(self.launch.control)
        warmth = warm_up(self.launch.client, workload, point)
        if not warmth.medians_ms:
            self.launch.check_answering()
        seed = seed_of(self.nodeid, str(workload), point.key)
        return self._drive(workload, WithRunIn(point), seed, warmth, is_reset, self.slo, gives_up=gives_up)

    def probe(self, workload: Workload, part: WithRunIn, number: int, slo: Slo) -> Run:
        """Drive the point as run ``number`` of a search, whose bounds have warmed it up: every run has
        arrivals of its own, and the same ones at whatever rate it is. What is due in the run-in does not
        count, unless the run is given up."""
        is_reset = self.launch.engine.reset_cache(self.launch.control)
        seed = seed_of(self.nodeid, str(workload), f"run {number} of a search")
        return self._drive(workload, part, seed, _NOT_WARMED_UP, is_reset, slo, gives_up=True)

    def bounds(self, workload: Workload, budget_s: float) -> Bounds:
        """Between which rates the engine can be asked anything; takes up to a quarter of the budget or so.

        Raises :class:`EngineError` if it answers nothing.
        """
        self._phase("looking for what it can do at most")
        bounds = find_bounds(self.launch.client, workload, _BOUNDS_SHARE * budget_s)
        if bounds is None:
            self.launch.check_answering()
            raise EngineError(
                "it did not answer a single request of this workload as asked, so there is no rate to search "
                f"for; llmperf({workload}, concurrency=1) shows what it answers"
            )
        return bounds

    def _phase(self, text: str, expected_s: float | None = None) -> None:
        self.progress.phase(f"{short_name(self.nodeid)}: {self.where}{text}", expected_s)

    def _drive(
        self,
        workload: Workload,
        part: WithRunIn,
        seed: int,
        warmth: WarmUp,
        is_reset: bool | None,
        slo: Slo,
        *,
        gives_up: bool,
    ) -> Run:
        client, point, driven_point = self.launch.client, part.point, part.driven
        for attempt in (1, 2):
            again = " (again: the load generator was late)" if attempt == 2 else ""
            self._phase(f"measuring at {point.label}{again}", driven_point.expected_s)
            driven = client.run(workload, driven_point, seed, warmth.latency_s, gives_up=gives_up)
            if not driven.health.is_late:
                break
        disturbances = self.disturbances(self.launch)
        # What was given up sent for a shorter time; it ends with the last token.
        begun_ns = driven.started_ns + (0 if driven.gave_up else round(part.run_in_s * 1e9))
        counted = [trace for trace in driven.traces if trace.due_ns >= begun_ns]
        timeline = Timeline.of(counted, begun_ns, 0.0 if driven.gave_up else point.scheduled_s)
        if timeline.errors:
            self.launch.check_answering()
        startup = self.launch.startup_s
        is_cold = self.launch.startup.cache == "cold"
        values = summarise(timeline, slo, startup["first_answer"] if startup else None, is_cold=is_cold)
        reckoned = reckon(self.launch, self.environment, self.settings.model, self.prices, counted, values)
        measurement = Measurement(
            workload=workload,
            point=point,
            requests=timeline.requests,
            values={**values, **reckoned.values},
            uncertainty=uncertainty(timeline),
            errors=timeline.errors,
            health=driven.health,
            percentile=self.settings.percentile,
        )
        return Run(
            self.number,
            self.round,
            measurement,
            dataclasses.asdict(warmth),
            driven.counters,
            driven.moments,
            is_reset,
            attempt,
            disturbances,
            reckoned.light,
            reckoned.price,
            driven.gave_up,
            driven.gave_up or (point.mean_rate is not None and is_saturated(timeline)),
            series=series(driven, timeline),
        )
