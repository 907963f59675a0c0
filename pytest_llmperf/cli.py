"""The command ``llmperf``: what can be had without pytest."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Never

from pytest_llmperf.cli_advise import add_advise
from pytest_llmperf.cli_bisect import add_bisect, add_step, for_git
from pytest_llmperf.cli_cache import add_cache
from pytest_llmperf.cli_history import add_history
from pytest_llmperf.cli_matrix import add_matrix
from pytest_llmperf.cli_report import add_report
from pytest_llmperf.cli_typed import typed
from pytest_llmperf.declare.lengths import parse_lengths
from pytest_llmperf.declare.load import LoadPoint, Sweep, read_rate
from pytest_llmperf.declare.number import read_number, read_seconds, read_whole
from pytest_llmperf.declare.order import Exit, Order
from pytest_llmperf.declare.settings import parse_workers
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError

_EPILOG = """\
exit codes:
    0  measured; failed requests are counted in the table
    1  the server failed: it cannot be reached, not one request was answered as asked, or it answers no more
    2  the command line is wrong, or a file cannot be written
    3  the run is invalid and says nothing about the server: the load generator was late, say
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted

The table goes to the standard output, everything else to the standard error. LLMPERF_API_KEY is sent as
a bearer token. What is measured, and how: docs/command.md and docs/measuring.md.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    return for_git(lambda: _run(words)) if words[:1] == ["step"] else _run(words)


def _run(arguments: Sequence[str]) -> int:
    try:
        runs_pytest = list(arguments[:1]) in (["bisect"], ["step"])
        ours, theirs = _halves(arguments) if runs_pytest else (list(arguments), [])
        said, odd = parser().parse_known_args(ours)
        said.after = theirs
        if hasattr(said, "words"):  # argparse takes only those before the first option
            said.words += [word for word in odd if not word.startswith("-")]
            odd = [word for word in odd if word.startswith("-")]
        if odd:
            hint = "; what is for pytest goes after --" if runs_pytest else ""
            said.parser.error(f"unrecognized arguments: {' '.join(odd)}{hint}")
        return int(said.run(said))
    except BrokenPipeError:  # whoever read the table has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.MEASURED
    except OSError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Exit.USAGE
    except KeyboardInterrupt:
        print("\nllmperf: interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except Exception:
        traceback.print_exc()
        return Exit.DEFECT


def _halves(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is for us, and what stands after ``--``, which is for pytest."""
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong on one line."""

    def error(self, message: str) -> Never:
        self.exit(Exit.USAGE, f"llmperf: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = _Parser(
        prog="llmperf",
        description="Measure how fast LLM servers answer, say which to run, and what made one slower.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    _add_load_command(commands)
    add_matrix(commands)
    add_advise(commands)
    add_bisect(commands)
    add_step(commands)
    add_report(commands)
    add_history(commands)
    add_cache(commands)
    return top


def _add_load_command(commands: argparse._SubParsersAction[Any]) -> None:
    load = commands.add_parser(
        "load",
        help="drive load against a server that runs already, and print what it did",
        description="Drive load against an OpenAI-compatible server that runs already; print what it did.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    load.add_argument("server", metavar="URL", type=typed(_url), help="as in http://127.0.0.1:8000")
    _add_load(load.add_argument_group("load"))
    _add_requests(load.add_argument_group("requests"))
    kept = load.add_argument_group("what is kept")
    kept.add_argument(
        "--timelines",
        metavar="FILE",
        type=Path,
        help="the time of every token of every request, as JSON lines",
    )
    kept.add_argument("--json", metavar="FILE", type=Path, help="all numbers of the run, as JSON")
    load.set_defaults(parser=load, run=lambda said: _drive(_order(load, said)))


def _drive(order: Order) -> int:
    from pytest_llmperf.driving import drive  # takes its time, and --help does not need it

    try:
        return drive(order)
    except KeyboardInterrupt:
        print("\nllmperf: interrupted; this run is not kept", file=sys.stderr)
        return Exit.INTERRUPTED


def _add_load(group: argparse._ArgumentGroup) -> None:
    how_many = group.add_mutually_exclusive_group()
    how_many.add_argument(
        "--rate",
        metavar="R",
        type=typed(_rate),
        help="open loop: R requests/s, sent when due, come what may; 1..10 for a ramp",
    )
    how_many.add_argument(
        "--concurrency",
        metavar="N",
        type=typed(read_whole),
        help="closed loop: N requests at once, each sent when one has ended (default: 1)",
    )
    group.add_argument(
        "--duration",
        metavar="S",
        type=typed(read_number),
        help="seconds during which requests are sent (default: 30, unless --requests is given)",
    )
    group.add_argument("--requests", metavar="N", type=typed(read_whole), help="send no more than N requests")
    group.add_argument(
        "--arrivals",
        metavar="NAME",
        type=typed(_arrivals),
        help="of an open loop: request i at i/R seconds (constant, the default), or poisson or gamma:SHAPE",
    )
    group.add_argument(
        "--seed",
        metavar="TEXT",
        default="llmperf",
        help="the same text gives the same random arrivals and lengths (default: %(default)s)",
    )
    group.add_argument(
        "--no-warmup", action="store_true", help="send no bursts of requests ahead of those that count"
    )
    group.add_argument(
        "--workers",
        metavar="N",
        type=typed(parse_workers),
        help="processes that drive the load; auto: as many as it takes (default: auto)",
    )


def _add_requests(group: argparse._ArgumentGroup) -> None:
    for name, default, what in (
        ("input", 256, "length of every prompt in tokens"),
        ("output", 128, "length of every answer in tokens"),
    ):
        group.add_argument(
            f"--{name}-tokens",
            metavar="N",
            type=typed(parse_lengths),
            default=default,
            help=f"{what}: a number, or 100-500, normal:512,100, lognormal:300,1200 (default: %(default)s)",
        )
    group.add_argument(
        "--chat", action="store_true", help="ask /v1/chat/completions instead of /v1/completions"
    )
    group.add_argument("--model", metavar="NAME", help="the model to ask for (default: the first one served)")
    group.add_argument(
        "--timeout",
        metavar="S",
        type=typed(read_seconds),
        default=120.0,
        help="seconds until a request is given up and counts as failed (default: 120)",
    )


def _order(parser: argparse.ArgumentParser, said: argparse.Namespace) -> Order:
    if said.arrivals is not None and said.rate is None:
        parser.error("--arrivals belongs to --rate: in a closed loop a request follows the one before it")
    # What a link points to, and not the link.
    timelines, record = (path and path.resolve() for path in (said.timelines, said.json))
    if timelines is not None and timelines == record:
        parser.error(f"--timelines and --json are the same file, {said.json}")
    return Order(
        server=said.server,
        workload=Workload(input_tokens=said.input_tokens, output_tokens=said.output_tokens, chat=said.chat),
        point=_point(parser, said),
        seed=said.seed,
        model=said.model,
        timeout_s=said.timeout,
        warms_up=not said.no_warmup,
        workers=said.workers,
        timelines=timelines,
        json=record,
    )


def _point(parser: argparse.ArgumentParser, said: argparse.Namespace) -> LoadPoint:
    try:
        (point,) = _sweep(said).points()
    except DeclarationError as error:
        parser.error(str(error))
    return point


def _sweep(said: argparse.Namespace) -> Sweep:
    return Sweep.of(
        rates=None if said.rate is None else [said.rate],
        concurrency=said.concurrency,
        arrivals=None if said.rate is None else said.arrivals or "constant",
        duration=said.duration,
        requests=said.requests,
    )


# --- what a word on the command line may be -----------------------------------------------------------


def _url(text: str) -> Subject:
    if "://" not in text:
        raise DeclarationError(f"{text!r}: expected http://HOST:PORT or https://HOST")
    try:
        return parse_subject(text)
    except DeclarationError as error:
        raise DeclarationError(str(error).removeprefix("engine ")) from None


def _rate(text: str) -> float | str:
    """A rate as a sweep takes it, which reads a ramp by itself."""
    rate = text if ".." in text else read_number(text)
    read_rate(rate)
    return rate


def _arrivals(text: str) -> str:
    return str(Sweep.of(arrivals=text).arrivals)


if __name__ == "__main__":
    sys.exit(main())
