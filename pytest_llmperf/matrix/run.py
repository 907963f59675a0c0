"""What ``llmperf matrix`` does: the cells that are not measured yet, subject by subject."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pytest_llmperf.declare.grid import Cell, Grid, read_grid, slug
from pytest_llmperf.declare.order import Outcome
from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.files import replacing
from pytest_llmperf.keep.record import KIND, VERSION, now
from pytest_llmperf.keep.result import TestResult
from pytest_llmperf.matrix.process import measure
from pytest_llmperf.matrix.records import Records, is_failure
from pytest_llmperf.pytest_process import INTERRUPTED, USAGE, interrupted_by_signals
from pytest_llmperf.report.matrix import cell_line, matrix_table
from pytest_llmperf.report.plain import show_plainly
from pytest_llmperf.report.width import width_of


@dataclass(frozen=True)
class MatrixOrder:
    """The file, where its records are kept, and which of its cells: those with ``only`` in their names.

    ``lists``: says what there is, and measures nothing. ``is_quiet``: what the sessions say goes to files.
    """

    grid: Path
    out: Path
    only: str = ""
    lists: bool = False
    retries_failed: bool = False
    is_quiet: bool = False


def run_matrix(order: MatrixOrder) -> Outcome:
    """Do as ordered, and tell the person."""
    show_plainly(sys.stdout)
    try:
        grid = read_grid(order.grid)
        cells = [cell for cell in grid.cells if order.only in cell.id or order.only in str(cell.subject)]
        if not cells:
            raise DeclarationError(f"--only {order.only}: in the name of no cell; see --list")
        errand = _Errand(order, grid, cells)
        if order.lists:
            return errand.show()
        with errand.records.kept_for_one(), interrupted_by_signals():
            return errand.run()
    except (DeclarationError, StoreError) as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Outcome.USAGE
    except KeyboardInterrupt:
        print("\nllmperf: interrupted; the same command goes on with what is missing", file=sys.stderr)
        return Outcome.INTERRUPTED


class _Errand:
    """A matrix on its way."""

    def __init__(self, order: MatrixOrder, grid: Grid, cells: Sequence[Cell]) -> None:
        self._order, self._grid, self._cells = order, grid, cells
        self.records = Records(order.out.absolute())

    def show(self) -> Outcome:
        """The cells as they are."""
        kept = [(cell, self.records.read(cell)) for cell in self._cells]
        print("\n".join(matrix_table(kept, width_of(sys.stdout))))
        missing = sum(record is None for _, record in kept)
        print(f"{_count(len(kept))}, {missing} to measure")
        return Outcome.DONE

    def run(self) -> Outcome:
        """Raises :class:`StoreError` for what cannot be read or written."""
        wanted = [cell for cell in self._cells if self._is_wanted(self.records.read(cell))]
        say(f"{_count(len(self._cells))}, {len(wanted)} to measure")
        # As it is now: the file may be changed while it is measured.
        copy = self.records.directory / "grid.toml"
        with replacing(copy) as file:
            file.write(self._grid.text)
        for subject in dict.fromkeys((cell.subject, cell.options.get("model")) for cell in wanted):
            of_subject = [cell for cell in wanted if (cell.subject, cell.options.get("model")) == subject]
            if not self._measure(of_subject, copy):
                return Outcome.USAGE
        return self._tell()

    def _is_wanted(self, record: Mapping[str, Any] | None) -> bool:
        return record is None or (self._order.retries_failed and is_failure(record))

    def _measure(self, cells: Sequence[Cell], copy: Path) -> bool:
        """Whether the next subject may follow."""
        say(f"{cells[0].subject}: {_count(len(cells))}")
        for cell in cells:
            self.records.path(cell).unlink(missing_ok=True)
        with self._log(cells[0]) as log:
            code = measure(cells, copy, str(self._order.grid), self.records.directory, log)
            where = f"; what it said is in {log.name}" if log is not None else ""
        for cell in cells:
            record = self.records.read(cell)
            if record is None and code == INTERRUPTED:
                raise KeyboardInterrupt
            if record is None and code == USAGE:
                say(f"the test session of {cells[0].subject} did not begin{where}")
                return False
            if record is None:
                how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
                self._fail(cell, f"the test session {how} before this cell was measured{where}")
                record = self.records.read(cell)
            if self._order.is_quiet and record is not None:
                say(f"  {cell_line(cell, record)}")
        return True

    @contextlib.contextmanager
    def _log(self, cell: Cell) -> Iterator[IO[bytes] | None]:
        if not self._order.is_quiet:
            yield None
            return
        path = self.records.directory / "logs" / f"{slug(str(cell.subject))}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            yield file

    def _fail(self, cell: Cell, why: str) -> None:
        failed = TestResult(cell.id, cell.slo, subject_text=str(cell.subject))
        failed.verdict, failed.error = Verdict.ERROR, why
        session = {KIND: VERSION, "started": now().isoformat(timespec="seconds"), "launches": []}
        self.records.write(cell, session, failed.as_json(), str(self._order.grid))

    def _tell(self) -> Outcome:
        kept = [(cell, self.records.read(cell)) for cell in self._cells]
        print("\n".join(matrix_table(kept, width_of(sys.stdout))))
        failed = sum(record is not None and is_failure(record) for _, record in kept)
        if failed:
            say(f"{failed} failed; --retry-failed measures them again")
        say(f"records: {self.records.directory / 'cells'}")
        limits = " ".join(f"{limit.key.name}={limit.value:g}" for limit in self._cells[0].slo.limits)
        say(f"what to run: llmperf advise --slo '{limits or 'ttft_ms=300 tpot_ms=40'}' {self._order.out}")
        return Outcome.FAILED if failed else Outcome.DONE


def _count(cells: int) -> str:
    return f"{cells} cell{'' if cells == 1 else 's'}"


def say(text: str) -> None:
    """Tell the person what goes on, between what the test sessions say."""
    print(f"llmperf: {text}", flush=True)
