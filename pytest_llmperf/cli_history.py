"""The command line of ``llmperf history``."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_llmperf.cli_typed import typed
from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.number import read_number, read_whole
from pytest_llmperf.errors import DeclarationError

_EPILOG = """\
    llmperf history                                   # the tests that were measured
    llmperf history test_chat                         # its metrics, one line each
    llmperf history test_chat --load 4/s --metric ttft_p95_ms
    llmperf history add .llmperf/runs/*.json          # take in records of former sessions
    llmperf history prune --keep 180d                 # forget older sessions, not their records

exit codes:
    0  told, added or forgotten
    1  there is nothing to tell: no such test, load or metric
    2  the command line is wrong, or the history cannot be read or written
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted

How changes are found, and how often that is wrong: docs/history.md.
"""
ADD, PRUNE = "add", "prune"
NEWEST = 200
_OF_PRUNE, _OF_BOTH = ("keep", "keep_sessions"), ("history",)
_UNITS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 30.0, "y": 365.0}


def add_history(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command."""
    history = commands.add_parser(
        "history",
        help="show how tests went from session to session, and what changed where they did",
        usage="llmperf history [TEST | add RECORD... | prune] [options]",
        description="Show how the metrics of a test went from session to session, and what changed where "
        "they "
        "did.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    history.add_argument("words", metavar="TEST", nargs="*", help="a test, or a part of its name")
    history.add_argument(
        "--history",
        metavar="PATH|URL",
        help="where it is kept: an SQLite file, or a directory of objects as in s3://bucket/dir (default: "
        "LLMPERF_HISTORY, else .llmperf/history.sqlite)",
    )
    history.add_argument(
        "--metric", metavar="NAME", type=typed(parse_metric), help="of this metric alone, as in ttft_p95_ms"
    )
    history.add_argument("--load", metavar="TEXT", help="of load points with this in their name, as in 4/s")
    history.add_argument(
        "--environment",
        metavar="TEXT",
        help="of the environment whose key begins so, or that has this in a field (default: that of the "
        "newest "
        "session)",
    )
    history.add_argument("--side", choices=("candidate", "base"), help="of a comparison side by side")
    history.add_argument(
        "--since", metavar="TIME", type=typed(read_since), help="of sessions since then: 90d, or 2026-10-01"
    )
    history.add_argument(
        "--limit",
        metavar="N",
        type=typed(read_whole),
        help=f"of the newest N sessions (default: {NEWEST})",
    )
    history.add_argument("--json", action="store_true", help="print all of it as JSON")
    history.add_argument("--html", metavar="PATH", type=Path, help="write it as a page with its charts")
    history.add_argument(
        "--keep", metavar="TIME", type=typed(read_since), help="prune: forget what is older, as in 180d"
    )
    history.add_argument(
        "--keep-sessions", metavar="N", type=typed(read_whole), help="prune: forget all but the newest N"
    )
    history.set_defaults(parser=history, run=_run)


def read_since(text: str) -> datetime:
    """``180d``, ``12w``, ``6m`` (of 30 days), ``1y`` ago, or a date; in UTC. Raises
    :class:`DeclarationError`."""
    words = text.strip()
    try:
        if words[-1:] in _UNITS:
            return datetime.now(UTC) - timedelta(days=read_number(words[:-1]) * _UNITS[words[-1]])
        when = datetime.fromisoformat(words)
    except (ValueError, OverflowError):
        raise DeclarationError(f"{text!r}: as in 180d, 12w, 6m, 1y, or 2026-10-01") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def _run(said: argparse.Namespace) -> int:
    from pytest_llmperf.remembering import (  # takes its time, and --help does not need it
        Question,
        add_records,
        prune_history,
        show_history,
    )

    where = said.history or os.environ.get("LLMPERF_HISTORY") or None
    action = said.words[0] if said.words[:1] in ([ADD], [PRUNE]) else None
    _refuse(said, action)
    if action == ADD:
        if not said.words[1:]:
            said.parser.error("add: which records? For example: llmperf history add .llmperf/runs/*.json")
        return add_records(where, [Path(word) for word in said.words[1:]])
    if action == PRUNE:
        if said.words[1:]:
            said.parser.error(f"prune {said.words[1]}: it is of all tests together, and takes options alone")
        if said.keep is None and said.keep_sessions is None:
            said.parser.error("prune: what stays? --keep 180d, --keep-sessions 500, or both")
        return prune_history(where, said.keep, said.keep_sessions)
    if len(said.words) > 1:
        said.parser.error(f"{' '.join(said.words)}: one test, or a part of its name")
    metric: MetricKey | None = said.metric
    return show_history(
        where,
        Question(
            said.words[0] if said.words else None,
            metric,
            said.load,
            said.environment,
            said.side or "candidate",
            said.since,
            said.limit or NEWEST,
        ),
        json=said.json,
        html=said.html,
    )


def _refuse(said: argparse.Namespace, action: str | None) -> None:
    """What would not be heeded."""
    if said.json and said.html is not None:
        said.parser.error("--json and --html: one of them")
    for name, value in vars(said).items():
        if name in (*_OF_BOTH, "words", "parser", "run", "after", "command") or not value:
            continue
        option = f"--{name.replace('_', '-')}"
        if name in _OF_PRUNE and action != PRUNE:
            said.parser.error(f"{option} belongs to llmperf history prune")
        if name not in _OF_PRUNE and action is not None:
            said.parser.error(f"{option} means nothing to {action}")
        if not said.words and name != "json":
            said.parser.error(f"{option} is of one test: llmperf history TEST {option} …")
