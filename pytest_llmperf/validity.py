"""Whether what a test measured says anything about the engine, and its limits about what it measured."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.keep.result import Run, TestResult


def check_runs(result: TestResult) -> None:
    """Raises :class:`InvalidRun` if the measurement says nothing about the engine.

    A run that the load generator was late for, now and then, is left out, and another launch takes its
    place; what fails from the first, or again and again, is not left to chance.
    """
    sides = [side for point in result.points.values() for side in (point.runs, point.base_runs) if side]
    problems = [problem for point in result.points.values() for problem in point.problems]
    if not problems:
        result.left_out = []
        return
    bad = [run for side in sides for run in side if not run.is_valid]
    if all(map(_is_rare, sides)) and all(run.measurement.health.is_late for run in bad):
        result.left_out = problems
        return
    failed = [
        f"  {count} requests failed, {example}"
        for side in sides
        for run in side
        for count, example in run.measurement.errors.values()
    ]
    late = all(run.measurement.health.is_late for run in bad)
    again = ["  (the first launch, or more than one in three: none takes its place; try when less else runs)"]
    told = ("the measurement is invalid:", *(f"  {p}" for p in problems), *(again if late else ()), *failed)
    raise InvalidRun("\n".join(told))


def check_limits(result: TestResult) -> None:
    """Raises :class:`InvalidRun` for a limit that nothing which was measured has to do with."""
    points = [point.point for point in result.points.values()]
    searched = result.slo.of_load().limits if any(point.seeks for point in points) else ()
    for limit in result.slo.limits:
        if limit not in searched and not any(point.concerns(limit.key.metric) for point in points):
            way_out = (
                "llmperf.capacity(…) searches for it" if limit.key.metric_name == "capacity" else "drop it"
            )
            raise InvalidRun(
                f"the SLO {limit} cannot be judged: no load point of this test has to do with it; {way_out}"
            )


def _is_rare(side: Sequence[Run]) -> bool:
    invalid = sum(not run.is_valid for run in side)
    return invalid < len(side) and invalid <= max(1, len(side) // 3)
