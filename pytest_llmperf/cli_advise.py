"""The command line of ``llmperf advise``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pytest_llmperf.cli_typed import typed
from pytest_llmperf.declare.number import read_number
from pytest_llmperf.declare.slo import Slo, parse_slo
from pytest_llmperf.errors import DeclarationError

_AIMS = ("throughput", "latency", "cost")
_EPILOG = """\
an example:
    llmperf matrix grid.toml
    llmperf advise --slo 'ttft_ms=300 tpot_ms=40' --load 50

For every environment, model and workload in the records: which configuration carries most requests/s under
the SLO, which has the lowest latencies, which costs least, what cannot be told apart, how to start it, and
how many replicas 50 requests/s need.

exit codes:
    0  something meets the SLO
    1  nothing does, or nothing was measured
    2  the command line is wrong, or a file cannot be read or written
   70  this program failed, which is a mistake of ours: please report it

How it is judged: docs/advise.md.
"""


_NO_LOAD = {
    "capacity": "--min-rate asks for a capacity",
    "cost": "--max-cost asks for a cost",
    "startup": "leave it out",
    "cold_startup": "leave it out",
}


def add_advise(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    advise = commands.add_parser(
        "advise",
        help="say which of the configurations that were measured to run",
        description="Say which of the configurations that were measured to run under an SLO.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    advise.add_argument(
        "records",
        metavar="RECORD|DIR",
        nargs="*",
        type=Path,
        help="records of test sessions and matrices (default: .llmperf/runs and .llmperf/matrix)",
    )
    advise.add_argument(
        "--slo",
        metavar="LIMITS",
        required=True,
        type=typed(_slo),
        help="as in 'ttft_ms=300 tpot_ms=40'; a latency without a statistic is a p95",
    )
    advise.add_argument("--for", dest="aim", choices=_AIMS, help="only what is best for this (default: all)")
    advise.add_argument(
        "--load",
        metavar="R",
        type=typed(read_number),
        help="requests/s to be served: how many replicas that takes, and where latencies are compared",
    )
    advise.add_argument(
        "--min-rate", metavar="R", type=typed(read_number), help="leave out what may carry fewer requests/s"
    )
    advise.add_argument(
        "--max-cost",
        metavar="USD",
        type=typed(read_number),
        help="leave out what may cost more dollars per million output tokens",
    )
    advise.add_argument(
        "--prices",
        metavar="FILE",
        type=Path,
        help="dollars per GPU hour (default: list prices of the package)",
    )
    advise.add_argument("--json", metavar="FILE", type=Path, help="the same as JSON")
    advise.set_defaults(parser=advise, run=_run)


def _slo(text: str) -> tuple[str, Slo]:
    slo = parse_slo(text)
    if not slo.limits:
        raise DeclarationError(f"{text!r} has no limit, as ttft_ms=300 is one")
    for limit in slo.limits:
        if (name := limit.key.metric_name) in _NO_LOAD:
            raise DeclarationError(f"{limit.key.name} is no limit on a load: {_NO_LOAD[name]}")
    return text, slo


def _run(said: argparse.Namespace) -> int:
    from pytest_llmperf.advising import give_advice  # takes its time, and --help does not need it
    from pytest_llmperf.judge.advice import AIMS, Question

    text, slo = said.slo
    aims = AIMS if said.aim is None else (said.aim,)
    question = Question(slo, aims, said.load, said.min_rate, said.max_cost)
    return give_advice(said.records, question, text, said.prices, said.json)
