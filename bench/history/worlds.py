"""Histories of which is known what happened in them: logarithms of what sessions measured."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LENGTHS, NOISES, STEPS = (20, 50, 100, 200), (0.01, 0.02, 0.03, 0.05), (0.05, 0.1, 0.2)
EDGE = 5
"""A step is no closer to either end."""
UNCHANGED = {
    "noise alone": "normal, independent",
    "outliers": "one session in twenty is off by 10 to 40 %, four of five upwards",
    "drift of 5 %": "evenly over the history, beside the noise",
    "drift of 15 %": "the same",
    "slow wave": "± 3 %, once over the history",
    "alike neighbours": "an AR(1) process of 0.4",
    "random walk": "whose steps have a tenth of the noise",
}


@dataclass(frozen=True)
class Drawn:
    """The sessions, and the first one after each step."""

    values: Array
    steps: tuple[int, ...]


def unchanged(kind: str, length: int, noise: float, seed: int) -> Drawn:
    """A history in which nothing jumped."""
    rng = _rng(kind, length, noise, 0.0, seed)
    values, time = rng.normal(0, noise, length), np.arange(length) / length
    match kind:
        case "outliers":
            values += _outliers(rng, length)
        case "drift of 5 %" | "drift of 15 %":
            values += math.log1p(0.05 if "15" not in kind else 0.15) * time
        case "slow wave":
            values += 0.03 * np.sin(2 * np.pi * time + rng.uniform(0, 2 * np.pi))
        case "alike neighbours":
            fresh = values.copy()
            for i in range(1, length):
                values[i] = 0.4 * values[i - 1] + math.sqrt(1 - 0.4**2) * fresh[i]
        case "random walk":
            values += np.cumsum(rng.normal(0, noise / 10, length))
    return Drawn(values, ())


def stepped(step: float, length: int, noise: float, seed: int) -> Drawn:
    """One with a step; every other one has outliers too."""
    rng = _rng("step", length, noise, step, seed)
    values = rng.normal(0, noise, length)
    if seed % 2:
        values += _outliers(rng, length)
    at = int(rng.integers(EDGE, length - EDGE + 1))
    values[at:] += math.log1p(step)
    return Drawn(values, (at,))


def _outliers(rng: np.random.Generator, length: int) -> Array:
    signs = rng.choice([-1.0, 1.0], length, p=[0.2, 0.8])
    return np.asarray(np.where(rng.random(length) < 0.05, signs * rng.uniform(0.1, 0.4, length), 0.0))


def _rng(kind: str, length: int, noise: float, step: float, seed: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(kind.encode()), length, int(noise * 1e4), int(step * 1e4), seed])
