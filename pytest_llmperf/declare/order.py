"""What ``llmperf load`` is to do, as its command line said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.declare.workload import Workload


class Exit(IntEnum):
    """The exit codes of the command."""

    MEASURED = 0
    SERVER_FAILED = 1
    USAGE = 2
    INVALID = 3
    DEFECT = 70
    INTERRUPTED = 130


class Outcome(IntEnum):
    """The exit codes of ``llmperf matrix`` and ``llmperf advise``: ``FAILED`` if a cell has, or nothing
    meets the SLO."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130


class Bisected(IntEnum):
    """The exit codes of ``llmperf bisect``."""

    FOUND = 0
    NOT_FOUND = 1
    USAGE = 2
    INVALID = 3
    INTERRUPTED = 130


class StepCode(IntEnum):
    """What ``git bisect run`` takes a commit for; from 128 on it stops."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    STOP = 129
    INTERRUPTED = 130


@dataclass(frozen=True)
class Order:
    """One load point on one server that runs already; ``workers`` None: as many as it takes."""

    server: Subject
    workload: Workload
    point: LoadPoint
    seed: str
    model: str | None
    timeout_s: float
    warms_up: bool
    workers: int | None
    timelines: Path | None
    json: Path | None
