"""What a run cost the process that drove it, and what kept that process waiting."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.load.clock import Offset, read_offset

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_STAT = Path("/proc/stat")


@dataclass(frozen=True)
class Account:
    """One run's costs; those of several processes that shared a load point add up.

    ``cpu_s`` is the CPU time used, ``cpu_wait_s`` the time ready to run but without a core (0 where the
    system does not tell), each of the process that had most of it; ``steal_share`` the part of the
    machine's CPU time that its hypervisor gave to others. ``read_lags_ns`` says for each read how long the
    data had been there (empty without kernel stamps), ``clock_drift_ns`` by how much real time and
    monotonic time moved against each other.
    """

    started_ns: int
    ended_ns: int
    cpu_s: float
    cpu_wait_s: float
    steal_share: float
    read_lags_ns: Sequence[int]
    clock_drift_ns: int
    processes: int = 1

    @classmethod
    def merged(cls, accounts: Sequence[Account]) -> Account:
        """One account of a load point that several processes drove."""
        return cls(
            started_ns=min(account.started_ns for account in accounts),
            ended_ns=max(account.ended_ns for account in accounts),
            cpu_s=max(account.cpu_s for account in accounts),
            cpu_wait_s=max(account.cpu_wait_s for account in accounts),
            steal_share=max(account.steal_share for account in accounts),
            read_lags_ns=[lag for account in accounts for lag in account.read_lags_ns],
            clock_drift_ns=max((account.clock_drift_ns for account in accounts), key=abs),
            processes=sum(account.processes for account in accounts),
        )


class Meter:
    """Reads what an :class:`Account` is made of, before a run and after it."""

    def __init__(self) -> None:
        self._cpu_s, self._cpu_wait_s, self._ticks = _cpu_s(), _cpu_wait_s(), _ticks()
        self.before: Offset = read_offset()

    def stop(self, started_ns: int, read_lags_ns: Sequence[int]) -> tuple[Account, Offset]:
        """The account of the time since this was made, and real time's offset to monotonic time now."""
        ended_ns = time.monotonic_ns()
        cpu_s, cpu_wait_s, ticks = _cpu_s(), _cpu_wait_s(), _ticks()
        after = read_offset()
        stolen, total = ticks[0] - self._ticks[0], ticks[1] - self._ticks[1]
        account = Account(
            started_ns,
            ended_ns,
            cpu_s - self._cpu_s,
            cpu_wait_s - self._cpu_wait_s,
            stolen / total if total else 0.0,
            read_lags_ns,
            after.value_ns - self.before.value_ns,
        )
        return account, after


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _cpu_wait_s() -> float:
    """Time on a run queue of this thread, by https://docs.kernel.org/scheduler/sched-stats.html."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _ticks() -> tuple[int, int]:
    """Stolen and all CPU ticks of the cores that this process may use, since the machine began."""
    try:
        mine = {f"cpu{core}" for core in os.sched_getaffinity(0)}
        rows = [line.split() for line in _STAT.read_text().splitlines() if line.split(" ", 1)[0] in mine]
        return sum(int(row[8]) for row in rows), sum(sum(map(int, row[1:9])) for row in rows)
    except (AttributeError, OSError, IndexError, ValueError):
        return 0, 0
