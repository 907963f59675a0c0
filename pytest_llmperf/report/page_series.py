"""What lies inside a load point: distributions, requests one by one, the engine's counters over time.

A record of many tests has more of it than a page can hold: a page takes what there is room for, failing tests
first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.report.page_record import FAILING, UNSURE, Entry, Point, sides_of
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.table import is_search, load_label

_DISTRIBUTIONS = ("ttft_ms", "tpot_ms", "itl_ms")
_DIGITS = 4
_MOST_ROWS = {"waterfall": 60, "engine": 150}
_TEXT = 200
_KINDS = ("quantiles", "waterfall", "engine")

Inside = dict[str, Any]


def insides(entry: Entry) -> list[Inside]:
    """For each load point with anything recorded of it, its label and what there is, the most telling point
    first; empty for a record that has none of it."""
    points = [point for point in entry["points"] if not is_search(point)]
    return [
        {"load": load_label(point, points), **inside}
        for point in _ordered(points)
        if (inside := _inside(point))
    ]


def _ordered(points: Sequence[Point]) -> list[Point]:
    """What got worse or missed a limit first, then from high loads to low."""
    downwards = points[::-1]
    return sorted(downwards, key=_is_fine)


def _is_fine(point: Point) -> bool:
    judged = (*point["changes"], *(() if point["explored"] else point["objectives"]))
    return not any(one["verdict"] in FAILING for one in judged)


def _inside(point: Point) -> Inside:
    found: Inside = {kind: {} for kind in _KINDS}
    for side, runs in sides_of(point):
        series = [(run["launch"], run["series"]) for run in runs if run.get("series")]
        if quantiles := _quantiles([one["quantiles"] for _, one in series if one.get("quantiles")]):
            found["quantiles"][side] = quantiles
        for kind, most in _MOST_ROWS.items():
            told = ((launch, one[kind]) for launch, one in series if one.get(kind) and one[kind]["rows"])
            if (one := next(told, None)) is not None:
                found[kind][side] = _rows(*one, most)
    return {kind: told for kind, told in found.items() if told}


def _quantiles(of_runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each metric and level the mean over the runs (geometric, as everywhere), the lowest and the
    highest."""
    if not of_runs:
        return {}
    levels = of_runs[0]["levels"]
    alike = [one for one in of_runs if one["levels"] == levels]
    told = {
        metric: [_over(column) for column in zip(*(one[metric] for one in alike), strict=True)]
        for metric in _DISTRIBUTIONS
        if all(len(one.get(metric) or ()) == len(levels) for one in alike)
    }
    return {"levels": levels, "runs": len(alike), **told} if told else {}


def _over(column: Sequence[float | None]) -> list[float] | None:
    values = [value for value in column if value is not None]
    if not values:
        return None
    is_positive = min(values) > 0
    mean = (
        math.exp(math.fsum(map(math.log, values)) / len(values))
        if is_positive
        else math.fsum(values) / len(values)
    )
    return [_short(mean), _short(min(values)), _short(max(values))]


def _rows(launch: int, table: Mapping[str, Any], most: int) -> dict[str, Any]:
    rows = table["rows"]
    step = math.ceil(len(rows) / most) if table["columns"][0] == "at_s" else 1
    shown = rows[::step][:most]
    return {
        "launch": launch,
        "columns": table["columns"],
        "rows": [[_short(one) for one in row] for row in shown],
    }


def _short(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, _TEXT)
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def within(budget: int, of_tests: Sequence[tuple[Entry, list[Inside]]]) -> list[list[Inside]]:
    """What there is room for, in so many bytes: distributions first, then the rest load point by load point,
    of failing tests before those that may have failed, and of those that pass last. ``is_cut`` tells the load
    points of which something was left out."""
    kept: list[list[Inside]] = [[{"load": one["load"]} for one in inside] for _, inside in of_tests]
    wanted = [
        (kind != "quantiles", _rank(entry), place, test, kind)
        for test, (entry, inside) in enumerate(of_tests)
        for place, one in enumerate(inside)
        for kind in _KINDS
        if kind in one
    ]
    for _, _, place, test, kind in sorted(wanted):
        part = of_tests[test][1][place][kind]
        size = len(json.dumps(part, separators=(",", ":")))
        if size <= budget:
            budget -= size
            kept[test][place][kind] = part
        else:
            kept[test][place]["is_cut"] = True
    return kept


def _rank(entry: Entry) -> int:
    return 0 if entry["verdict"] in FAILING else 1 if entry["verdict"] in UNSURE else 2
