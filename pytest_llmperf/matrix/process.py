"""One pytest process: the cells of one subject, behind one engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pytest_llmperf.declare.grid import OF_THE_MACHINE, Cell
from pytest_llmperf.declare.options import OPTIONS
from pytest_llmperf.declare.settings import API_KEY_VARIABLE
from pytest_llmperf.matrix import cell as measured

_PATIENCE_S = 60.0
INTERRUPTED, USAGE = 2, 4  # exit codes of pytest


def measure(cells: Sequence[Cell], grid: Path, name: str, out: Path, log: IO[bytes] | None) -> int:
    """Measure the cells of one subject in a process of its own; the exit code of pytest, below 0 if a signal
    ended it.

    ``log`` takes what it says; None: it says it here. A :class:`KeyboardInterrupt` is passed on, and raised
    again when nothing is left of it.
    """
    theirs, ours = os.pipe()
    try:
        process = subprocess.Popen(
            _command(cells, grid, name, out, theirs),
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(theirs,),
            # Of a Ctrl-C it is told by us alone, and once.
            process_group=0,
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            _stop(process)
            raise
    finally:
        os.close(theirs)
        os.close(ours)


def _command(cells: Sequence[Cell], grid: Path, name: str, out: Path, pipe: int) -> list[str]:
    module = Path(measured.__file__)
    options = {"dir": ".llmperf", **cells[0].options, "engine": cells[0].typed_subject}
    options["dir"] = str(Path(options["dir"]).absolute())
    return [
        *(sys.executable, "-m", "pytest", str(module), "--rootdir", str(module.parent), "-c", os.devnull),
        *("-p", "pytest_llmperf.matrix.inside", "-p", "no:cacheprovider", "--import-mode=importlib"),
        # Not to meet the SLO at some load is what a matrix is for, and no failure to explain.
        *("-q", "--no-header", "--tb=no", "-rN", "--llmperf"),
        *(f"--llmperf-{option}={value}" for option, value in options.items()),
        *(f"--matrix-grid={grid}", f"--matrix-name={name}", f"--matrix-out={out}", f"--matrix-parent={pipe}"),
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


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Interrupt it, so that it ends its engine; end it if it takes too long, or if we are asked again."""
    for number, patience_s in ((signal.SIGINT, _PATIENCE_S), (signal.SIGTERM, _PATIENCE_S / 4)):
        process.send_signal(number)
        try:
            process.wait(patience_s)
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            continue
    process.kill()
    process.wait()
