"""From the kernel's receive stamps, on the real-time clock, to the monotonic clock of everything else."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Offset:
    """Real time minus monotonic time, both in ns, as seen at one monotonic moment."""

    at_ns: int
    value_ns: int


def read_offset(samples: int = 9) -> Offset:
    """Read both clocks back to back; of several tries the one with the least time in between."""
    best: tuple[int, Offset] | None = None
    for _ in range(samples):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        middle = (before + after) // 2
        if best is None or after - before < best[0]:
            best = after - before, Offset(middle, real - middle)
    assert best is not None
    return best[1]


@dataclass(frozen=True)
class ClockMap:
    """Converts real-time stamps taken between two offsets, correcting for the slope between them."""

    before: Offset
    after: Offset

    def monotonic_ns(self, real_ns: int) -> int:
        span = self.after.at_ns - self.before.at_ns
        drift = self.after.value_ns - self.before.value_ns
        if span <= 0 or drift == 0:
            return real_ns - self.before.value_ns
        elapsed = real_ns - self.before.value_ns - self.before.at_ns
        return real_ns - self.before.value_ns - drift * elapsed // span
