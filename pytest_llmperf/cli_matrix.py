"""The command line of ``llmperf matrix``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_EPILOG = """\
an example, grid.toml:
    model = "meta-llama/Llama-3.1-8B"
    slo = "ttft_ms=300 tpot_ms=40"
    duration = 30
    workloads = "almanac"            # or ["128/1024", {input_tokens = 512, output_tokens = 64, chat = true}]
    [[engine]]
    subject = "vllm"
    versions = ["0.24.0", "0.25.0"]
    flags = ["", "--max-num-batched-tokens 512"]
    [[engine]]
    subject = "sglang==0.5.16"
    [options]                        # of pytest --llmperf, without the prefix
    launches = 3

The same command goes on where it was interrupted: a cell that is measured is not measured again, unless what
the file says of it has changed. Then: llmperf advise.

exit codes:
    0  all cells are measured
    1  some failed: the engine did not start, say; they are kept as what they are
    2  the command line or the file is wrong, or a record cannot be read or written
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted

All keys of the file: docs/matrix.md.
"""


def add_matrix(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    matrix = commands.add_parser(
        "matrix",
        help="measure engines, versions and flags under many workloads, cell by cell",
        description="Measure engines × versions × flags × workloads, as a TOML file declares them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    matrix.add_argument("grid", metavar="FILE", type=Path, help="the declaration, see below")
    matrix.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path(".llmperf/matrix"),
        help="where the records of the cells are kept (default: %(default)s)",
    )
    matrix.add_argument(
        "--only", metavar="TEXT", default="", help="only cells with this in their subject or name"
    )
    matrix.add_argument("--list", action="store_true", help="show the cells, and measure nothing")
    matrix.add_argument(
        "--retry-failed", action="store_true", help="measure the cells again that have failed"
    )
    matrix.add_argument(
        "--quiet", action="store_true", help="a line for each cell; what the sessions say goes to DIR/logs"
    )
    matrix.set_defaults(parser=matrix, run=_run)


def _run(said: argparse.Namespace) -> int:
    from pytest_llmperf.matrix.run import (
        MatrixOrder,
        run_matrix,
    )  # takes its time, and --help does not need it

    return run_matrix(MatrixOrder(said.grid, said.out, said.only, said.list, said.retry_failed, said.quiet))
