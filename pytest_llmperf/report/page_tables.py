"""The tables of one test: limits, changes, what was measured, each launch, searches, the load generator."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.judge.change import CONFIDENCE
from pytest_llmperf.report.judged import beyond, changes, evidence, has_interval
from pytest_llmperf.report.markup import Child, Markup, tag
from pytest_llmperf.report.page_charts import unit
from pytest_llmperf.report.page_record import Entry, Point, name_of, sides_of
from pytest_llmperf.report.table import (
    CHANGE_MARKS,
    SLO_MARKS,
    cell,
    change_cell,
    columns_of,
    errors_cell,
    is_search,
    load_label,
    percent,
)

_WORDS = {"✓": "good", "▲": "good", "✗": "bad", "?": "unsure"}
_LONG = 32
_SIDE = {"candidate": "now", "base": "base"}
_INTERVAL = f"{CONFIDENCE:.0%} interval"


def table(
    caption: str, titles: Sequence[str], rows: Sequence[Sequence[Child]], words: int = 1
) -> Markup | None:
    """A table whose first columns, as many as ``words``, are text, and all others figures; None without a
    row. It scrolls by itself where it is too wide, also by keys."""
    if not rows:
        return None
    head = [tag("th", title, scope="col") for title in titles]
    body = [
        tag("tr", tag("th", row[0], scope="row", class_=_width(row[0])), _cells(row, words)) for row in rows
    ]
    content = [tag("caption", caption), tag("thead", tag("tr", head)), tag("tbody", body)]
    scrolled = tag("table", content, class_=f"words-{words}")
    return tag("div", scrolled, class_="wide", tabindex="0", role="region", aria_label=caption)


def _cells(row: Sequence[Child], words: int) -> Iterator[Markup]:
    for number, content in enumerate(row[1:], 1):
        yield tag("td", content, class_=_width(content) if number < words else None)


def _width(content: Child) -> str | None:
    """A name that has no place to break a line in is broken anywhere."""
    text = re.sub("<[^>]*>", "", content) if isinstance(content, Markup) else content
    return "long" if isinstance(text, str) and max(map(len, text.split()), default=0) > _LONG else None


def marked(text: str) -> Child:
    """A figure with its mark in colour."""
    mark = text[-1:]
    return [text[:-1], tag("span", mark, class_=_WORDS[mark])] if mark in _WORDS else text


def verdict_word(verdict: str) -> Markup:
    """A verdict as it is called in terminals, in its colour."""
    mark = {**SLO_MARKS, **CHANGE_MARKS}.get(verdict, "")
    return tag("span", f"{mark} {verdict}".strip(), class_=_WORDS.get(mark))


def side_key(side: str) -> Markup:
    """What is under test is ``now``; both in the colours that charts give them."""
    return tag("span", _SIDE[side], class_=f"key of-{side}")


def limits_table(entry: Entry) -> Markup | None:
    """Every limit at every load; that nothing failed where nothing may is no news."""
    rows: list[Sequence[Child]] = []
    points = entry["points"]
    for point in points:
        for objective in point["objectives"]:
            if objective["limit"] == 0 and objective["verdict"] == "pass":
                continue
            rows.append(_limit_row(point, objective, points))
    titles = ("load", "metric", "verdict", "value", _INTERVAL, "limit", "margin", "launches")
    return table("Service-level objectives", titles, rows, words=3)


def _limit_row(point: Point, objective: Mapping[str, Any], points: Sequence[Point]) -> Sequence[Child]:
    key = parse_metric(objective["metric"])
    launches, missed = objective["launches"], objective["missed"]
    return (
        load_label(point, points) if key.metric.has_load else "–",
        objective["label"],
        _limit_verdict(point, objective),
        key.format(objective["value"]),
        f"{key.format(objective['low'])} to {key.format(objective['high'])}"
        if has_interval(objective)
        else "–",
        key.format(objective["limit"]),
        beyond(key, objective) or "–",
        f"{launches}, missed in {missed}" if missed and launches > 1 else str(launches),
    )


def _limit_verdict(point: Point, objective: Mapping[str, Any]) -> Child:
    """A sweep that finds its own rates misses limits on purpose, to see where."""
    if not point["explored"]:
        return verdict_word(objective["verdict"])
    return tag("span", "met" if objective["met"] else "not met, tried on purpose", class_="quiet")


def changes_table(entry: Entry) -> Markup | None:
    """Every comparison."""
    rows = [_change_row(point, change, entry["points"]) for point, change in changes(entry, *CHANGE_MARKS)]
    titles = (
        *("load", "metric", "verdict", "base", "now", "change", _INTERVAL, "tolerance"),
        *("chance of worse", "launches"),
    )
    return table("Changes", titles, rows, words=3)


def _change_row(point: Point, change: Mapping[str, Any], points: Sequence[Point]) -> Sequence[Child]:
    key = parse_metric(change["metric"])
    risk = change["risk"]
    return (
        load_label(point, points) if key.metric.has_load else "–",
        change["label"],
        verdict_word(change["verdict"]),
        key.format(change["base"]),
        key.format(change["candidate"]),
        tag("strong", percent(change["estimate"])),
        f"{percent(change['low'])} to {percent(change['high'])}",
        f"{change['tolerance'] * 100:.3g}%",
        "–" if risk is None else "< 1%" if risk < 0.005 else "> 99%" if risk > 0.995 else f"{risk:.0%}",
        evidence(change).removesuffix(" launches"),
    )


def measured_table(entry: Entry) -> Markup | None:
    """What was measured at each load, as the terminal shows it, and the other side's figures."""
    points = [point for point in entry["points"] if any(sides_of(point)) and not is_search(point)]
    if not points:
        return None
    columns = columns_of(points)
    has_base = any(point["base_runs"] or point["changes"] for point in points)
    rows: list[Sequence[Child]] = []
    for point in points:
        label = load_label(point, points)
        for side, runs in sides_of(point):
            of_side = {
                **point,
                "runs": runs,
                "objectives": point["objectives"] if side == "candidate" else [],
            }
            figures = [marked(cell(of_side, name)) for _, name in columns]
            rows.append((label, *((side_key(side),) if has_base else ()), *figures, errors_cell(of_side)))
        if point["changes"]:
            shown = [marked(change_cell(point, name)) for _, name in columns]
            rows.append((label, *(("change",) if has_base else ()), *shown, ""))
    heads = (
        "load",
        *(("side",) if has_base else ()),
        *(_title(parse_metric(name)) for _, name in columns),
        "errors",
    )
    return table(f"Measured in {name_of(entry)}", heads, rows, words=2 if has_base else 1)


def _title(key: MetricKey) -> str:
    return f"{key.label}, {unit(key)}".removesuffix(", ")


def launches_table(entry: Entry) -> Markup | None:
    """Every single run of every launch."""
    points = [point for point in entry["points"] if not is_search(point)]
    columns = [name for _, name in columns_of([point for point in points if any(sides_of(point))])]
    rows = [
        (
            load_label(point, points),
            _SIDE[side],
            f"{run['launch']}",
            *(_number(run["values"].get(name)) for name in columns),
            f"{run['requests']}",
            f"{sum(error['count'] for error in run['errors'].values())}",
        )
        for point in points
        for side, runs in sides_of(point)
        for run in runs
    ]
    heads = (
        "load",
        "side",
        "launch",
        *(_title(parse_metric(name)) for name in columns),
        "requests",
        "failed",
    )
    return table("Each launch", heads, rows, words=3)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def probes_table(point: Point) -> Markup | None:
    """The runs of a search for a capacity."""
    shown = ("ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "output_tokens_per_s")
    rows = [
        (
            f"{probe['rate']:g}/s",
            side_key(side),
            str(run["launch"]),
            _how(probe),
            *(_number(probe["values"].get(name)) for name in shown),
            str(probe["requests"]),
        )
        for side, runs in sides_of(point)
        for run in runs
        for probe in run.get("probes", ())
    ]
    heads = ("rate", "side", "launch", "came to", *(_title(parse_metric(name)) for name in shown), "requests")
    return table("Runs of the search", heads, rows, words=4)


def _how(probe: Mapping[str, Any]) -> str:
    if probe["saturated"]:
        return "saturated"
    if probe["margin"] is None:
        return "given up"
    return "met the SLO" if probe["margin"] < 0 else "missed the SLO"


def health_table(entry: Entry) -> Markup | None:
    """How the load generator did, at its worst over the runs of each load."""
    rows = [
        (load_label(point, entry["points"]), *_health([run["health"] for run in _all_runs(point)]))
        for point in entry["points"]
        if any(True for _ in _all_runs(point))
    ]
    heads = (
        *("load", "time stamps", "sent late, p99", "read late, p99", "arrivals", "of a core"),
        *("CPU kept by others", "prompts from cache"),
    )
    return table("The load generator, at its worst", heads, rows, words=2)


def _all_runs(point: Point) -> Iterator[Mapping[str, Any]]:
    for _, runs in sides_of(point):
        yield from runs


def _health(of_runs: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    def known(name: str) -> list[float]:
        return [health[name] for health in of_runs if isinstance(health.get(name), int | float)]

    def worst(name: str, shape: str, scale: float = 1.0) -> str:
        return shape.format(max(known(name)) * scale) if known(name) else "–"

    clocks = ", ".join(sorted({str(health["clock"]) for health in of_runs if "clock" in health}))
    return (
        clocks or "–",
        worst("dispatch_lag_p99_ms", "{:.2f} ms"),
        worst("read_lag_p99_ms", "{:.2f} ms"),
        f"{min(known('arrivals')):.1%}" if known("arrivals") else "–",
        worst("cpu_share", "{:.0f}%", 100),
        worst("steal_share", "{:.1f}%", 100),
        worst("cached_prompt_share", "{:.1f}%", 100),
    )
