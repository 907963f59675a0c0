"""Ways to find change points: ours, and those that others use as they come."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import ruptures

from bench.history.worlds import Array
from bench.judge import divisive
from pytest_llmperf.judge.course import find_steps, rough_noise


def ours(values: Array, hints: Sequence[int]) -> list[int]:
    return [step.at for step in find_steps(values.tolist(), known=hints).steps]


def from_the_readme(values: Array, hints: Sequence[int]) -> list[int]:
    """As the first example of ruptures' documentation has it."""
    found = ruptures.Pelt(model="rbf").fit(values).predict(pen=10)
    return [int(place) for place in found[:-1]]


def schwarz(values: Array, hints: Sequence[int]) -> list[int]:
    """PELT with squared errors and the penalty of Schwarz's criterion (2 σ² log n for a place and a
    level)."""
    penalty = 2 * rough_noise(values) ** 2 * math.log(len(values))
    found = ruptures.KernelCPD(kernel="linear", min_size=2).fit(values[:, None]).predict(pen=penalty)
    return [int(place) for place in found[:-1]]


def otava(values: Array, hints: Sequence[int]) -> list[int]:
    return divisive.change_points(values)


LONGEST_OF_OTAVA = divisive.WINDOW
WAYS: dict[str, Callable[[Array, Sequence[int]], list[int]]] = {
    "ours": ours,
    "ruptures, PELT as in its first example (rbf, pen=10)": from_the_readme,
    "ruptures, PELT with squared errors and Schwarz's penalty": schwarz,
    "Apache Otava 0.8 at its defaults, up to 50 sessions": otava,
}
