"""Our bisection and those of others, on the same launches.

A ``Result`` says what was named, if anything, what it cost, and whether it is right.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bisect.worlds import Machine
from pytest_llmperf.bisect.finding import Outcome
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.bisect.search import bisect

STORED = 3
"""The launches that a rival's good number comes from, and those that it looks at the bad end with."""


@dataclass(frozen=True)
class Result:
    """``named`` are the suspects, none where nothing is blamed. ``ends`` are the launches until the search
    began, ``says`` is what it ended with."""

    named: Sequence[int]
    launches: int
    ends: int
    failed: int
    says: str
    odd: bool = False

    def verdict(self, machine: Machine) -> str:
        """``right``: a position where it truly got worse, or those that cannot be told from it.

        ``wide``: these and others. ``silent``: nothing was named.
        """
        if not self.named:
            return "silent"
        history = machine.history
        groups = [set(history.suspects(one)) for one in history.culprits]
        if any(set(self.named) <= group for group in groups):
            return "right"
        return "wide" if any(group <= set(self.named) for group in groups) else "wrong"


def ours(machine: Machine) -> Result:
    """As shipped."""
    ends: list[int] = []
    found = bisect(
        machine.history.last,
        machine,
        listener=lambda standing: ends.append(standing.pairs) if standing.stage == "ends" else None,
    )
    named = found.suspects if found.outcome is Outcome.CULPRIT else ()
    return Result(
        named, machine.launches, 2 * (ends[-1] + 1), machine.failed, found.outcome.value, bool(found.oddities)
    )


def git_bisect(machine: Machine, launches: int = 1) -> Result:
    """``git bisect``: at each step a position is bad if it is worse than the stored good number by more than
    the tolerance, by the median of so many launches. What cannot be built gives way to its nearest
    neighbour. Does not begin unless the bad end is bad."""
    stored = _median(machine, 0, STORED)
    limit = stored * (1 + machine.world.tolerance)
    low, high = 0, machine.history.last
    if _median(machine, high, STORED) <= limit:
        return Result((), machine.launches, machine.launches, machine.failed, "no difference")
    ends = machine.launches
    unusable: set[int] = set()
    while left := [one for one in range(low + 1, high) if one not in unusable]:
        middle = min(left, key=lambda one: abs(2 * one - low - high))
        try:
            is_bad = _median(machine, middle, launches) > limit
        except Unusable:
            unusable.add(middle)
            continue
        low, high = (low, middle) if is_bad else (middle, high)
    return Result(range(low + 1, high + 1), machine.launches, ends, machine.failed, "named")


def git_bisect_of_three(machine: Machine) -> Result:
    """The same with three launches a step."""
    return git_bisect(machine, 3)


def asv_find(machine: Machine) -> Result:
    """``asv find``: of the two halves, the one with the larger difference (asv/commands/find.py): a benchmark
    of each position once, a neighbour where one fails."""
    results: dict[int, float | None] = {}

    def measured(position: int, step: int) -> tuple[int, float]:
        while True:
            if position not in results:
                try:
                    results[position] = _median(machine, position, 1)
                except Unusable:
                    results[position] = None
            value = results[position]
            if value is not None:
                return position, value
            position += step

    low, high = 0, machine.history.last
    while high - low > 1:
        middle = (low + high) // 2
        low, good = measured(low, 1)
        middle, between = measured(middle, 1)
        if middle >= high:  # where asv gives up: "Too many commits failed"
            return Result((), machine.launches, 0, machine.failed, "gave up")
        high, bad = measured(high, -1)
        if high <= middle:
            return Result((), machine.launches, 0, machine.failed, "gave up")
        # Each divided by the sum of all three, which does not change which is larger.
        low, high = (low, middle) if between - good >= bad - between else (middle, high)
    return Result((high,), machine.launches, 0, machine.failed, "named")


def _median(machine: Machine, position: int, launches: int) -> float:
    question = machine.world.questions[0]
    return statistics.median(machine.launch(position)[question] for _ in range(launches))


WAYS = {
    "pytest-llmperf": ours,
    "git bisect": git_bisect,
    "git bisect, 3 launches": git_bisect_of_three,
    "asv find": asv_find,
}
