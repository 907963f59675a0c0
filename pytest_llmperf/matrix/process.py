"""One pytest process: the cells of one subject, behind one engine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pytest_llmperf.declare.grid import OF_THE_MACHINE, Cell
from pytest_llmperf.declare.options import OPTIONS
from pytest_llmperf.declare.settings import API_KEY_VARIABLE
from pytest_llmperf.declare.subject import typed
from pytest_llmperf.matrix import cell as measured
from pytest_llmperf.pytest_process import run_pytest


def measure(cells: Sequence[Cell], grid: Path, name: str, out: Path, log: IO[bytes] | None) -> int:
    """Measure the cells of one subject in a process of its own; returns and raises what
    :func:`~pytest_llmperf.pytest_process.run_pytest` does."""
    return run_pytest(_arguments(cells, grid, name, out), _environment(), log)


def _arguments(cells: Sequence[Cell], grid: Path, name: str, out: Path) -> list[str]:
    module = Path(measured.__file__)
    options = {"dir": ".llmperf", "history": "none", **cells[0].options, "engine": typed(cells[0].subject)}
    options["dir"] = str(Path(options["dir"]).absolute())
    return [
        *(str(module), "--rootdir", str(module.parent), "-c", os.devnull),
        *("-p", "pytest_llmperf.matrix.inside", "-p", "no:cacheprovider", "--import-mode=importlib"),
        # Not to meet the SLO at some load is what a matrix is for, and no failure to explain.
        *("-q", "--no-header", "--tb=no", "-rN", "--llmperf"),
        *(f"--llmperf-{option}={value}" for option, value in options.items()),
        *(f"--matrix-grid={grid}", f"--matrix-name={name}", f"--matrix-out={out}"),
        f"--matrix-cells={','.join(cell.id for cell in cells)}",
    ]


def _environment() -> dict[str, str]:
    """This one, without what would change what the file declares."""
    kept = [option.variable for option in OPTIONS if option.name in OF_THE_MACHINE]
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTEST_ADDOPTS" and (not name.startswith("LLMPERF_") or name in (*kept, API_KEY_VARIABLE))
    }
