"""One line for each judgement: a limit and how it was met, a metric and how it changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.judge.change import CONFIDENCE
from pytest_llmperf.report.table import SLO_BROKEN, percent

Judged = Mapping[str, Any]
_SIDES = ("runs", "base_runs")


def is_side_by_side(entry: Judged) -> bool:
    """Whether what it was compared with was measured beside it, and not before."""
    return entry["compared_with"] is not None and entry["compared_with"]["kind"] == "side by side"


def without_left_out(entry: Judged) -> Judged:
    """The entry with those runs alone that count; of one that is invalid, all."""
    if not entry["left_out"]:
        return entry
    points = [
        {**point, **{side: [run for run in point[side] if not run["health"]["problems"]] for side in _SIDES}}
        for point in entry["points"]
    ]
    return {**entry, "points": points}


def limits(entry: Judged, *verdicts: str) -> Iterator[tuple[Judged, Judged]]:
    """The load points and their objectives that were judged so; not those of a sweep that finds its own
    rates, which misses limits on purpose."""
    for point in entry["points"]:
        for objective in () if point.get("explored") else point["objectives"]:
            if objective["verdict"] in verdicts:
                yield point, objective


def changes(entry: Judged, *verdicts: str) -> Iterator[tuple[Judged, Judged]]:
    """The load points and their changes that were judged so."""
    for point in entry["points"]:
        for change in point["changes"]:
            if change["verdict"] in verdicts:
                yield point, change


def broken(entry: Judged) -> list[tuple[Judged, Judged]]:
    """Limits that are missed, the worst first: that on failed requests, since latencies of the few that were
    answered mean little; then by how far, as a share of the limit."""
    found = limits(entry, SLO_BROKEN)
    return sorted(found, key=lambda one: (one[1]["metric"] != "error_rate", -excess(one[1])))


def worsened(entry: Judged) -> list[tuple[Judged, Judged]]:
    """Changes for the worse, the largest first."""
    return sorted(changes(entry, "regressed"), key=lambda one: -size(one[1]))


def crept(entry: Judged) -> list[tuple[Judged, Judged]]:
    """The load points and changes that came in small steps, the largest first."""
    found = [(point, change) for point in entry["points"] for change in point["creep"]]
    return sorted(found, key=lambda one: -size(one[1]))


def excess(objective: Judged) -> float:
    """How far a value is from its limit, as a share of that; infinite where nothing is allowed."""
    return math.inf if objective["margin"] is None else abs(float(objective["margin"]))


def size(change: Judged) -> float:
    """How far apart two values are, whichever is the larger: the logarithm of their ratio."""
    return abs(math.log(max(1 + float(change["estimate"]), 1e-9)))


def limit_headline(point: Judged, objective: Judged) -> str:
    """``TTFT p95 at 6/s is 312 ms, limit 300 ms``."""
    key = parse_metric(objective["metric"])
    return (
        f"{where_of(point, objective)} is {key.format(objective['value'])}, "
        f"limit {key.format(objective['limit'])}"
    )


def limit_line(point: Judged, objective: Judged) -> str:
    """Value, interval, evidence, limit and margin of an SLO that is not met, or may not be."""
    key = parse_metric(objective["metric"])
    launches = objective["launches"]
    evidence = f"{launches} launch{'es' if launches != 1 else ''}"
    if has_interval(objective):
        low, high = bare(key, objective["low"]), bare(key, objective["high"])
        evidence = f"{CONFIDENCE:.0%} interval {low} to {high}; {evidence}"
    elif launches > 1:
        evidence = f"missed in {objective['missed']} of {evidence}"
    margin = f", {distance}" if (distance := beyond(key, objective)) else ""
    return (
        f"{where_of(point, objective)} is {key.format(objective['value'])} ({evidence}), "
        f"limit {key.format(objective['limit'])}{margin}{_doubt(objective)}"
    )


def _doubt(objective: Judged) -> str:
    """Why it is undecided although the interval, which is of this one alone, leaves the limit out."""
    low, high = objective["low"], objective["high"]
    if objective["verdict"] != "inconclusive" or low <= objective["limit"] <= high:
        return ""
    return "; its interval is clear of the limit, but not of doubt where a session judges this much"


def short_limit_line(point: Judged, objective: Judged) -> str:
    """``SLO: TTFT p95 at 4/s 212 ms (205 to 220), 29% under 300 ms``."""
    key = parse_metric(objective["metric"])
    interval = ""
    if has_interval(objective):
        interval = f" ({bare(key, objective['low'])} to {bare(key, objective['high'])})"
    limit = key.format(objective["limit"])
    where = f"{distance} {limit}" if (distance := beyond(key, objective)) else f"limit {limit}"
    value = key.format(objective["value"])
    return f"SLO: {where_of(point, objective)} {value}{interval}, {where}"


def has_interval(objective: Judged) -> bool:
    """Whether there is one: not of a share that is perfect, or may not be above zero."""
    return bool(objective["low"] < objective["high"])


def where_of(point: Judged, judged: Judged) -> str:
    """``TTFT p95 at 6/s``; what is a launch's own, or was searched for, is at no load."""
    has_load = parse_metric(judged["metric"]).metric.has_load
    return f"{judged['label']} at {point['load']}" if has_load else str(judged["label"])


def beyond(key: MetricKey, objective: Judged) -> str:
    """The margin in words; none for a share, of which a share would only confuse."""
    if objective["margin"] is None or key.metric.share:
        return ""
    is_met, is_upper = objective["met"], key.metric.better == "lower"
    word = ("under" if is_met else "over") if is_upper else ("over" if is_met else "short of")
    return f"{percent(abs(objective['margin']))[1:]} {word}"


def change_headline(point: Judged, change: Judged) -> str:
    """``TTFT p95 at 6/s: 15.8 ms → 68.9 ms, +336%``."""
    key = parse_metric(change["metric"])
    return (
        f"{where_of(point, change)}: {key.format(change['base'])} → "
        f"{key.format(change['candidate'])}, {percent(change['estimate'])}"
    )


def change_line(point: Judged, change: Judged) -> str:
    """From what to what, by how much, with its interval, the evidence and the tolerance."""
    risk = ""
    if change["verdict"] == "inconclusive":
        # The interval does not know that changes are rare, so a small one is more likely chance.
        risk = f"; since most changes are none, {_chance(change['risk'])} of being worse than that"
    return (
        f"{change_headline(point, change)} ({_interval(change)}; {evidence(change)}; "
        f"tolerance {_tolerance(change)}{risk})"
    )


def short_change_line(point: Judged, change: Judged) -> str:
    """``TTFT p50 at 4/s +1.2% (-2.1% to +4.6%), 2% chance of being worse than 5%``."""
    return (
        f"{where_of(point, change)} {percent(change['estimate'])} ({percent(change['low'])} to "
        f"{percent(change['high'])}), {_chance(change['risk'])} of being worse than {_tolerance(change)}"
    )


def creep_line(point: Judged, change: Judged) -> str:
    """What became worse in steps that were each too small to be refused."""
    steps = change["steps"]
    over = f"over {steps} accepted baselines, each within its tolerance" if steps > 1 else "one step later"
    return (
        f"in small steps: {change_headline(point, change)} since {change['since'][:10]} "
        f"({change['since_subject']}), {over} "
        f"({_interval(change)}; tolerance {_tolerance(change)})"
    )


def evidence(change: Judged) -> str:
    """``3 + 4 launches``: the base's and the candidate's."""
    return f"{change['base_launches']} + {change['candidate_launches']} launches"


def _interval(change: Judged) -> str:
    return f"{CONFIDENCE:.0%} interval {percent(change['low'])} to {percent(change['high'])}"


def _tolerance(change: Judged) -> str:
    return f"{change['tolerance'] * 100:.3g}%"


def _chance(risk: float) -> str:
    shown = "less than 1%" if risk < 0.005 else "more than 99%" if risk > 0.995 else f"{risk:.0%}"
    return f"{shown} chance"


def bare(key: MetricKey, value: float) -> str:
    """A value without its unit, which stands beside it."""
    shown = key.format(value)
    return shown if key.metric.share else shown.partition("/s")[0].partition(" ")[0]
