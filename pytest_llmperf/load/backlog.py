"""Whether an open loop's queue grows without bound, seen while the run is under way."""

from __future__ import annotations

import bisect
import math

MIN_LOSS = 0.05
"""An engine that answers all but so small a share of what is sent may well be one that keeps up."""
SURE = 2.7
"""So many standard deviations, of a Poisson count, the answers have to fall short of the schedule."""
LATENCIES = 2.5
"""A run has to have lasted so many times the time that its oldest request has waited."""
_SKIP, _LOOKS, _MIN_WAITING = 0.4, 5, 10


class Backlog:
    """Watches what was sent and what has ended in an open loop that sends ``rate`` requests/s.

    A queue that grows without bound is one whose engine answers less than is sent, at a pace that does not
    rise any more. So, leaving out the first 40 % of the time, in both halves of the rest:

    * fewer requests ended than the schedule has, by more than a Poisson count would be short of it by chance
      (and those that were really sent piled up as well: a burst is no saturation, because while it lasts a
      stable engine answers *more* than the rate);
    * the second half was no better than the first: while batches still grow, answers come ever faster.

    Nothing is said before the run has lasted some times as long as its oldest request has waited: the first
    answers of an engine with seconds of latency leave ``rate`` × latency requests under way, and that is no
    queue. Five looks have to agree.
    """

    def __init__(self, rate: float) -> None:
        if not (math.isfinite(rate) and rate > 0):
            raise ValueError(f"a rate of {rate:g} requests/s is not above zero")
        self._rate = rate
        self._at_s: list[float] = [0.0]
        self._sent: list[int] = [0]
        self._ended: list[int] = [0]
        self._agreed = 0
        self._is_growing = False

    def see(self, at_s: float, sent: int, ended: int) -> bool:
        """Take in that ``at_s`` seconds after the start so many were sent, and so many of these had ended;
        return whether the queue grows without bound, which once said is not taken back."""
        if self._is_growing or at_s <= self._at_s[-1]:
            return self._is_growing
        self._at_s.append(at_s)
        self._sent.append(sent)
        self._ended.append(ended)
        self._agreed = self._agreed + 1 if self._seems_to_grow() else 0
        self._is_growing = self._agreed >= _LOOKS
        return self._is_growing

    def _seems_to_grow(self) -> bool:
        at_s = self._at_s[-1]
        waiting = self._sent[-1] - self._ended[-1]
        if waiting < _MIN_WAITING or not self._ended[-1] or at_s < LATENCIES * self._oldest_s():
            return False
        begin, middle, end = self._look(_SKIP * at_s), self._look((1 + _SKIP) / 2 * at_s), len(self._at_s) - 1
        if not begin < middle < end:
            return False
        first, first_sd = self._loss(begin, middle)
        second, second_sd = self._loss(middle, end)
        both, both_sd = self._loss(begin, end)
        return (
            both > MIN_LOSS + SURE * both_sd
            and min(first, second) > MIN_LOSS
            and second > first - math.hypot(first_sd, second_sd)
        )

    def _look(self, at_s: float) -> int:
        return bisect.bisect_left(self._at_s, at_s)

    def _loss(self, begin: int, end: int) -> tuple[float, float]:
        """The share of what was to be sent between two looks that piled up, and its standard deviation."""
        due = self._rate * (self._at_s[end] - self._at_s[begin])
        ended = self._ended[end] - self._ended[begin]
        sent = self._sent[end] - self._sent[begin]
        return (min(due, sent) - ended) / due, math.sqrt(max(ended, 1)) / due

    def _oldest_s(self) -> float:
        """How long the oldest request under way has waited, if they end in the order in which they came."""
        return self._at_s[-1] - self._at_s[max(0, bisect.bisect_right(self._sent, self._ended[-1]) - 1)]
