"""A record as the page takes it: with what records of former releases lack, and what each side is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.report.judged import is_side_by_side, without_left_out
from pytest_llmperf.report.table import SLO_BROKEN
from pytest_llmperf.report.width import squeezed

Record = Mapping[str, Any]
Entry = Mapping[str, Any]
Point = Mapping[str, Any]

SIDES = (("candidate", "runs"), ("base", "base_runs"))
NAME = 160
"""Cells of a name that are shown; a title has all of it."""
FAILING = (SLO_BROKEN, "regressed", "error", "invalid", "failed by itself")
UNSURE = ("inconclusive", "not judged")
_NOTHING: dict[str, Any] = {
    "command": [],
    "error": None,
    "slo": [],
    "environment": {},
    "launches": 0,
    "compared_with": None,
    "left_out": [],
    "baseline": "",
    "subject_differences": [],
    "sweeps": [],
}
_NO_POINT: dict[str, Any] = {
    "explored": False,
    "declared": {},
    "base_runs": [],
    "objectives": [],
    "changes": [],
    "course": {},
    "creep": [],
}
_NO_RUN: dict[str, Any] = {
    "round": 1,
    "uncertainty": {},
    "errors": {},
    "counters": {},
    "moments": {},
    "disturbances": [],
    "cache_reset": None,
    "saturated": False,
    "gave_up": False,
}
_NO_LAUNCH: dict[str, Any] = {
    "side": "candidate",
    "startup_s": {},
    "startup_cache": None,
    "startup_phases": {},
    "subject": {},
    "hardware": {},
    "notes": [],
    "disturbances": [],
    "log": None,
}


def completed(record: Record) -> dict[str, Any]:
    """The record with a value for each field that a record of a former release may lack."""
    return {
        "versions": {},
        "settings": {},
        "failures": [],
        **record,
        "launches": [{**_NO_LAUNCH, **launch} for launch in record.get("launches", ())],
        "tests": [_entry(entry) for entry in record["tests"]],
    }


def _entry(entry: Entry) -> Entry:
    return without_left_out({**_NOTHING, **entry, "points": [_point(point) for point in entry["points"]]})


def _point(point: Point) -> dict[str, Any]:
    filled = {**_NO_POINT, **point}
    for _, runs in SIDES:
        filled[runs] = [{**_NO_RUN, **run} for run in filled[runs]]
    filled["declared"] = {"load": {}, **filled["declared"]}
    filled["objectives"] = [_objective(objective) for objective in filled["objectives"]]
    filled["changes"] = [{"risk": None, **change} for change in filled["changes"]]
    return filled


def _objective(objective: Mapping[str, Any]) -> dict[str, Any]:
    value = objective["value"]
    verdict = "pass" if objective["met"] else SLO_BROKEN
    return {"low": value, "high": value, "verdict": verdict, **objective}


def name_of(entry: Entry) -> str:
    """The test without its file, as long as a line can be; they differ at their ends."""
    return squeezed(short_name(str(entry["test"])), NAME)


def titles(entry: Entry) -> dict[str, str]:
    """What each side is called in legends and tables."""
    base = entry["compared_with"]
    return {
        "candidate": entry["subject"]["text"] or "under test",
        "base": base["text"] if base is not None and is_side_by_side(entry) else "the other side",
    }


def sides_of(point: Point) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """Each side that was measured at this load point, with its runs."""
    for side, runs in SIDES:
        if point[runs]:
            yield side, point[runs]


def by_launch(runs: Sequence[Mapping[str, Any]], key: MetricKey) -> list[tuple[int, float, float]]:
    """For each launch that has one: its number, the mean over its runs, and how badly they know it."""
    found: dict[int, list[tuple[float, float]]] = {}
    for run in runs:
        if (value := run["values"].get(key.name)) is not None:
            found.setdefault(run["launch"], []).append((value, run["uncertainty"].get(key.name, 0.0)))
    return [
        (
            launch,
            mean_value(key, [value for value, _ in values]),
            sum(known**2 for _, known in values) ** 0.5 / len(values),
        )
        for launch, values in found.items()
    ]


def mean_of(runs: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean that tables show: over all runs that have a value."""
    values = [run["values"][name] for run in runs if name in run["values"]]
    return mean_value(parse_metric(name), values) if values else None
