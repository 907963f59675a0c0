"""What a JUnit file tells of a performance test beside its failure: properties, as ``record_property`` makes
them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.report.judged import is_side_by_side, without_left_out
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.table import columns_of, is_search, load_label, percent

MOST = 300
_LONGEST = 200

Entry = Mapping[str, Any]
Property = tuple[str, str]


def properties(entry: Entry) -> list[Property]:
    """Names that begin with ``llmperf.`` and values: what was measured, how it was judged, and from what.

    There are :data:`MOST` at most; of the others there is a last one with their number.
    """
    found = [*_of_test(entry), *_of_points(without_left_out(entry))]
    shown = [(f"llmperf.{printable(name, _LONGEST)}", printable(value, _LONGEST)) for name, value in found]
    left = len(shown) - MOST
    return [*shown[:MOST], ("llmperf.left_out", f"{left} more in the record")] if left > 0 else shown


def _of_test(entry: Entry) -> Iterator[Property]:
    yield "verdict", entry["verdict"]
    yield "subject", entry["subject"]["text"]
    yield "version", entry["subject"]["fields"].get("version", "")
    yield "launches", str(entry["launches"])
    if (base := entry["compared_with"]) is not None:
        yield "base", base["text"]
        yield "base.kind", "side by side" if is_side_by_side(entry) else "baseline"
        yield "base.version", base["fields"].get("version", "")
        yield "base.launches", str(base["launches"])
    yield from zip(("probes", "probes.last_broken"), probe_lines(entry), strict=False)


def _of_points(entry: Entry) -> Iterator[Property]:
    points = [point for point in entry["points"] if point["runs"]]
    for point in points:
        label = load_label(point, points)
        for name in dict.fromkeys((*_columns(point), "error_rate")):
            values = [run["values"][name] for run in point["runs"] if name in run["values"]]
            if values:
                yield f"{name} at {label}", f"{mean_value(parse_metric(name), values):.6g}"
        for objective in point["objectives"]:
            limit = f"{objective['limit']:g} ({objective['verdict']})"
            yield f"{objective['metric']} at {label}, limit", limit
        for change in point["changes"]:
            interval = f"95% interval {percent(change['low'])} to {percent(change['high'])}"
            told = f"{percent(change['estimate'])} ({change['verdict']}; {interval})"
            yield f"{change['metric']} at {label}, change", told


def _columns(point: Entry) -> Sequence[str]:
    """The metrics of the terminal's table; of a search for a capacity, that."""
    if is_search(point):
        return [judged["metric"] for judged in (*point["objectives"], *point["changes"])] or [
            "capacity_per_s"
        ]
    return [name for _, name in columns_of([point])]


class Describing:
    """Hooks of the process that measures: what is known of a test goes with its reports, from one process to
    the next, too."""

    def __init__(self) -> None:
        self._properties: dict[str, list[Property]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if getattr(report, "llmperf_error", False):
            self._properties.setdefault(report.nodeid, [("llmperf.verdict", "error")])
        if (entry := getattr(report, "llmperf", None)) is not None:
            self._properties[report.nodeid] = properties(json.loads(entry))
        if report.when != "setup":
            report.user_properties += self._properties.get(report.nodeid, [])
