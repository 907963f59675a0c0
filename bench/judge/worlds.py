"""Simulated sessions: what launches and runs of an engine do when nothing, or one thing, has changed.

A session is an array of logarithms ``[item, side, launch, run]``: an item is one metric of one test, the
sides are base and candidate, and launch k of a side is the one of round k, in the order base, candidate,
candidate, base, … A batch has the sessions as a further first axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Logs = NDArray[np.float64]

CHANGED = 0  # the item that an effect is put on
OUTLIER_SHARE, OUTLIER = 0.1, 0.20
SLOW_FIRST_SPREAD = 0.05


@dataclass(frozen=True)
class Shape:
    """How large a session is."""

    tests: int = 20
    metrics: int = 4
    launches: int = 8
    runs: int = 2

    @property
    def items(self) -> int:
        return self.tests * self.metrics

    def test_of(self, item: int) -> int:
        return item // self.metrics


@dataclass(frozen=True)
class World:
    """How launches and runs vary. All spreads are standard deviations of a logarithm.

    ``correlation`` is that of the launches' own deviations, among the metrics of one test or among all items.
    ``drift`` is the share by which everything grows from the first launch of the session to the last one.
    ``prior_factor`` times ``launch_spread`` is what a judge that wants a prior is told. ``tolerance`` and
    ``effect`` belong to the question that is asked in this world.
    """

    name: str
    says: str
    launch_spread: float = 0.03
    run_spread: float = 0.015
    tails: float | None = None
    outliers: Literal["own", "shared"] | None = None
    correlation: float = 0.0
    correlated: Literal["test", "all"] = "test"
    spread_of_spreads: float = 0.0
    drift: float = 0.0
    slow_first_run: float = 0.0
    prior_factor: float = 1.0
    tolerance: float = 0.05
    effect: float = 0.10

    @property
    def prior_spread(self) -> float:
        return self.prior_factor * self.launch_spread


USUAL = Shape()
NORMAL = World("normal", "launches vary by 3 %")
QUIET = World("quiet", "launches vary by 1 %", launch_spread=0.01, tolerance=0.02, effect=0.05)
DRIFT = World("drift 5 %", "everything gets slower by 5 % over sixteen launches", drift=0.05)
PROMISED = (NORMAL, QUIET, DRIFT)
WORLDS = (
    *PROMISED,
    World("heavy tails", "launches vary by t with 3 degrees of freedom, standard deviation 3 %", tails=3),
    World(
        "heavier tails",
        "the same with a scale of 3 %, standard deviation 5.2 %",
        tails=3,
        launch_spread=0.03 * math.sqrt(3),
        prior_factor=1 / math.sqrt(3),
    ),
    World("outliers, own", "an item's launch is 20 % slower, once in ten", outliers="own"),
    World("outliers, shared", "all of a launch is 20 % slower, once in ten", outliers="shared"),
    World("correlated in a test", "a test's metrics go together, 0.7", correlation=0.7),
    World("correlated over all", "all metrics go together, 0.7", correlation=0.7, correlated="all"),
    World("unequal spreads", "each item's spread is its own, log-normal 0.5", spread_of_spreads=0.5),
    World("drift 20 %", "everything gets slower by 20 % over sixteen launches", drift=0.20),
    World("slow first run", "a launch's first run is 10 % slower, ± 5 %", slow_first_run=0.10),
    World("prior too small", "the judge is told 1 % where it is 3 %", prior_factor=1 / 3),
    World("prior too large", "the judge is told 9 % where it is 3 %", prior_factor=3),
    World(
        "quiet, prior too small",
        "the judge is told 0.33 % where it is 1 %",
        launch_spread=0.01,
        tolerance=0.02,
        effect=0.05,
        prior_factor=1 / 3,
    ),
    World(
        "quiet, prior too large",
        "the judge is told 3 % where it is 1 %",
        launch_spread=0.01,
        tolerance=0.02,
        effect=0.05,
        prior_factor=3,
    ),
)


def draw(world: World, sessions: int, seed: int | Sequence[int], shape: Shape = USUAL) -> Logs:
    """A batch of sessions in which nothing changed."""
    rng = np.random.default_rng(seed)
    launch = _deviations(world, sessions, shape, rng)
    if world.spread_of_spreads:
        own = rng.standard_normal((sessions, shape.items, 1, 1))
        launch *= np.exp(world.spread_of_spreads * own)
    launch = world.launch_spread * launch + _outliers(world, launch.shape, rng)
    launch += math.log1p(world.drift) * _moments(shape.launches)
    logs = launch[..., None] + world.run_spread * rng.standard_normal((*launch.shape, shape.runs))
    if world.slow_first_run:
        slow = SLOW_FIRST_SPREAD * rng.standard_normal(launch.shape)
        logs[..., 0] += math.log1p(world.slow_first_run) + slow
    return logs


def changed(logs: Logs, effect: float) -> Logs:
    """The same batch with one item of the candidate larger by ``effect`` (0.1 is 10 %)."""
    after = logs.copy()
    after[:, CHANGED, 1] += math.log1p(effect)
    return after


def _deviations(world: World, sessions: int, shape: Shape, rng: np.random.Generator) -> Logs:
    """Of launches ``[session, item, side, launch]``, with a standard deviation of 1."""

    def drawn(items: int) -> Logs:
        size = (sessions, items, 2, shape.launches)
        if world.tails is None:
            return rng.standard_normal(size)
        return rng.standard_t(world.tails, size) / math.sqrt(world.tails / (world.tails - 2))

    own = drawn(shape.items)
    if not world.correlation:
        return own
    groups = shape.tests if world.correlated == "test" else 1
    common = np.repeat(drawn(groups), shape.items // groups, axis=1)
    mixed: Logs = math.sqrt(world.correlation) * common + math.sqrt(1 - world.correlation) * own
    return mixed


def _outliers(world: World, size: tuple[int, ...], rng: np.random.Generator) -> Logs | float:
    if world.outliers is None:
        return 0.0
    sessions, items, sides, launches = size
    hit = rng.random((sessions, items if world.outliers == "own" else 1, sides, launches)) < OUTLIER_SHARE
    return np.asarray(hit * math.log1p(OUTLIER), dtype=np.float64)


def _moments(launches: int) -> Logs:
    """When each launch ``[side, launch]`` takes place, 0 for the first of the session to 1 for the last."""
    rounds = np.arange(launches)
    base = 2 * rounds + rounds % 2
    return np.stack([base, 4 * rounds + 1 - base]) / (2 * launches - 1)


def requests_of(logs: Logs, rng: np.random.Generator, count: int = 200, variation: float = 0.3) -> Logs:
    """Latencies of single requests for runs ``[…, launch, run]``: ``[…, request]``, all of a side in a row.

    Log-normal around the run's level, ``count`` a run, with a coefficient of variation of ``variation``. Each
    run's geometric mean is exactly its level, so that judges of requests see what judges of runs see.
    """
    deviations = rng.standard_normal((*logs.shape, count))
    deviations -= deviations.mean(axis=-1, keepdims=True)
    latencies = np.exp(logs[..., None] + math.sqrt(math.log1p(variation**2)) * deviations)
    return latencies.reshape(*logs.shape[:-2], -1)
