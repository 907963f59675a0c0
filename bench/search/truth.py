"""What the searches should have found, from very long runs."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.search.engine import open_loop
from bench.search.searches import Case

STORED = Path(__file__).parent / "results" / "truth.json"
SEEDS = range(900_000, 900_010)
LONG_S, SKIP_S = 2000.0, 100.0
STEPS = 12
CURVE = 40
CURVE_TO = 0.95


@dataclass(frozen=True)
class Truth:
    """Requests/s that meet the SLO and that saturate the engine, and the p50 and p95 (s) of the metric at
    ``rates`` up to 95 % of saturation."""

    capacity: float
    saturation: float
    rates: tuple[float, ...]
    p50: tuple[float, ...]
    p95: tuple[float, ...]


def find_truth(case: Case) -> Truth:
    """By bisection with the same arrivals at each rate, of ten runs of 2000 s without their first 100 s."""
    steady = dataclasses.replace(case, engine=dataclasses.replace(case.engine, jitter=0.0))
    saturation = _saturation(steady)
    low, high = 0.1 * saturation, saturation
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if _quantiles(steady, middle)[1] > case.limit_s else (middle, high)
    rates = [float(rate) for rate in np.linspace(0.03, CURVE_TO, CURVE) * saturation]
    curve = [_quantiles(steady, rate) for rate in rates]
    return Truth(
        math.sqrt(low * high),
        saturation,
        tuple(rates),
        tuple(one for one, _ in curve),
        tuple(one for _, one in curve),
    )


def _quantiles(case: Case, rate: float) -> tuple[float, float]:
    """p50 and p95 in s, geometric means over the seeds."""
    logs = []
    for seed in SEEDS:
        run = open_loop(case.engine, rate, LONG_S, seed)
        logs.append(np.log(np.quantile(case.values(run)[run.due > SKIP_S], (0.5, 0.95))))
    p50, p95 = np.exp(np.mean(logs, axis=0))
    return float(p50), float(p95)


def _saturation(case: Case) -> float:
    """Requests/s of the middle of a run that is sent far too much."""
    ends = np.sort(open_loop(case.engine, 400.0, 200.0, SEEDS[0]).last)
    first, last = int(0.2 * ends.size), int(0.6 * ends.size)
    return (last - first) / float(ends[last] - ends[first])


def stored() -> dict[str, Truth]:
    """By the engine's name, as the results file has them."""
    found = json.loads(STORED.read_text())["truths"]
    return {
        name: Truth(
            one["capacity"], one["saturation"], tuple(one["rates"]), tuple(one["p50"]), tuple(one["p95"])
        )
        for name, one in found.items()
    }


def store(cases: tuple[Case, ...]) -> None:
    """Write what is true of ``cases``, with what it was made with."""
    made = {"seeds": list(SEEDS), "long_s": LONG_S, "skip_s": SKIP_S}
    truths = {case.engine.name: dataclasses.asdict(find_truth(case)) for case in cases}
    STORED.parent.mkdir(exist_ok=True)
    STORED.write_text(json.dumps({"made": made, "truths": truths}, indent=1) + "\n")


if __name__ == "__main__":
    from bench.search.cases import CASES

    store(CASES)
