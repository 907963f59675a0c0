"""What the sweeps that find their own rates, and the searches for a capacity, came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import CAPACITY, parse_metric
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.report.table import CHANGE_MARKS, SLO_MARKS, is_search, percent

_ENDED = {"budget": "the budget ended it"}


def sweep_lines(entry: Mapping[str, Any]) -> list[str]:
    """A line for each sweep and each capacity of an entry."""
    sweeps, found = entry.get("sweeps", ()), list(capacities(entry["points"]))
    several = bool(sweeps or found) and len({point["workload"] for point in entry["points"]}) > 1
    return [*(_sweep(sweep, several) for sweep in sweeps), *(_capacity(point, several) for point in found)]


def capacities(points: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The points that are no load points, but searches for one."""
    return (point for point in points if is_search(point) and point["runs"])


def _sweep(sweep: Mapping[str, Any], several: bool) -> str:
    bounds, told = sweep["bounds"], []
    told.append(f"one at a time {1 / bounds['latency_s']:.3g}/s, at most about {bounds['throughput']:.3g}/s")
    if sweep["meets_slo_at"] is not None and sweep["misses_slo_at"] is not None:
        told.append(f"met the SLO at {sweep['meets_slo_at']:g}/s and not at {sweep['misses_slo_at']:g}/s")
    elif sweep["misses_slo_at"] is not None:
        told.append(f"did not meet the SLO from {sweep['misses_slo_at']:g}/s on")
    elif sweep["meets_slo_at"] is not None:
        told.append(
            f"met the SLO up to {sweep['meets_slo_at']:g}/s, the highest rate that it kept up with here"
        )
    if sweep["knee"] is not None:
        told.append(f"bends at {sweep['knee']:.3g}/s")
    if sweep.get("late"):
        late = min(one["rate"] for one in sweep["late"])
        told.append(f"the load generator was late at {late:g}/s, so nothing above was tried")
    if sweep["saturated"]:
        told.append(f"saturated at {min(one['rate'] for one in sweep['saturated']):g}/s")
    told += filter(None, [_ENDED.get(sweep["ended"], "")])
    of = f" of {sweep['workload']}" if several else ""
    of += ", as the base chose it" if sweep.get("side") == "base" else ""
    return f"sweep{of}: {'; '.join(told)}"


def _capacity(point: Mapping[str, Any], several: bool) -> str:
    runs = point["runs"]
    key, values = (
        parse_metric(CAPACITY),
        [run["values"][CAPACITY] for run in runs if CAPACITY in run["values"]],
    )
    of = f" of {point['workload']}" if several else ""
    head = f"capacity{of} under {point['declared']['load']['seeks']}: "
    if not values:
        return f"{head}not found"
    probes = sum(len(run.get("probes", ())) for run in runs)
    found = [run["capacity"] for run in runs if run.get("capacity")]
    is_below = bool(found) and all(one["kind"] == "below" for one in found)
    if is_below:
        known = f"missed at whatever was driven, {probes} runs"
    elif len(values) == 1 and found:
        known = f"95% interval of this launch {found[0]['low']:.3g} to {found[0]['high']:.3g}, {probes} runs"
    else:
        known = f"{min(values):.3g} to {max(values):.3g} in {len(values)} launches, {probes} runs"
    is_above = bool(found) and all(one["kind"] == "above" for one in found)
    if is_above:
        known += "; met at every rate that it kept up with"
    elif not is_below and not all(one["settled"] for one in found):
        known += "; a longer budget or duration would tell more"
    marks = "".join(SLO_MARKS[o["verdict"]] for o in point["objectives"] if o["metric"] == CAPACITY)
    changed = "".join(
        f"  {percent(change['estimate'])}{CHANGE_MARKS[change['verdict']]}"
        for change in point["changes"]
        if change["metric"] == CAPACITY
    )
    sign = "less than " if is_below else "at least " if is_above else ""
    return f"{head}{sign}{key.format(mean_value(key, values))}{marks} ({known}){changed}"
