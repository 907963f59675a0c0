"""How right the search for a capacity is, beside a linear sweep and bisection, on simulated engines.

    python -m bench.search.run --out .bench-search       # 400 searches of each engine
    python -m bench.search.run --searches 8              # does it run?
    python -m bench.search.truth                         # what is true, anew (bench/search/results)

Seeds are fixed: they are the same searches each time. Writes figures.json, tables.md and plot.svg; prints the
tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.search.cases import CASES
from bench.search.engine import open_loop
from bench.search.plot import plot
from bench.search.searches import Case, bisection, bounds, linear, on_a_grid, ours, stopped_at, swept
from bench.search.tables import Figures, report
from bench.search.truth import Truth, stored
from pytest_llmperf.declare.load import USUAL_BUDGET_S, USUAL_S
from pytest_llmperf.measure.saturation import is_saturated

DURATIONS_S = (60.0, 120.0, 240.0, 480.0, 960.0)
LOADS = (0.5, 0.8, 0.9, 0.95, 1.1, 1.3, 2.0)
WATCHED_S = 30.0
SWEEP_POINTS = 10
GRADED_TO = 0.9
"""Up to this share of saturation curves are compared: beyond, a run's own noise is all there is."""
PEER_SHARE = 4
"""The peers take longer to simulate: they are asked for so much less often."""
Figure = dict[str, float | str]
Task = tuple[str, int, int]


def main() -> None:
    asked = _parser().parse_args()
    began = time.monotonic()
    figures = gather(asked.searches, asked.processes)
    took = (time.monotonic() - began) / 60
    heading = (
        f"{time.strftime('%Y-%m-%d')}, {took:.1f} min with {asked.processes} processes: {asked.searches} "
        f"searches of each engine, {max(1, asked.searches // PEER_SHARE)} of each way of its peers."
    )
    text = report(figures, heading)
    print(text, end="")
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "tables.md").write_text(text)
        (asked.out / "figures.json").write_text(json.dumps({"heading": heading, **figures}) + "\n")
        (asked.out / "plot.svg").write_text(plot(figures))


def gather(searches: int, processes: int) -> Figures:
    """All figures: for each kind, one entry for each time that it was tried."""
    few = max(1, searches // PEER_SHARE)
    counts = {
        "ours": searches,
        "shipped": searches,
        "kinds": max(1, few // 2),
        "linear": few,
        "bisection": few,
        "sweeps": max(1, few // 2),
        "loads": searches,
    }
    tasks = [
        (kind, case, n) for kind, count in counts.items() for case in range(len(CASES)) for n in range(count)
    ]
    found: Figures = {kind: [] for kind in counts}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for (kind, _, _), entries in zip(tasks, pool.imap(_measure, tasks, chunksize=4), strict=True):
            found[kind] += entries
    return found


def _measure(task: Task) -> list[Figure]:
    kind, number, seed = task
    case = CASES[number]
    one = {"engine": case.engine.name}
    return [{**one, **figure} for figure in MEASURES[kind](case, stored()[case.engine.name], 1000 * seed)]


def _ours(case: Case, truth: Truth, seed: int) -> list[Figure]:
    return _searched(case, truth, seed, math.inf)


def _shipped(case: Case, truth: Truth, seed: int) -> list[Figure]:
    """With the duration and the budget of a search where nothing was said."""
    return _searched(dataclasses.replace(case, full_s=USUAL_S), truth, seed, USUAL_BUDGET_S)


def _searched(case: Case, truth: Truth, seed: int, budget_s: float) -> list[Figure]:
    found = ours(case, bounds(case, seed), seed, budget_s)
    capacity = found.capacity
    assert capacity is not None
    return [
        {
            "off": float(np.log(found.rate / truth.capacity)),
            "took_s": found.took_s,
            "runs": found.runs,
            "covers": capacity.low <= truth.capacity <= capacity.high,
            "half_width": float(np.log(capacity.high / capacity.low)) / 2,
            "kind": capacity.kind,
            "settled": capacity.is_settled,
        }
    ]


def _kinds(case: Case, truth: Truth, seed: int) -> list[Figure]:
    """Limits that no engine meets, and that are met as long as the engine keeps up."""
    known = bounds(case, seed)
    entries: list[Figure] = []
    for wanted, limit_s in (("below", 1e-3), ("above", 60.0)):
        found = ours(dataclasses.replace(case, limit_s=limit_s), known, seed)
        assert found.capacity is not None
        entries.append(
            {
                "wanted": wanted,
                "right": found.capacity.kind == wanted,
                "runs": found.runs,
                "took_s": found.took_s,
            }
        )
    return entries


def _linear(case: Case, truth: Truth, seed: int) -> list[Figure]:
    known = bounds(case, seed)
    return [
        {
            "way": way,
            "duration_s": duration_s,
            "off": float(np.log(found.rate / truth.capacity)),
            "took_s": found.took_s,
        }
        for duration_s in DURATIONS_S
        for way, found in linear(case, known, seed, duration_s).items()
    ]


def _bisection(case: Case, truth: Truth, seed: int) -> list[Figure]:
    known = bounds(case, seed)
    found = bisection(case, known, seed, ours(case, known, seed).took_s)
    return [{"off": float(np.log(found.rate / truth.capacity)), "took_s": found.took_s}]


def _sweeps(case: Case, truth: Truth, seed: int) -> list[Figure]:
    known = bounds(case, seed)
    rates = np.array(truth.rates)
    is_graded = (rates >= max(known.lowest, rates[0])) & (rates <= GRADED_TO * truth.saturation)
    entries: list[Figure] = []
    for way, points in (
        ("adaptive", swept(case, known, seed, SWEEP_POINTS)),
        ("linear", on_a_grid(case, known, seed, SWEEP_POINTS)),
    ):
        at = np.array([point[0] for point in points])
        entry: Figure = {"way": way, "kept": len(points)}
        for index, (name, true) in enumerate((("p50", truth.p50), ("p95", truth.p95)), 1):
            measured = np.log([point[index] for point in points])
            # The same points as if they had been measured for ever: what is left is where they lie.
            drawn = np.interp(at, rates, np.log(true))
            for says, x, values in (("drawn", np.minimum(at, rates[-1]), drawn), ("measured", at, measured)):
                off = np.abs(np.interp(rates, x, values) - np.log(true))
                entry[f"{name}_{says}"] = float(off[is_graded].max())
        entries.append(entry)
    return entries


def _loads(case: Case, truth: Truth, seed: int) -> list[Figure]:
    entries: list[Figure] = []
    for load in LOADS:
        rate = load * truth.saturation
        run = open_loop(case.engine, rate, WATCHED_S, seed)
        stop_s = stopped_at(run, rate, WATCHED_S)
        entries.append(
            {
                "load": load,
                "stopped": stop_s is not None,
                "stop_s": stop_s or WATCHED_S,
                "after": is_saturated(run.timeline(WATCHED_S)),
            }
        )
    return entries


MEASURES: dict[str, Callable[[Case, Truth, int], list[Figure]]] = {
    "ours": _ours,
    "shipped": _shipped,
    "kinds": _kinds,
    "linear": _linear,
    "bisection": _bisection,
    "sweeps": _sweeps,
    "loads": _loads,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--searches", type=int, default=400, metavar="N", help="of each engine")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write JSON, Markdown and SVG here")
    return parser


if __name__ == "__main__":
    main()
