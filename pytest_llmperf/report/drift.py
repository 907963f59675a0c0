"""How a metric went from one accepted baseline to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.report.table import percent


def course_lines(point: Mapping[str, Any]) -> list[str]:
    """The lines of every metric at a load point that has more than one accepted baseline, from its recorded
    form."""
    lines = []
    for name, course in point["course"].items():
        if len(course) > 1:
            key = parse_metric(name)
            lines.append(f"accepted baselines of {key.label} at {point['load']}:")
            lines += [f"  {line}" for line in drift_lines(course, key)]
    return lines


def drift_lines(course: Sequence[tuple[str, str, float]], key: MetricKey) -> list[str]:
    """A line for each accepted baseline, oldest first, with the change from the first:
    ``2026-05-01  vllm==0.22.1  48.6 ms``."""
    rows = [(accepted[:10], text, key.format(value)) for accepted, text, value in course]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (1, 2)]
    return [
        f"{day}  {text:{widths[0]}}  {shown:>{widths[1]}}{_change(course[0][2], value) if number else ''}"
        for number, ((day, text, shown), (_, _, value)) in enumerate(zip(rows, course, strict=True))
    ]


def _change(first: float, value: float) -> str:
    return f"  {percent(value / first - 1)}" if first else ""
