"""What a session knows of one test, and its form in records and reports."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Literal

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.tolerance import Tolerances
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.change import Change
from pytest_llmperf.judge.objective import Objective, mean_value
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.files import rounded, rounded_all, rounded_values
from pytest_llmperf.keep.prices import Price
from pytest_llmperf.keep.series import series_json
from pytest_llmperf.measure.measurement import Measurement
from pytest_llmperf.measure.series import Series


@dataclass(frozen=True)
class Run:
    """A load point as it was measured in one launch; a launch that is not ours to repeat has several.

    ``counters`` and ``moments`` are those of the :class:`~pytest_llmperf.load.client.LoadRun`.
    ``cache_reset``: whether cached prompts were forgotten before the warm-up; None where the engine cannot
    do it, or does not tell.
    ``disturbances`` say in words what the machine did to it. ``light`` has the speed of light and how much of
    it was reached, ``price`` what the GPUs cost; empty and None where that is not known. ``gave_up``: sending
    ended early, because the engine's queue grew without bound, which ``is_saturated`` says of the run as a
    whole. ``probes`` are the runs that a ``capacity`` was found from. ``series`` is what it is drawn from;
    None for a search.
    """

    launch: int
    round: int
    measurement: Measurement
    warm_up: Mapping[str, Any]
    counters: Mapping[str, float] = field(default_factory=dict)
    moments: Mapping[str, float] = field(default_factory=dict)
    cache_reset: bool | None = None
    attempts: int = 1
    disturbances: Sequence[str] = ()
    light: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    gave_up: bool = False
    is_saturated: bool = False
    capacity: Mapping[str, Any] | None = None
    probes: Sequence[Mapping[str, Any]] = ()
    series: Series | None = None

    @property
    def is_valid(self) -> bool:
        """Whether it says anything about the engine."""
        return not self.measurement.health.problems


@dataclass(frozen=True)
class Base:
    """What a test was compared with: a ``baseline``, or a subject measured ``side by side``.

    ``accepted`` is when the baseline was, ``name`` what ``--llmperf-baseline`` called it.
    """

    kind: Literal["baseline", "side by side"]
    text: str
    fields: Mapping[str, str]
    launches: int
    accepted: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class Creep:
    """A change that came in steps, each within its tolerance: from what the baseline grew from, ``steps``
    accepted baselines ago."""

    since: str
    subject_text: str
    steps: int
    change: Change | None = None

    def seen(self, change: Change) -> Creep:
        return dataclasses.replace(self, change=change)


@dataclass
class PointResult:
    """A load point over all launches, and what was judged of it.

    ``runs`` are the candidate's, ``base_runs`` those of what it is measured side by side with. ``course``
    is how a metric went from one accepted baseline to the next: when, of what subject, and its mean.
    ``is_explored``: a sweep that finds its own rates came here to see how far the SLO is met; that it is not
    is an answer, and breaks nothing.
    """

    workload: Workload
    point: LoadPoint
    runs: list[Run] = field(default_factory=list)
    base_runs: list[Run] = field(default_factory=list)
    objectives: list[Objective] = field(default_factory=list)
    changes: dict[MetricKey, Change] = field(default_factory=dict)
    creep: dict[MetricKey, Creep] = field(default_factory=dict)
    course: dict[MetricKey, list[tuple[str, str, float]]] = field(default_factory=dict)
    is_explored: bool = False

    @property
    def key(self) -> str:
        return f"{self.workload}, {self.point.key}"

    def values(self, key: MetricKey) -> list[float]:
        """One value for each launch that has one: the mean over its valid runs."""
        return _values(self.runs, key)

    def base_values(self, key: MetricKey) -> list[float]:
        """The same of the base."""
        return _values(self.base_runs, key)

    def uncertainty(self, key: MetricKey) -> list[float]:
        """For each of :meth:`values`, how badly its runs know it; 0 for what is not over requests."""
        return _uncertainty(self.runs, key)

    def base_uncertainty(self, key: MetricKey) -> list[float]:
        """The same of the base."""
        return _uncertainty(self.base_runs, key)

    def lacking(self, key: MetricKey) -> tuple[int, int]:
        """How many launches of the candidate and of the base have no value, of those with a valid run."""
        return _lacking(self.runs, key), _lacking(self.base_runs, key)

    @property
    def problems(self) -> list[str]:
        """What makes runs of this point say nothing about the engine."""
        return [
            f"{self.point.label}, launch {run.launch}{whose}: {problem}"
            for whose, runs in (("", self.runs), (" of the base", self.base_runs))
            for run in runs
            for problem in run.measurement.health.problems
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "workload": str(self.workload),
            "load": self.point.label,
            "key": self.key,
            "explored": self.is_explored,
            "declared": {"workload": self.workload.as_json(), "load": _load_json(self.point)},
            "runs": _runs_json(self.runs),
            "base_runs": _runs_json(self.base_runs),
            "objectives": [_objective_json(objective) for objective in self.objectives],
            "changes": [_change_json(key, change) for key, change in self.changes.items()],
            "course": {key.name: [list(one) for one in course] for key, course in self.course.items()},
            "creep": [_creep_json(key, creep) for key, creep in self.creep.items()],
        }


@dataclass
class TestResult:
    """One test of this session.

    ``command`` would run it again. ``baseline`` says what it was compared with, or why it was not, in words.
    ``base_subject`` is what it is measured side by side with, if it is. ``left_out`` are runs that say
    nothing, and why. ``undecided_origins`` are comparisons with what the baseline grew from, and
    ``is_last_look`` says that there will be no more launches. ``decided`` are the load points (by key) and
    metrics that were found to have changed, from the baseline or from what it grew from. ``sweeps`` are what
    is known of those that found their own rates, by workload. ``probed``: what its probes came to, together.
    ``wants_decision``: whether another launch may decide a change, ``wants_value`` whether one may have a
    value that is missing; ``wants_launch``: whether it is to have one. Of a test that ``is_over`` nothing is
    judged again.
    """

    __test__ = False

    nodeid: str
    slo: Slo
    command: Sequence[str] = ()
    tolerances: Tolerances = field(default_factory=Tolerances)
    subject: Mapping[str, str] = field(default_factory=dict)
    subject_text: str = ""
    base_subject: Mapping[str, str] = field(default_factory=dict)
    base_subject_text: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    base_environment: Mapping[str, str] = field(default_factory=dict)
    points: dict[str, PointResult] = field(default_factory=dict)
    verdict: Verdict = Verdict.NOT_JUDGED
    baseline: str = ""
    is_compared: bool = False
    subject_differences: list[str] = field(default_factory=list)
    error: str | None = None
    compared_with: Base | None = None
    decided: set[tuple[str, MetricKey]] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    undecided_origins: list[str] = field(default_factory=list)
    wants_decision: bool = False
    wants_value: bool = False
    is_last_look: bool = False
    sweeps: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    probed: Mapping[str, Any] = field(default_factory=dict)
    wants_launch: bool = True
    is_over: bool = False

    def add(
        self,
        workload: Workload,
        point: LoadPoint,
        run: Run,
        *,
        of_base: bool = False,
        is_explored: bool = False,
    ) -> None:
        """Keep a run; a load point that the test measures again in one round is a point of its own."""
        fresh = PointResult(workload, point, is_explored=is_explored)
        key = fresh.key
        again = 1
        while any(kept.round == run.round for kept in self._runs(key, of_base)):
            again += 1
            key = f"{fresh.key} (call {again})"
        self.points.setdefault(key, fresh)
        self._runs(key, of_base).append(run)

    def arrange(self, workload: Workload, points: Sequence[LoadPoint]) -> None:
        """Have these load points in this order, after all others."""
        for point in points:
            key = PointResult(workload, point).key
            self.points[key] = self.points.pop(key)

    def _runs(self, key: str, of_base: bool) -> list[Run]:
        point = self.points.get(key)
        return [] if point is None else point.base_runs if of_base else point.runs

    @property
    def runs_already(self) -> bool:
        """Whether the candidate is a server at a URL, which is one launch, however often it is measured."""
        return self.subject.get("engine", "").startswith(("http://", "https://"))

    @property
    def replaced(self) -> int:
        """How many rounds had a run that is left out, and are to be made up for."""
        runs = (run for point in self.points.values() for run in (*point.runs, *point.base_runs))
        return len({run.round for run in runs if not run.is_valid})

    @property
    def launches(self) -> int:
        """How many launches of the candidate count; a server that runs already is one."""
        runs = [run for point in self.points.values() for run in point.runs]
        return len({run.launch for run in runs if run.is_valid} or {run.launch for run in runs})

    @property
    def rounds(self) -> int:
        """How often the candidate was measured."""
        return len({run.round for point in self.points.values() for run in point.runs})

    def as_json(self) -> dict[str, Any]:
        return {
            "test": self.nodeid,
            "command": list(self.command),
            "verdict": str(self.verdict),
            "error": self.error,
            "slo": [str(limit) for limit in self.slo.limits],
            "subject": {"text": self.subject_text, "fields": dict(self.subject)},
            "environment": dict(self.environment),
            "launches": self.launches,
            "compared_with": None if self.compared_with is None else dataclasses.asdict(self.compared_with),
            "left_out": self.left_out,
            "baseline": self.baseline,
            "is_compared": self.is_compared,
            "subject_differences": self.subject_differences,
            "sweeps": list(self.sweeps.values()),
            **({"probed": dict(self.probed)} if self.probed else {}),
            "points": [{**point.as_json(), "key": key} for key, point in self.points.items()],
        }


def _values(runs: Iterable[Run], key: MetricKey) -> list[float]:
    by_launch: dict[int, list[float]] = {}
    for run in filter(attrgetter("is_valid"), runs):
        if (value := run.measurement.values.get(key.name)) is not None:
            by_launch.setdefault(run.launch, []).append(value)
    return [mean_value(key, values) for values in by_launch.values()]


def _uncertainty(runs: Iterable[Run], key: MetricKey) -> list[float]:
    by_launch: dict[int, list[float]] = {}
    for run in filter(attrgetter("is_valid"), runs):
        if key.name in run.measurement.values:
            known = run.measurement.uncertainty.get(key.name, 0.0)
            by_launch.setdefault(run.launch, []).append(known)
    return [math.hypot(*known) / len(known) for known in by_launch.values()]


def _lacking(runs: Iterable[Run], key: MetricKey) -> int:
    valid = [run for run in runs if run.is_valid]
    having = {run.launch for run in valid if key.name in run.measurement.values}
    return len({run.launch for run in valid} - having)


def _load_json(point: LoadPoint) -> dict[str, Any]:
    """What was declared; a closed loop has no arrivals of its own, and a replay those of its trace."""
    fields = {name: value for name, value in vars(point).items() if value is not None}
    if point.rate is None and point.seeks is None:
        del fields["arrivals"]
    if isinstance(point.rate, Ramp):
        fields["rate"] = str(point.rate)
    return fields


def _runs_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """One run of a side shows its requests: the first that says anything."""
    first = next(filter(attrgetter("is_valid"), runs), None)
    return [_run_json(run, has_waterfall=run is first) for run in runs]


def _run_json(run: Run, *, has_waterfall: bool) -> dict[str, Any]:
    measured = run.measurement
    series = series_json(run.series, has_waterfall=has_waterfall) if run.series else {}
    return {
        "launch": run.launch,
        "round": run.round,
        "attempts": run.attempts,
        "requests": measured.requests,
        "values": rounded_values(measured.values.items()),
        "uncertainty": rounded_values(measured.uncertainty.items()),
        "errors": {
            kind: {"count": count, "example": text} for kind, (count, text) in measured.errors.items()
        },
        "health": {
            name: rounded(value) if isinstance(value, float) else value
            for name, value in dataclasses.asdict(measured.health).items()
        },
        "warm_up": dict(run.warm_up),
        "counters": rounded_values(run.counters.items()),
        "moments": rounded_values(run.moments.items()),
        "cache_reset": run.cache_reset,
        "disturbances": list(run.disturbances),
        **({"light": _light_json(run.light)} if run.light else {}),
        **({"price": dataclasses.asdict(run.price)} if run.price else {}),
        "gave_up": run.gave_up,
        "saturated": run.is_saturated,
        **({"capacity": rounded_all(run.capacity)} if run.capacity else {}),
        **({"probes": [rounded_all(probe) for probe in run.probes]} if run.probes else {}),
        **({"series": series} if series else {}),
    }


def _light_json(light: Mapping[str, Any]) -> dict[str, Any]:
    figures = {name: rounded(value) if isinstance(value, float) else value for name, value in light.items()}
    return {**figures, "share": rounded_values(light["share"].items())}


def _objective_json(objective: Objective) -> dict[str, Any]:
    key = objective.limit.key
    return {
        "metric": key.name,
        "label": key.label,
        "limit": objective.limit.value,
        "value": rounded(objective.value),
        "low": rounded(objective.low),
        "high": rounded(objective.high),
        "margin": None if objective.margin is None else rounded(objective.margin),
        "met": objective.limit.met_by(objective.value),
        "launches": objective.launches,
        "missed": objective.missed,
        "verdict": str(objective.verdict),
    }


def _change_json(key: MetricKey, change: Change) -> dict[str, Any]:
    figures = dataclasses.asdict(change) | {
        "estimate": change.estimate,
        "low": change.low,
        "high": change.high,
    }
    shown = {name: rounded(value) if isinstance(value, float) else value for name, value in figures.items()}
    return {"metric": key.name, "label": key.label, **shown, "verdict": str(change.verdict)}


def _creep_json(key: MetricKey, creep: Creep) -> dict[str, Any]:
    assert creep.change is not None, "only what was judged is kept"
    return {
        **_change_json(key, creep.change),
        "since": creep.since,
        "since_subject": creep.subject_text,
        "steps": creep.steps,
    }
