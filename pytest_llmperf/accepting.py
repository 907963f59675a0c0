"""What was measured becomes the baseline of its test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.judge.change import Change, worst_change
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.record import now
from pytest_llmperf.keep.result import PointResult, TestResult
from pytest_llmperf.startups import is_judged_at


def accept(result: TestResult, baselines: Baselines, gate: Iterable[MetricKey]) -> None:
    """Make what was measured the baseline of its test, unless its SLO is broken: the metrics of the gate and
    of the SLO. Says in the result what became of it. Raises :class:`StoreError`."""
    if result.verdict in (Verdict.SLO_BROKEN, Verdict.INCONCLUSIVE):
        why = "broken" if result.verdict is Verdict.SLO_BROKEN else "undecided"
        result.baseline += f"; not accepted as a baseline, because the SLO is {why}"
        return
    before = baselines.find(result.nodeid, result.environment)
    kept = sorted({*gate, *(limit.key for limit in result.slo.limits)})
    accepted = Baseline(
        test=result.nodeid,
        accepted=now().isoformat(timespec="seconds"),
        environment=result.environment,
        subject=result.subject,
        subject_text=result.subject_text,
        points={
            key: {
                metric.name: values
                for metric in kept
                if is_judged_at(metric, key, result) and (values := point.values(metric))
            }
            for key, point in result.points.items()
        },
        uncertainty={
            key: {metric.name: known for metric in kept if any(known := point.uncertainty(metric))}
            for key, point in result.points.items()
        },
        explored=[key for key, point in result.points.items() if point.is_explored],
    )
    path = baselines.path(result.nodeid, result.environment)
    gone = [key for key in before.points if key not in accepted.points] if before else []
    worse = [
        f"{_named(metric, point)} {change.estimate * 100:+.3g}%{since}"
        for point in result.points.values()
        for metric, change, since in _worse(point)
    ]
    decided = {(key, metric.name) for key, metric in result.decided} | set(_far(result))
    accepted.grown_from(before, decided).write(path)
    result.baseline = "; ".join(
        filter(
            None,
            (
                f"accepted as the new baseline: {path}",
                f"accepted although worse: {', '.join(worse)}" if worse else "",
                f"no longer in it, because not measured now: {'; '.join(gone)}" if gone else "",
                accepted.weakness,
            ),
        )
    )


def _named(metric: MetricKey, point: PointResult) -> str:
    return f"{metric.label} at {point.point.label}" if metric.metric.has_load else metric.label


def _far(result: TestResult) -> Iterator[tuple[str, str]]:
    """Load points and metrics that by the estimate changed beyond the tolerance, however sure that is: who
    accepts them is told so, and means it."""
    for key, point in result.points.items():
        for metric, change in point.changes.items():
            if abs(change.worse) > worst_change(change.better, change.tolerance):
                yield key, metric.name


def _worse(point: PointResult) -> Iterator[tuple[MetricKey, Change, str]]:
    for metric, change in point.changes.items():
        if change.worse > worst_change(change.better, change.tolerance):
            yield metric, change, ""
    for metric, creep in point.creep.items():
        if creep.change is not None:
            yield metric, creep.change, f" since {creep.since[:10]}"
