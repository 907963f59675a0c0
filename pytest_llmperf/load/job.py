"""One load point, whole or in shares: what a process needs to drive it, and what it returns."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_llmperf.load.account import Account
from pytest_llmperf.load.backlog import Backlog
from pytest_llmperf.load.connection import Connection
from pytest_llmperf.load.decode import Trace, answer, decode
from pytest_llmperf.load.driver import Drive, Driver
from pytest_llmperf.load.loop import Watch
from pytest_llmperf.load.request import Request, Source
from pytest_llmperf.load.target import Target


@dataclass(frozen=True)
class Job:
    """What to drive; it can be pickled.

    Either an open loop with its ``offsets_s`` in seconds, ascending, or a closed loop of ``concurrency`` that
    ends by ``duration_s`` or ``count``, with ``stock`` requests built beforehand. The requests are numbers
    ``first``, ``first + step`` … of ``source``, with those that follow from their answers unless
    ``is_single`` says not. With a ``bearable_rate`` in requests/s an open loop ends as soon as it is clear
    that the server cannot bear that.
    """

    target: Target
    source: Source
    timeout_s: float
    limit_bytes: int
    offsets_s: Sequence[float] | None = None
    concurrency: int = 1
    duration_s: float | None = None
    count: int | None = None
    first: int = 0
    step: int = 1
    is_single: bool = False
    stock: int = 0
    bearable_rate: float | None = None

    @property
    def width(self) -> int:
        """Into how many shares it can be divided."""
        return self.concurrency if self.offsets_s is None else max(1, len(self.offsets_s))

    def share(self, index: int, of: int) -> Job:
        """Share ``index`` of ``of``: every ``of``-th arrival of the one schedule, or that many streams."""
        share = replace(self, first=self.first + index * self.step, step=self.step * of)
        if self.offsets_s is not None:
            rate = self.bearable_rate
            return replace(share, offsets_s=self.offsets_s[index::of], bearable_rate=rate and rate / of)
        return replace(
            share,
            concurrency=_portion(self.concurrency, index, of),
            count=None if self.count is None else _portion(self.count, index, of),
            stock=_portion(self.stock, index, of),
        )


@dataclass(frozen=True)
class Outcome:
    """What driving a job, or a share of one, brought."""

    traces: tuple[Trace, ...]
    account: Account
    gave_up: bool = False

    @classmethod
    def merged(cls, shares: Sequence[Outcome]) -> Outcome:
        """One outcome of all shares, by the intended time."""
        traces = sorted(
            itertools.chain.from_iterable(s.traces for s in shares),
            key=lambda t: (t.due_ns, t.request.number),
        )
        account = Account.merged([share.account for share in shares])
        return cls(tuple(traces), account, any(share.gave_up for share in shares))

    def moved(self, by_ns: int) -> Outcome:
        """The same on a clock that is ahead by so much."""
        account = replace(
            self.account, started_ns=self.account.started_ns + by_ns, ended_ns=self.account.ended_ns + by_ns
        )
        return Outcome(tuple(trace.moved(by_ns) for trace in self.traces), account, self.gave_up)


class PreparedJob:
    """A job whose requests are built."""

    def __init__(self, job: Job) -> None:
        self._job = job
        numbers = itertools.count(job.first, job.step)
        self._requests: Iterator[Request] = map(job.source.make, numbers)
        self._ready = list(itertools.islice(self._requests, len(job.offsets_s or ())))

    def run(self, watch: Watch, start_ns: int | None = None) -> Outcome:
        """Drive it from ``start_ns`` on (None: at once), and decode what came back."""
        drive = self._drive(watch, start_ns)
        return Outcome(tuple(map(decode, drive.exchanges)), drive.account, drive.gave_up)

    def _drive(self, watch: Watch, start_ns: int | None) -> Drive:
        job = self._job
        driver = Driver(
            job.target, timeout_s=job.timeout_s, limit_bytes=job.limit_bytes, watch=watch, then=self._then
        )
        if job.offsets_s is not None:
            backlog = Backlog(job.bearable_rate) if job.bearable_rate else None
            return driver.open_loop(self._ready, job.offsets_s, start_ns, backlog)
        return driver.closed_loop(
            self._requests,
            job.concurrency,
            duration_s=job.duration_s,
            count=job.count,
            start_ns=start_ns,
            stock=job.stock,
        )

    def _then(self, ended: Connection) -> tuple[Request, float] | None:
        if self._job.is_single or not ended.request.expects_more:
            return None
        reads = [(stamp, data) for stamp, _, data in ended.reads]
        text = None if ended.failure else answer(reads)
        return self._job.source.after(ended.request, text)


def _portion(whole: int, index: int, of: int) -> int:
    return whole // of + (index < whole % of)
