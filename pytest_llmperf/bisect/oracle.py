"""Pairs of positions as pytest measures them: one process for each pair, one launch of either side.

Which of the two is launched first alternates: from pair to pair of the same positions, and in the first pairs
of different ones, so that what the order does to a measurement cancels out over a bisection.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import shorten

from pytest_llmperf.bisect.arguments import check_arguments, pair_arguments
from pytest_llmperf.bisect.pair import Pair, is_swapped
from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.bisect.reading import Late, Reading
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import DeclarationError, InvalidRun, StoreError
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import KIND, VERSION
from pytest_llmperf.pytest_process import CRASHED, INTERRUPTED, run_pytest
from pytest_llmperf.report.line import Line
from pytest_llmperf.report.progress import Told, clock, duration

_ATTEMPTS = 3
_LAST_LINES = 12
_RECENT = 5
_LONG = 100


class PytestOracle:
    """See :class:`~pytest_llmperf.bisect.pair.Oracle`."""

    def __init__(
        self,
        axis: Axis,
        arguments: Sequence[str],
        directory: Path,
        before: Sequence[Pair] = (),
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``arguments`` are the person's, for pytest; records and logs are kept in ``directory``.

        ``before`` are the pairs that were measured earlier: what is measured now counts on from them, has
        to be in their environment, and keeps to the rates that a sweep found in the first. ``tell`` is told
        of each pair when it begins and when it ends. Raises :class:`DeclarationError` for arguments that
        cannot be those of all pairs.
        """
        check_arguments(arguments)
        self._axis, self._arguments, self._directory = axis, tuple(arguments), directory.absolute()
        self._tell, self._where = tell, Path.cwd()
        self._measured: dict[tuple[int, int], int] = {}
        self._seconds: deque[float] = deque(maxlen=_RECENT)
        self._first: Path | None = None
        self._number = 0
        for pair in before:
            self._count(pair)

    def compare(self, left: int, right: int) -> Pair:
        """Measure both. What a busy machine made invalid is measured again, three times in all; so is, once,
        an engine that failed although it was measured before.

        Raises :class:`~pytest_llmperf.bisect.position.Unusable`, :class:`InvalidRun` if it stays invalid,
        :class:`DeclarationError` for what pytest does not understand or where nothing can be compared, and
        :class:`StoreError` for another environment than that of the pairs before.
        """
        began, again = time.monotonic(), list[str]()
        subjects = {position: self._axis.subject(position) for position in (left, right)}
        names = " beside ".join(self._axis.positions[position].name for position in (left, right))
        self._tell(f"pair {self._number + 1}: {names}{self._expected()}")
        base, candidate = (right, left) if self._is_swapped(left, right) else (left, right)
        while True:
            reading, path = self._measure(base, candidate, subjects)
            try:
                reading.check()
                break
            except Late as error:
                if len(again) + 1 == _ATTEMPTS:
                    raise _invalid(len(again) + 1, error) from None
                again.append(str(error))
            except Unusable as error:
                name = self._axis.positions[error.position].name
                if again or not any(error.position in known for known in self._measured):
                    told = _with_log(error, self._directory / "logs" / f"{path.stem}.log")
                    self._tell(f"pair {self._number + 1}: {name} cannot be measured: {told}")
                    raise told from None
                again.append(f"{name}, which was measured before, failed: {error}")
            self._tell(
                f"pair {self._number + 1}: measured again: {shorten(again[-1], _LONG, placeholder=' …')}"
            )
        self._check_environment(reading)
        seconds = time.monotonic() - began
        pair = self._pair(reading, (left, right), seconds, path, again)
        self._count(pair)
        self._tell(f"pair {pair.number}: measured in {duration(seconds)}")
        return pair

    # -- one pair -----------------------------------------------------------------------------------

    def _measure(self, base: int, candidate: int, subjects: Mapping[int, Subject]) -> tuple[Reading, Path]:
        """Raises :class:`DeclarationError`, and :class:`KeyboardInterrupt` when nothing is left running."""
        record, log = self._files()
        explored = self._first if self._first is not None and self._reading(self._first).explores else None
        arguments = pair_arguments(subjects[candidate], subjects[base], record, explored, self._arguments)
        with log.open("wb") as file:
            line = Line(sys.stdout)
            try:
                code = run_pytest(arguments, os.environ, file, self._where, lambda s: self._wait(line, s))
            finally:
                line.clear()
        if not record.exists():
            raise _unmeasured(code, log)
        reading = Reading(read_json(record, KIND, VERSION), base, candidate)
        if code == INTERRUPTED and reading.record["status"] == "interrupted":
            raise KeyboardInterrupt
        return reading, record

    def _wait(self, line: Line, elapsed_s: float) -> None:
        """Say that it goes on, and until when."""
        far, end = f": {duration(elapsed_s)}", ""
        if self._seconds and (left_s := statistics.median(self._seconds) - elapsed_s) > 0:
            end = f"until about {clock(left_s)}"
        line.write(Told(f"pair {self._number + 1}: measuring", (far, far), end=(end, end)), True)

    def _files(self) -> tuple[Path, Path]:
        """Where the next record and its log go; one that was tried in vain keeps its log."""
        logs, records = self._directory / "logs", self._directory / "pairs"
        for directory in (logs, records):
            try:
                directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{directory} cannot be written: {error.strerror or error}") from None
        number = 1 + max((int(path.stem) for path in logs.glob("[0-9]*.log")), default=0)
        return records / f"{number:03d}.json", logs / f"{number:03d}.log"

    def _pair(
        self, reading: Reading, positions: tuple[int, int], seconds: float, path: Path, again: Sequence[str]
    ) -> Pair:
        figures = reading.figures()
        is_swapped = reading.base != positions[0]
        return Pair(
            *positions,
            {question: _turned(values, is_swapped) for question, (values, _) in figures.items()},
            self._number + 1,
            round(seconds, 3),
            str(path),
            (*(f"measured again: {why}" for why in again), *reading.notes()),
            {question: _turned(known, is_swapped) for question, (_, known) in figures.items()},
        )

    # -- all of them --------------------------------------------------------------------------------

    def _count(self, pair: Pair) -> None:
        key = pair.left, pair.right
        self._measured[key] = self._measured.get(key, 0) + 1
        self._seconds.append(pair.seconds)
        self._number = max(self._number + 1, pair.number)
        if self._first is None and pair.record:
            self._first = Path(pair.record)

    def _is_swapped(self, left: int, right: int) -> bool:
        return is_swapped(self._measured, left, right)

    def _expected(self) -> str:
        return f" (about {duration(statistics.median(self._seconds))})" if self._seconds else ""

    def _reading(self, path: Path) -> Reading:
        return Reading(read_json(path, KIND, VERSION), 0, 0)

    def _check_environment(self, reading: Reading) -> None:
        if self._first is None:
            return
        before = self._reading(self._first).environments
        for test, now in reading.environments.items():
            if test in before and (unlike := differences(before[test], now)):
                raise StoreError(
                    f"{self._directory}: its first pair was measured in another environment, and unlike ones "
                    f"are never put together: {'; '.join(unlike)}. Go on where it was begun, or move "
                    "that directory away to begin anew"
                )


def _invalid(times: int, why: Exception) -> InvalidRun:
    return InvalidRun(
        f"the measurement was invalid {times} times: {why}. When the machine is less busy, the same command "
        "goes on where it was"
    )


def _with_log(unusable: Unusable, log: Path) -> Unusable:
    """The same, and where the whole story is."""
    first, *rest = unusable.why.splitlines() or [""]
    return Unusable(unusable.position, "\n".join([f"{first} (log: {log})", *rest]))


def _turned(values: tuple[float, float], is_swapped: bool) -> tuple[float, float]:
    """Of base and candidate, those of left and right."""
    return (values[1], values[0]) if is_swapped else values


def _unmeasured(code: int, log: Path) -> BaseException:
    """What it means that a session left no record."""
    said = log.read_text(errors="replace")
    last = "\n".join(f"  | {line}" for line in said.rstrip().splitlines()[-_LAST_LINES:])
    told = f"what it said is in {log}\n{last}"
    if code == INTERRUPTED and "KeyboardInterrupt" in said:  # and not a pytest.exit(), or a failed collection
        return KeyboardInterrupt()
    if code < 0:
        return InvalidRun(
            f"the test session was ended by signal {-code} before anything was measured; {told}"
        )
    if code == CRASHED:
        return InvalidRun(f"the test session crashed before anything was measured; {told}")
    return DeclarationError(f"pytest measured nothing (exit code {code}); {told}")
