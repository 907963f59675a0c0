"""The figures of the charts: latency over load, changes, the search for a capacity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.judge.objective import half_width
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.report.judged import changes
from pytest_llmperf.report.page_record import Entry, Point, by_launch, mean_of, sides_of, titles
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.table import CHANGE_MARKS, is_search, load_label, percent

_TAIL = 0.025
_SHOWN = ("ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms", "tpot_p50_ms", "tpot_p95_ms", "tpot_p99_ms")
_LOADS = {"rate": "requests/s", "concurrency": "requests at once", "replay": "speed of the trace"}
_NAME = 60
_MOST = 5.0  # beyond 150 times a limit it does not matter how far


class Chart(NamedTuple):
    """A chart: its title, what it says to those who do not see it, and its figures."""

    title: str
    words: str
    figures: Mapping[str, Any]


class Course(NamedTuple):
    """Load points of one workload that differ in one number."""

    workload: str
    kind: str
    points: Sequence[tuple[float, Point]]


def legend(entry: Entry) -> dict[str, str]:
    """The names of the sides that were measured, short enough for a chart."""
    measured = {side for point in entry["points"] for side, _ in sides_of(point)}
    return {side: printable(text, _NAME) for side, text in titles(entry).items() if side in measured}


def courses(entry: Entry) -> list[Course]:
    """The load points that a curve can go through; one alone makes a course where there is no other."""
    found: dict[tuple[str, str], list[tuple[float, Point]]] = {}
    for point in entry["points"]:
        load = point["declared"]["load"]
        if is_search(point) or "batch" in load or not any(sides_of(point)):
            continue
        for kind in _LOADS:
            if isinstance(number := load.get(kind), int | float):
                found.setdefault((point["workload"], kind), []).append((float(number), point))
    all_of_them = [Course(*key, sorted(points, key=_load)) for key, points in found.items()]
    several = [course for course in all_of_them if len({load for load, _ in course.points}) > 1]
    return several or all_of_them


def _load(one: tuple[float, Point]) -> float:
    return one[0]


def load_name(kind: str) -> str:
    return _LOADS[kind]


def curves(entry: Entry, course: Course) -> Iterator[Chart]:
    """A chart for each latency, and for what else has a limit or was compared."""
    points = [point for _, point in course.points]
    judged = (judged["metric"] for point in points for judged in (*point["objectives"], *point["changes"]))
    names = dict.fromkeys((*_SHOWN, *(name for name in judged if parse_metric(name).metric.has_load)))
    for name in names:
        key = parse_metric(name)
        series = [
            {"side": side, "points": found}
            for side in ("candidate", "base")
            if (
                found := [
                    one for one in (_at(load, point, side, key) for load, point in course.points) if one
                ]
            )
        ]
        if series and name != "error_rate":
            yield _curve(entry, course, key, series)


def _curve(entry: Entry, course: Course, key: MetricKey, series: Sequence[Mapping[str, Any]]) -> Chart:
    limits = {o["limit"] for _, p in course.points for o in p["objectives"] if o["metric"] == key.name}
    title = f"{key.label}, {unit(key)}" if unit(key) else key.label
    means = [one["y"] for one in series[0]["points"]]
    span = f"{key.format(means[0])} to {key.format(means[-1])}" if len(means) > 1 else key.format(means[0])
    limit = f"; limit {key.format(min(limits))}" if limits else ""
    words = f"{key.label} over {load_name(course.kind)}: {span}{limit}. The figures are in the tables below."
    figures = {
        "kind": "curve",
        "metric": key.name,
        "x": load_name(course.kind),
        "limit": min(limits, default=None),
        "scale": 100 if key.metric.share else 1,
        "unit": unit(key),
        "names": legend(entry),
        "series": series,
    }
    return Chart(title, words, figures)


def unit(key: MetricKey) -> str:
    """What stands beside a number: ms, /s, %."""
    if key.metric.share:
        return "%"
    return "$/M tokens" if key.metric_name == "cost" else key.metric.unit.replace("per_s", "/s")


def _at(load: float, point: Point, side: str, key: MetricKey) -> dict[str, Any] | None:
    """A metric of one side at one load: the mean, its interval, and each launch."""
    runs = point["runs"] if side == "candidate" else point["base_runs"]
    mean, launches = mean_of(runs, key.name), by_launch(runs, key)
    if mean is None:
        return None
    low, high = _interval(point, side, key, mean, launches)
    return {
        "x": load,
        "y": rounded(mean),
        "low": rounded(low),
        "high": rounded(high),
        "launches": [float(f"{value:.5g}") for _, value, _ in launches],
    }


def _interval(
    point: Point, side: str, key: MetricKey, mean: float, launches: Sequence[tuple[int, float, float]]
) -> tuple[float, float]:
    """That of the limit where there is one, else reckoned as that is (but without what the project's history
    knows of the spread between launches); none of a share."""
    for objective in point["objectives"] if side == "candidate" else ():
        if objective["metric"] == key.name:
            return objective["low"], objective["high"]
    values = [value for _, value, _ in launches]
    if key.metric.share or min(values) <= 0:
        return mean, mean
    sampling = math.sqrt(math.fsum(known**2 for *_, known in launches) / len(launches))
    half = half_width([math.log(value) for value in values], Prior(key.metric.spread), sampling, _TAIL)
    return mean * math.exp(-half), mean * math.exp(half)


def forest(entry: Entry) -> Chart | None:
    """Every change with its interval and its tolerance; None where nothing was compared."""
    rows = [
        {
            "name": printable(_called(point, change, entry["points"]), _NAME),
            "y": change["estimate"],
            "low": change["low"],
            "high": change["high"],
            "tolerance": change["tolerance"] * (1 if change["better"] == "lower" else -1),
            "verdict": change["verdict"],
            "text": f"{percent(change['estimate'])} {CHANGE_MARKS[change['verdict']]}",
        }
        for point, change in changes(entry, *CHANGE_MARKS)
    ]
    if not rows:
        return None
    worse = sum(row["verdict"] == "regressed" for row in rows)
    words = f"{len(rows)} changes with their intervals, {worse} of them worse. The figures are in a table."
    return Chart("Change from the base", words, {"kind": "forest", "rows": rows})


def _called(point: Point, change: Mapping[str, Any], points: Sequence[Point]) -> str:
    has_load = parse_metric(change["metric"]).metric.has_load
    return f"{change['label']} at {load_label(point, points)}" if has_load else str(change["label"])


def searches(entry: Entry) -> Iterator[tuple[Point, Chart]]:
    """For each capacity, what was tried for it: how near to its limit each run came, and what was found."""
    for point in entry["points"]:
        probes = [
            {
                "side": side,
                "launch": run["launch"],
                "x": probe["rate"],
                "y": None if probe["margin"] is None else rounded(math.exp(min(probe["margin"], _MOST))),
                "saturated": bool(probe["saturated"]),
            }
            for side, runs in sides_of(point)
            for run in runs
            for probe in run.get("probes", ())
        ]
        if not is_search(point) or not probes:
            continue
        found = [
            {"side": side, "launch": run["launch"], "value": run["values"].get("capacity_per_s"), **interval}
            for side, runs in sides_of(point)
            for run in runs
            if (interval := run.get("capacity"))
        ]
        words = f"{len(probes)} runs of the search for the capacity. The figures are in the table below."
        figures = {"kind": "search", "probes": probes, "found": found, "names": legend(entry)}
        yield point, Chart("The search: how much of the nearest limit each run took", words, figures)
