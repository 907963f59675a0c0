"""The command line of ``llmperf cache``."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import Any

from pytest_llmperf.cli_typed import typed
from pytest_llmperf.declare.number import read_size

_EPILOG = """\
Environments are those of engines of a version or a source of their own (vllm==0.24.0). What a test run uses,
or builds, is not removed; what was removed is built again when it is needed.

exit codes:
    0  listed, and pruned if that was asked for
    1  pruned, and what is used still takes more than the limit
    2  the command line is wrong, or the cache cannot be read
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted
"""


def add_cache(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    cache = commands.add_parser(
        "cache",
        help="show the environments of engines that are kept, and make room",
        description="Show the environments of engines that are kept, and remove those not used for longest.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    cache.add_argument(
        "--limit",
        metavar="SIZE",
        type=typed(read_size),
        help="remove those that were not used for the longest until all take no more than this, as in 50GB",
    )
    cache.set_defaults(parser=cache, run=_run)


def _run(said: argparse.Namespace) -> int:
    from pytest_llmperf.engines.cache import cache_directory  # takes its time, and --help does not need it
    from pytest_llmperf.places.pruning import Stored, prune, readable, stored

    def line(one: Stored) -> str:
        used = f"{datetime.fromtimestamp(one.used):%Y-%m-%d %H:%M}"
        return f"{readable(one.size):>8}  {used}  {one.name}{'' if one.is_complete else '  (unfinished)'}"

    directory = cache_directory("environments")
    try:
        if said.limit is not None:
            for one in prune(directory, said.limit):
                print(f"removed {line(one)}")
        kept = stored(directory)
    except OSError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return 2
    if kept:
        print(f"{'size':>8}  {'last use':16}  environment")
        print("\n".join(map(line, kept)))
    total = sum(one.size for one in kept)
    print(f"{len(kept)} environment{'s' if len(kept) != 1 else ''}, {readable(total)}, in {directory}")
    if said.limit is not None and total > said.limit:
        print("llmperf: what is left is in use, or being built", file=sys.stderr)
        return 1
    return 0
