"""The command line of ``llmperf report``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.options import OPTIONS, OUTPUTS
from pytest_llmperf.declare.order import Exit
from pytest_llmperf.errors import LlmperfError

_EPILOG = """\
exit codes:
    0  written
    2  the command line is wrong, or a file cannot be read or written
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted
"""


_STDOUT = Path("-")


def add_report(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    report = commands.add_parser(
        "report",
        help="write what people and other tools read, from records of former sessions",
        description="Write what people and other tools read, from the records of former sessions; Markdown "
        "also to the standard output (-).",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    report.add_argument(
        "records",
        metavar="RECORD",
        type=Path,
        nargs="+",
        help="a record, as in .llmperf/runs/, or --llmperf-json",
    )
    for option in OPTIONS:
        if option.name in OUTPUTS:
            report.add_argument(f"--{option.name}", metavar="PATH", type=Path, help=option.help)
    report.set_defaults(parser=report, run=_run)


def _run(said: argparse.Namespace) -> int:
    # Takes its time, and --help does not need it.
    from pytest_llmperf.keep.files import check_replaceable, check_writable
    from pytest_llmperf.keep.whole import read_record
    from pytest_llmperf.outputs import output_text, write_output

    paths = {name: path for name in OUTPUTS if (path := getattr(said, name.replace("-", "_"))) is not None}
    if not paths:
        said.parser.error(f"nothing to write: {', '.join(f'--{name} PATH' for name in OUTPUTS)}")
    taken = {path.resolve(): f"the record {path}" for path in said.records}
    for name, path in paths.items():
        if path != _STDOUT and (other := taken.get(path.resolve())):
            said.parser.error(f"--{name}: {path} is {other}")
        taken[path.resolve()] = f"what --{name} writes"
    try:
        records = [read_record(path) for path in said.records]
        for name, path in paths.items():
            if path == _STDOUT:
                print(output_text(name, records), end="")
                continue
            check_replaceable(path.resolve())
            check_writable(path.resolve())
            write_output(name, path, records)
            print(path)
    except LlmperfError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Exit.USAGE
    return Exit.MEASURED
