"""How a metric of a test went over the sessions of a history, where it changed, and what else did there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.judge.course import ERROR, Course, Segment, Step, find_steps, level
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.keep.history import BASE, CANDIDATE, Fields, Result, Session, fields_key
from pytest_llmperf.keep.values import middle

KIND, VERSION = "llmperf_trend", 1
WITHIN_NOISE = 2.0
"""Spreads between sessions: a smaller change would not be seen in a session and the one before it."""


@dataclass(frozen=True)
class Reading:
    """What a session measured of a series."""

    session: Session
    result: Result
    values: Sequence[float]
    unknown: Sequence[float]

    @property
    def value(self) -> float:
        return middle(self.values)


@dataclass(frozen=True)
class Candidate:
    """What may have made a change: all that is known to differ between a session and the next. ``at`` is the
    number of the latter; ``commits`` are those of the repository of the tests, if they differ."""

    at: int
    differences: Sequence[str]
    commits: tuple[str, str] | None

    def as_json(self) -> dict[str, Any]:
        commits = None if self.commits is None else list(self.commits)
        return {"at": self.at, "differences": list(self.differences), "commits": commits}


@dataclass(frozen=True)
class Series:
    """Readings of like environments, oldest first."""

    test: str
    environment: Fields
    side: str
    point: str
    key: MetricKey
    readings: Sequence[Reading]

    @property
    def is_relative(self) -> bool:
        """Whether changes are shares of a value; not where a value is 0."""
        return all(min(reading.values) > 0 for reading in self.readings)


@dataclass(frozen=True)
class Trend:
    """A series and its course. ``beside`` has for each step how the base went that was measured beside it,
    if it was the same one before and after (in the units of the step). ``why_not`` says why no step was
    looked for."""

    series: Series
    course: Course
    beside: Sequence[float | None]
    why_not: str = ""

    @property
    def values(self) -> list[float]:
        return [reading.value for reading in self.series.readings]

    def value(self, of_course: float) -> float:
        """What the course calls so, in the metric's unit."""
        return math.exp(of_course) if self.series.is_relative else of_course

    def change(self, size: float) -> float:
        """A step as a share of what was before; as it is where values can be 0."""
        return math.expm1(size) if self.series.is_relative else size

    def is_worse(self, step: Step) -> bool:
        return (step.size > 0) == (self.series.key.metric.better == "lower")

    def is_within_noise(self, step: Step) -> bool:
        return abs(step.size) < WITHIN_NOISE * self.course.noise

    def candidates(self, step: Step) -> list[Candidate]:
        """What changed where the step may be, likeliest places first: those at which the subject changed."""
        found = [_candidate(self.series.readings, at) for at in range(step.first, step.last + 1)]
        found = [one for one in found if one.differences or one.commits]
        return sorted(found, key=lambda one: (not one.differences, abs(one.at - step.at)))

    def as_json(self) -> dict[str, Any]:
        series = self.series
        return {
            KIND: VERSION,
            "test": series.test,
            "environment": dict(series.environment),
            "environment_key": fields_key(series.environment),
            "side": series.side,
            "load": series.point,
            "metric": series.key.name,
            "label": series.key.label,
            "unit": series.key.metric.unit,
            "better": series.key.metric.better,
            "relative": series.is_relative,
            "noise": rounded(self.change(self.course.noise)),
            "judged": self.course.is_judged,
            "why_not": self.why_not,
            "sessions": [_reading_json(reading) for reading in series.readings],
            "segments": [self._segment_json(one) for one in self.course.segments],
            "changes": [
                self._step_json(step, beside)
                for step, beside in zip(self.course.steps, self.beside, strict=True)
            ],
        }

    def _segment_json(self, segment: Segment) -> dict[str, Any]:
        readings = self.series.readings
        return {
            "first": segment.start,
            "last": segment.end - 1,
            "from": readings[segment.start].session.started.isoformat(),
            "to": readings[segment.end - 1].session.started.isoformat(),
            "value": rounded(self.value(segment.level)),
            "low": rounded(self.value(segment.low)),
            "high": rounded(self.value(segment.high)),
            "rise": rounded(self.change(segment.rise)),
        }

    def _step_json(self, step: Step, beside: float | None) -> dict[str, Any]:
        return {
            "at": step.at,
            "first": step.first,
            "last": step.last,
            "change": rounded(self.change(step.size)),
            "low": rounded(self.change(step.low)),
            "high": rounded(self.change(step.high)),
            "worse": self.is_worse(step),
            "within_noise": self.is_within_noise(step),
            "beside": None if beside is None else rounded(self.change(beside)),
            "candidates": [one.as_json() for one in self.candidates(step)],
        }


def all_series(sessions: Iterable[Session], test: str, side: str = CANDIDATE) -> list[Series]:
    """Those of a test, from sessions oldest first, in the order in which they were last measured."""
    found: dict[tuple[str, str, str], list[Reading]] = {}
    for session in sessions:
        for result in session.results:
            if (result.test, result.side) != (test, side):
                continue
            environment = fields_key(result.environment)
            for point, metrics in result.points.items():
                for metric, values in metrics.items():
                    unknown = result.uncertainty.get(point, {}).get(metric, ())
                    reading = Reading(session, result, values, unknown)
                    found.setdefault((environment, point, metric), []).append(reading)
    return [
        Series(test, readings[-1].result.environment, side, point, key, readings)
        for (_, point, metric), readings in found.items()
        if (key := _key(metric)) is not None
    ]


def trend(series: Series, *, among: int = 1, base: Series | None = None) -> Trend:
    """Where a series changed. ``among`` is how many are looked at together: the error is shared by all.
    ``base`` is what was measured beside it."""
    scale = _scale(series)
    numbers = [scale(reading.value) for reading in series.readings]
    try:
        course = find_steps(numbers, _unknown(series, scale), _hints(series.readings), ERROR / max(among, 1))
        why_not = ""
    except ImportError:
        course = level(numbers)
        why_not = "change points need ruptures: pip install 'pytest-llmperf[history]'"
    found = Trend(series, course, [None] * len(course.steps), why_not)
    if base is None:
        return found
    return replace(found, beside=[_beside(found, base, number) for number in range(len(course.steps))])


def _key(metric: str) -> MetricKey | None:
    try:
        return parse_metric(metric)
    except DeclarationError:  # of another release, which knew more
        return None


def _scale(series: Series) -> Callable[[float], float]:
    return math.log if series.is_relative else float


def _unknown(series: Series, scale: Callable[[float], float]) -> list[float]:
    """What its own launches leave a session with: from how launches differ in all sessions together, or
    from what requests tell where no session had two."""
    squares = degrees = 0.0
    for reading in series.readings:
        numbers = [scale(value) for value in reading.values]
        mean = math.fsum(numbers) / len(numbers)
        squares += math.fsum((number - mean) ** 2 for number in numbers)
        degrees += len(numbers) - 1
    if not degrees:
        one = [reading.unknown[0] if reading.unknown else 0.0 for reading in series.readings]
        return one if series.is_relative else [0.0] * len(one)
    return [math.sqrt(squares / degrees / len(reading.values)) for reading in series.readings]


def _hints(readings: Sequence[Reading]) -> list[int]:
    return [
        at
        for at in range(1, len(readings))
        if differences(readings[at - 1].result.subject, readings[at].result.subject)
    ]


def _candidate(readings: Sequence[Reading], at: int) -> Candidate:
    before, after = readings[at - 1], readings[at]
    commits = before.session.commit, after.session.commit
    return Candidate(
        at,
        differences(before.result.subject, after.result.subject),
        commits if all(commits) and commits[0] != commits[1] else None,
    )


def _beside(trend: Trend, base: Series, number: int) -> float | None:
    """How a base went where the candidate has a step."""
    scale, by_session = _scale(trend.series), {one.session.id: one for one in base.readings}
    levels, subjects = [], []
    for segment in trend.course.segments[number : number + 2]:
        sessions = [one.session.id for one in trend.series.readings[segment.start : segment.end]]
        readings = [by_session[name] for name in sessions if name in by_session]
        if not readings or (not base.is_relative and trend.series.is_relative):
            return None
        subjects += [one.result.subject for one in readings]
        levels.append(math.fsum(scale(one.value) for one in readings) / len(readings))
    if any(differences(subjects[0], other) for other in subjects[1:]):
        return None
    return levels[1] - levels[0]


def _reading_json(reading: Reading) -> dict[str, Any]:
    session, result = reading.session, reading.result
    return {
        "id": session.id,
        "started": session.started.isoformat(),
        "value": rounded(reading.value),
        "values": [rounded(value) for value in reading.values],
        "verdict": result.verdict,
        "subject": result.subject_text,
        "version": result.subject.get("version", ""),
        "commit": session.commit,
        "changed": session.is_changed,
        "record": session.record,
    }


def base_of(series: Series, bases: Iterable[Series]) -> Series | None:
    """What was measured beside a series of candidates."""
    same = (fields_key(series.environment), series.point, series.key)
    for base in bases:
        if base.side == BASE and (fields_key(base.environment), base.point, base.key) == same:
            return base
    return None


def environments(series: Iterable[Series]) -> Mapping[str, Sequence[Reading]]:
    """The readings by the key of their environment, that of the newest first."""
    found: dict[str, list[Reading]] = {}
    for one in series:
        found.setdefault(fields_key(one.environment), []).extend(one.readings)
    newest: Callable[[str], datetime] = lambda key: max(one.session.started for one in found[key])  # noqa: E731
    return {key: found[key] for key in sorted(found, key=newest, reverse=True)}
