"""A load point with a run-in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from pytest_llmperf.declare.load import LoadPoint


@dataclass(frozen=True)
class WithRunIn:
    """A load point that is driven for ``run_in_s`` longer than it says; what is due in that time, which comes
    first, does not count, because the engine is still emptier than it will be."""

    point: LoadPoint
    run_in_s: float = 0.0

    @property
    def driven(self) -> LoadPoint:
        """All that is sent: the same arrivals, for longer."""
        if not self.run_in_s:
            return self.point
        rate, requests, duration_s = self.point.mean_rate, self.point.requests, self.point.duration_s
        if rate is None:
            raise ValueError(f"{self.point.label}: no rate, so that nothing can be sent before it")
        return dataclasses.replace(
            self.point,
            duration_s=None if duration_s is None else duration_s + self.run_in_s,
            requests=None if requests is None else requests + math.ceil(self.run_in_s * rate),
        )
