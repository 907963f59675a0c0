"""Simulated histories, and machines that launch their positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from pytest_llmperf.bisect.pair import Pair, Question, is_swapped
from pytest_llmperf.bisect.position import Unusable

Array = npt.NDArray[np.float64]
Shape = Literal["step", "two", "mended", "creep", "none"]
OUTLIER_SHARE, OUTLIER_FACTOR, SLOW = 0.05, 3.0, 0.3
METRICS = ("tpot_p50_ms", "ttft_p50_ms", "e2e_p50_ms", "itl_p50_ms")


@dataclass(frozen=True)
class World:
    """A kind of history of the positions 0 to ``last``, and of launches along it.

    ``effect`` +0.1: the bad end is 10 % worse. ``shape``: one ``step`` for good; ``two`` of half the size
    each; a step that is ``mended`` and comes back; a ``creep`` of as many little steps as there are
    positions; ``none``. ``spread`` is that of a launch's logarithm, each position is off by up to ``wobble``,
    ``drift`` that of a machine's random walk from launch to launch. ``tails``: 5 % of the launches are
    ``wild`` (three times as far off) or ``slow`` (by 30 %). ``stretch``: so many positions in a row
    cannot be built, ``around`` the culprit or ``beside`` it; ``scattered``: that share of all.
    """

    name: str
    last: int = 64
    effect: float = 0.10
    shape: Shape = "step"
    spread: float = 0.03
    wobble: float = 0.0
    drift: float = 0.0
    tails: Literal["wild", "slow"] | None = None
    stretch: int = 0
    around: bool = False
    scattered: float = 0.0
    loads: int = 1
    metrics: int = 1
    tolerance: float = 0.05

    @property
    def questions(self) -> list[Question]:
        """The first is the one that changes."""
        return [
            Question(
                "tests/test_chat.py::test_it", "chat", f"{4 * (load + 1)}/s", metric, "lower", self.tolerance
            )
            for load in range(self.loads)
            for metric in METRICS[: self.metrics]
        ]


@dataclass(frozen=True)
class History:
    """``levels`` are the logarithms of what each position truly has; ``culprits`` where it gets worse."""

    levels: Array
    culprits: Sequence[int]
    unusable: frozenset[int] = field(default_factory=frozenset)

    @property
    def last(self) -> int:
        return self.levels.size - 1

    def suspects(self, culprit: int) -> range:
        """The positions that cannot be told from it, it among them."""
        first = next(one for one in range(culprit - 1, -1, -1) if one not in self.unusable) + 1
        return range(
            first, next(one for one in range(culprit, self.last + 1) if one not in self.unusable) + 1
        )


def draw(world: World, seed: int) -> History:
    """One history; the culprit may be anywhere."""
    rng = np.random.default_rng([seed, 1])
    last, whole = world.last, math.log1p(world.effect)
    levels = np.zeros(last + 1)
    culprits: list[int] = []
    if world.shape == "step":
        culprits = [int(rng.integers(1, last + 1))]
        levels[culprits[0] :] = whole
    elif world.shape in ("two", "mended"):
        # At least an eighth of the history apart, so that there is something between them to be seen.
        gap = max(last // 8, 1)
        places = np.sort(rng.choice(np.arange(1, last + 1 - 2 * gap), 3, replace=False)) + gap * np.arange(3)
        first, middle, second = (int(one) for one in places)
        if world.shape == "two":
            culprits = [first, second]
            levels[first:] += whole / 2
            levels[second:] += whole / 2
        else:
            culprits = [first, second]
            levels[first:middle] = whole
            levels[second:] = whole
    elif world.shape == "creep":
        levels = whole * np.arange(last + 1) / last
    wobble = world.wobble * rng.uniform(-1, 1, last + 1)
    return History(levels + wobble, culprits, _unusable(world, culprits, rng))


def _unusable(world: World, culprits: Sequence[int], rng: np.random.Generator) -> frozenset[int]:
    found: set[int] = set()
    if world.stretch:
        room = range(1, world.last - world.stretch + 1)
        at = culprits[0]
        starts = [one for one in room if (one <= at < one + world.stretch) == world.around]
        start = int(rng.choice(starts)) if starts else 1
        found |= set(range(start, start + world.stretch))
    if world.scattered:
        found |= {one for one in range(1, world.last) if rng.random() < world.scattered}
    return frozenset(found - {0, world.last})


class Machine:
    """Launches positions one after another; an oracle too. ``launches`` counts them, ``failed`` what did not
    build."""

    def __init__(self, world: World, history: History, seed: int) -> None:
        self.world, self.history = world, history
        self.launches = self.failed = 0
        self._rng = np.random.default_rng([seed, 2])
        self._drift = 0.0
        self._measured: dict[tuple[int, int], int] = {}
        self._questions = world.questions

    def launch(self, position: int) -> dict[Question, float]:
        """The figures of one launch; raises :class:`Unusable`."""
        if position in self.history.unusable:
            self.failed += 1
            raise Unusable(position, "does not build")
        self.launches += 1
        self._drift += self.world.drift * self._rng.standard_normal()
        off = self.world.spread * self._rng.standard_normal(len(self._questions))
        hit = self._rng.random() < OUTLIER_SHARE
        if hit and self.world.tails:
            off = OUTLIER_FACTOR * off if self.world.tails == "wild" else off + math.log1p(SLOW)
        levels = np.zeros(len(self._questions))
        levels[0] = self.history.levels[position]
        values = 40.0 * np.exp(levels + self._drift + off)
        return dict(zip(self._questions, values.tolist(), strict=True))

    def compare(self, left: int, right: int) -> Pair:
        """One launch of each, in an order that alternates as that of the shipped oracle does."""
        for one in (left, right):
            if one in self.history.unusable:
                self.failed += 1
                raise Unusable(one, "does not build")
        order = (right, left) if is_swapped(self._measured, left, right) else (left, right)
        self._measured[left, right] = self._measured.get((left, right), 0) + 1
        found = {position: self.launch(position) for position in order}
        figures = {one: (found[left][one], found[right][one]) for one in self._questions}
        return Pair(left, right, figures, sum(self._measured.values()), seconds=1.0)
