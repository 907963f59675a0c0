"""Where one can probably measure, from where one could and where one could not.

What does not build at one position probably does not at the next either: it was broken by one change and
mended by a later one. How long such a stretch is nobody knows, so every length is as likely as its double:
of those known to reach over s positions, s / (s + d) go on for d more. The best next try is therefore about
as far away as the stretch is known to be long, and a few tries leave it.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
USUAL = 20
"""Before anything is known: as if so many positions had been tried, and one of them could not be measured."""


def chances(good: int, bad: int, usable: Collection[int], unusable: Collection[int]) -> Array:
    """The chance of each position from ``good`` to ``bad``, both of them included, that it can be measured: 1
    where it was, and 0 where it could not be. The ends can."""
    measured = {good, bad, *(one for one in usable if good <= one <= bad)}
    failed = {one for one in unusable if good < one < bad} - {good, bad}
    tried = np.array(sorted(measured | failed))
    has_failed = np.array([one in failed for one in tried])
    positions = np.arange(good, bad + 1)
    after = np.minimum(np.searchsorted(tried, positions, side="right"), tried.size - 1)
    before = after - 1
    stretches = int((has_failed[1:] & ~has_failed[:-1]).sum())
    found = np.full(positions.size, (USUAL - 1 + len(measured)) / (USUAL + len(measured) + stretches))
    for nearest, lengths in (
        (before, _lengths(tried, has_failed)),
        (after, _lengths(-tried[::-1], has_failed[::-1])[::-1]),
    ):
        away = np.abs(positions - tried[nearest])
        length = lengths[nearest]
        found *= np.where(length > 0, away / np.maximum(length + away, 1), 1.0)
    found[tried - good] = ~has_failed
    return np.asarray(found)


def _lengths(tried: npt.NDArray[np.int_], has_failed: npt.NDArray[np.bool_]) -> npt.NDArray[np.int_]:
    """Over how many positions the stretch that ends at each tried one is known to reach; 0 where it can be
    measured. What lies between two failures is taken for one stretch."""
    lengths = np.zeros(tried.size, dtype=int)
    start = 0
    for i, (position, failure) in enumerate(zip(tried, has_failed, strict=True)):
        start = i if not failure else start
        if failure:
            lengths[i] = position - tried[start + 1] + 1
    return lengths
