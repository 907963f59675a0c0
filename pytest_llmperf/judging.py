"""What the measurements of a session mean: verdicts on all its tests, and which want another launch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.errors import InvalidRun, StoreError
from pytest_llmperf.judge.change import Change, compare
from pytest_llmperf.judge.objective import Objective, judge_limit
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.baseline import Baseline, Baselines
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.record import now
from pytest_llmperf.keep.result import PointResult, TestResult
from pytest_llmperf.measure.metrics import is_supported


class Judge:
    """Judges the tests of one session, after each round of launches."""

    def __init__(self, settings: Settings, baselines: Baselines, note: Callable[[str], None]) -> None:
        self._settings, self._baselines, self._note = settings, baselines, note

    def judge(self, results: Iterable[TestResult]) -> None:
        """Judge all ``results`` of the session on what was measured until now.

        Sets verdict, error, objectives, changes and ``wants_launch`` of each that has points and is not over;
        one that is over keeps what it has. Raises nothing for a verdict.
        """
        for result in results:
            if result.points and not result.is_over:
                result.error = None
                try:
                    self._judge(result)
                except InvalidRun as error:
                    result.verdict, result.error = Verdict.INVALID, str(error)
                except StoreError as error:
                    result.verdict, result.error = Verdict.ERROR, str(error)
                result.wants_launch = result.error is None and self._wants_launch(result)

    def _wants_launch(self, result: TestResult) -> bool:
        """Whether it has fewer launches than it is to have at least, or another one may tell more."""
        compares = self._settings.update or any(point.changes for point in result.points.values())
        least = self._settings.launches.first(compares=compares)
        if result.rounds != least:
            return result.rounds < least or result.verdict is Verdict.INCONCLUSIVE
        return result.verdict in (Verdict.INCONCLUSIVE, Verdict.REGRESSED)

    def _judge(self, result: TestResult) -> None:
        _check(result)
        for point in result.points.values():
            point.objectives, point.changes = _objectives(point, result), {}
        if result.base_subject:
            self._compare_sides(result)
        elif baseline := self._baselines.find(result.nodeid, result.environment):
            self._compare(result, baseline)
        else:
            result.baseline = _not_compared(self._baselines.elsewhere(result.nodeid, result.environment))
        result.verdict = _overall(result, ignoring_changes=self._settings.update)
        must_compare = self._settings.inconclusive == "fail" and not self._settings.update
        if must_compare and not result.is_compared and result.verdict in (Verdict.PASS, Verdict.IMPROVED):
            result.verdict = Verdict.INCONCLUSIVE

    def _compare(self, result: TestResult, baseline: Baseline) -> None:
        result.subject_differences = differences(baseline.subject, result.subject)
        missing: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for key, point in result.points.items():
            known = baseline.points.get(key)
            if known is None:
                missing[point.point.label] = None
                continue
            for metric in self._settings.gate:
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

    def _compare_sides(self, result: TestResult) -> None:
        result.subject_differences = differences(result.base_subject, result.subject)
        result.is_compared = True
        for point in result.points.values():
            for metric in self._settings.gate:
                base, values = point.base_values(metric), point.values(metric)
                if base and values and min(*base, *values) > 0 and _is_known(metric, point):
                    point.changes[metric] = compare(
                        base,
                        values,
                        better=metric.metric.better,
                        tolerance=result.tolerances.of(metric),
                        prior_spread=metric.metric.spread,
                        sampling=[*point.base_uncertainty(metric), *point.uncertainty(metric)],
                    )
        result.baseline = f"compared side by side with {result.base_subject_text}"

    def accept(self, result: TestResult) -> None:
        """Make what was measured the baseline of its test, unless its SLO is broken.

        Raises :class:`StoreError`.
        """
        if result.verdict is Verdict.SLO_BROKEN:
            result.baseline += "; not accepted as a baseline, because the SLO is broken"
            return
        before = self._baselines.find(result.nodeid, result.environment)
        kept = {*self._settings.gate, *(limit.key for limit in result.slo.limits)}
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


def _check(result: TestResult) -> None:
    """Raises :class:`InvalidRun` if the measurement says nothing about the engine."""
    problems = [problem for point in result.points.values() for problem in point.problems]
    if problems:
        failed = [
            f"  {count} requests failed, {example}"
            for point in result.points.values()
            for run in point.runs
            for count, example in run.measurement.errors.values()
        ]
        raise InvalidRun("\n".join(("the measurement is invalid:", *(f"  {p}" for p in problems), *failed)))


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
            raise InvalidRun(
                f"the SLO {limit} cannot be judged at {point.point.label}: it has no value there"
            )
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
