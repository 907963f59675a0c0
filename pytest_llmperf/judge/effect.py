"""How likely it is that a change is worse than a tolerance."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
SCALE = 0.35
"""The prior of a change: half of all changes are smaller than this share of the tolerance."""
_QUANTILES = np.linspace(0.5 / 400, 1 - 0.5 / 400, 400)
_PRIOR_PLACES = np.tan(np.pi * (_QUANTILES - 0.5))
_DATA_PLACES = np.sinh(np.linspace(-6, 6, 301))


def chance_beyond(estimate: Array, error: Array, degrees: Array, limit: Array) -> Array:
    """The probability that the change is above ``limit`` (> 0), given its estimate and standard error.

    All in logarithms, one element for each change, "worse" upwards. Before it is measured, a change is taken
    for one from a Cauchy distribution around none (the usual choice for effects, after Jeffreys; Rouder et
    al. 2009) with the scale 0.35 × limit: nine of ten metrics change by less than twice the tolerance, one in
    five by more than it, and as its tails are heavy, a change that is clearly there is not argued away. The
    estimate has Student's t distribution around the change. By the trapezoidal rule, over the places where
    either matters.
    """
    scale = SCALE * limit[:, None]
    places = np.concatenate(
        (
            scale * _PRIOR_PLACES,
            estimate[:, None] + error[:, None] * _DATA_PLACES,
            limit[:, None],
        ),
        axis=1,
    )
    places.sort(axis=1)
    v = degrees[:, None]
    z = (estimate[:, None] - places) / error[:, None]
    logs = -0.5 * (v + 1) * np.log1p(z * z / v) - np.log1p((places / scale) ** 2)
    density = np.exp(logs - logs.max(axis=1, keepdims=True))
    slices = (density[:, 1:] + density[:, :-1]) / 2 * np.diff(places, axis=1)
    return np.asarray((slices * (places[:, :-1] >= limit[:, None])).sum(axis=1) / slices.sum(axis=1))
