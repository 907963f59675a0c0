"""How a metric went from one accepted baseline to the next."""

from __future__ import annotations

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.values import middle
from pytest_llmperf.report.table import percent


def drift_lines(baseline: Baseline, point: str, key: MetricKey) -> list[str]:
    """A line for each baseline that has the metric, oldest first and ``baseline`` last, with the change from
    the first: ``2026-05-01  vllm==0.22.1  48.6 ms``. ``point`` is the key of the load point."""
    known = [
        (past.accepted[:10], past.subject_text, past.points[point][key.name])
        for past in baseline.past
        if key.name in past.points.get(point, {})
    ]
    if values := baseline.points.get(point, {}).get(key.name):
        known.append((baseline.accepted[:10], baseline.subject_text, middle(values)))
    rows = [(day, text, key.format(value)) for day, text, value in known]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (1, 2)]
    return [
        f"{day}  {text:{widths[0]}}  {value:>{widths[1]}}{_change(known[0][2], exact) if number else ''}"
        for number, ((day, text, value), (_, _, exact)) in enumerate(zip(rows, known, strict=True))
    ]


def _change(first: float, value: float) -> str:
    return f"  {percent(value / first - 1)}" if first else ""
