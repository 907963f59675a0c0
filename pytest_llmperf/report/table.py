"""One table per test: load points × metrics, with SLO and baseline marks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, dollars, parse_metric
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.metrics import is_supported
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.width import cells, fitted, padded, squeezed, wrapped

COLUMNS = (
    ("TTFT p50", "ttft_p50_ms"),
    ("p95", "ttft_p95_ms"),
    ("p99", "ttft_p99_ms"),
    ("TPOT p50", "tpot_p50_ms"),
    ("ITL p99", "itl_p99_ms"),
    ("tok/s", "output_tokens_per_s"),
    ("req/s", "requests_per_s"),
)
GOOD = ("good/s", "good_requests_per_s")
# From what can be missed most easily.
_SPARE = (
    *("ttft_p99_ms", "itl_p99_ms", "requests_per_s", "output_tokens_per_s", "good_requests_per_s"),
    *("tpot_p50_ms", "ttft_p50_ms", "ttft_p95_ms"),
)
_LABEL = 16
_FEWEST = 2
LEGEND = (
    "latencies in ms; ✓ ✗ ? meets the SLO, misses it, undecided; ~ fewer requests than the percentile needs",
    "second lines: change from the baseline, or from the other subject; ✓ within tolerance, ▲ better, "
    "✗ worse, ? undecided",
)
SLO_BROKEN = str(Verdict.SLO_BROKEN)
SLO_MARKS = {"pass": "✓", SLO_BROKEN: "✗", "inconclusive": "?"}
CHANGE_MARKS = {"pass": "✓", "improved": "▲", "regressed": "✗", "inconclusive": "?"}


def table(entry: Mapping[str, Any], width: int | None = None) -> list[str]:
    """The lines of the table of one test's entry, in no more than ``width`` cells; none where nothing was
    measured."""
    lines, left_out = fitted_table(entry, width)
    return [*lines, *(wrapped(no_room(left_out), width) if left_out else ())]


def fitted_table(entry: Mapping[str, Any], width: int | None) -> tuple[list[str], list[str]]:
    """The table, and the metrics for which it has no room.

    Columns of what is not judged go first, the least important of them before the others; if that is not
    enough, every metric has a line of its own.
    """
    points = [point for point in entry["points"] if point["runs"] and not is_search(point)]
    if not points:
        return [], []
    columns = columns_of(points)
    judged = {one["metric"] for point in points for one in (*point["objectives"], *point["changes"])}
    spare = [name for name in _SPARE if name not in judged]
    left_out: list[str] = []
    while True:
        lines = _aligned(_rows(points, columns, width))
        if width is None or max(map(cells, lines)) <= width:
            return lines, left_out
        if not spare or len(columns) <= _FEWEST:
            return [fitted(line, width) for line in _stacked(points, columns, width)], left_out
        name = spare.pop(0)
        left_out += [parse_metric(name).label for _, shown in columns if shown == name]
        columns = [column for column in columns if column[1] != name]


def no_room(left_out: Iterable[str]) -> str:
    """Says what is missing in tables."""
    return f"no room here for {', '.join(left_out)}"


def _rows(
    points: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], width: int | None
) -> list[list[str]]:
    rows = [["load", *_titles(columns), "errors"]]
    for point in points:
        label = load_label(point, points)
        if width is not None:
            label = squeezed(label, max(_LABEL, width // 3))
        rows.append([label, *(cell(point, name) for _, name in columns), errors_cell(point)])
        if point["changes"]:
            rows.append(["", *(change_cell(point, name) for _, name in columns), ""])
    return rows


def _titles(columns: Sequence[tuple[str, str]]) -> list[str]:
    """A percentile alone is one of the metric to the left."""
    metrics = [parse_metric(name).metric_name for _, name in columns]
    return [
        parse_metric(name).label
        if " " not in title and title[1:].isdecimal() and metrics[i - 1 : i] != metrics[i : i + 1]
        else title
        for i, (title, name) in enumerate(columns)
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(cells(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            padded(cell, width, right=i > 0) for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _stacked(
    points: Sequence[Mapping[str, Any]], columns: Sequence[tuple[str, str]], width: int
) -> Iterator[str]:
    """Every load point with a line for each metric."""
    for point in points:
        yield squeezed(load_label(point, points), width)
        rows = [
            [parse_metric(name).label, cell(point, name), change_cell(point, name)] for _, name in columns
        ]
        yield from (f"  {line}" for line in _aligned([*rows, ["errors", errors_cell(point), ""]]))


def is_search(point: Mapping[str, Any]) -> bool:
    """Whether it is no load point but a search for one, which has a capacity and nothing else."""
    return "seeks" in point.get("declared", {}).get("load", ())


def load_label(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str:
    """How a load point is called among those of its test."""
    several = len({other["workload"] for other in points}) > 1
    return printable(f"{point['load']}, {point['workload']}" if several else str(point["load"]))


def columns_of(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The fixed columns, and those of what else the SLO or the gate names beside their metric's."""
    columns = list(COLUMNS)
    per_request = (parse_metric(o["metric"]).metric.per == "request" for p in points for o in p["objectives"])
    if any(per_request) and any(GOOD[1] in run["values"] for point in points for run in point["runs"]):
        columns.append(GOOD)
    for judged in (judged for point in points for judged in (*point["objectives"], *point["changes"])):
        name = judged["metric"]
        if name == "error_rate" or any(name == shown for _, shown in columns):
            continue
        metric = parse_metric(name).metric_name
        of_same = [i for i, (_, shown) in enumerate(columns) if parse_metric(shown).metric_name == metric]
        columns.insert(of_same[-1] + 1 if of_same else len(columns), (judged["label"], name))
    return columns


def cell(point: Mapping[str, Any], name: str) -> str:
    """The mean over the launches with its marks, a dash without one."""
    values = [run["values"][name] for run in point["runs"] if name in run["values"]]
    if not values:
        return "–"
    key = parse_metric(name)
    value = mean_value(key, values)
    marks = [SLO_MARKS[o["verdict"]] for o in point["objectives"] if o["metric"] == name]
    return ("" if _is_known(point, key) else "~") + _number(key, value) + "".join(marks)


def _is_known(point: Mapping[str, Any], key: MetricKey) -> bool:
    if key.metric.per != "request":
        return True
    return all(is_supported(key, run["requests"] - _failed(run)) for run in point["runs"])


def _number(key: MetricKey, value: float) -> str:
    if key.metric.share:
        return f"{value * 100:.4g}%"
    if key.metric_name == "cost":
        return f"${dollars(value)}"
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def change_cell(point: Mapping[str, Any], name: str) -> str:
    """The change from the base with its mark; nothing where there is none."""
    for change in point["changes"]:
        if change["metric"] == name:
            return f"{percent(change['estimate'])}{CHANGE_MARKS[change['verdict']]}"
    return ""


def errors_cell(point: Mapping[str, Any]) -> str:
    """How many requests failed, of how many."""
    failed = sum(_failed(run) for run in point["runs"])
    total = sum(run["requests"] for run in point["runs"])
    verdicts = [o["verdict"] for o in point["objectives"] if o["metric"] == "error_rate"]
    marks = [SLO_MARKS[verdict] for verdict in verdicts if verdict != "pass"]
    return f"{failed}/{total}{''.join(marks)}" if failed else "0"


def _failed(run: Mapping[str, Any]) -> int:
    return sum(error["count"] for error in run["errors"].values())


def percent(share: float) -> str:
    """A signed percentage as short as it can be: ``+12%``, ``-0.4%``."""
    value = share * 100
    return f"{value:+.0f}%" if abs(value) >= 10 else f"{value:+.1f}%"
