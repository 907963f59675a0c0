"""The command lines of ``llmperf bisect`` and ``llmperf step``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.cli_typed import typed
from pytest_llmperf.declare.bisection import BUILD_TIMEOUT_S, CONFIDENCE, MOST_PAIRS, OUT, STEP_PAIRS
from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.number import read_duration, read_seconds, read_share, read_whole
from pytest_llmperf.declare.order import Exit, StepCode
from pytest_llmperf.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_llmperf.bisect.commits import Recipe
    from pytest_llmperf.bisect.order import BisectOrder

_EPILOG = """\
examples:
    llmperf bisect --good vllm==0.22.0 --bad vllm==0.24.0 -- tests/test_chat.py
    llmperf bisect --good vllm --bad 'vllm --max-num-seqs 64 --kv-cache-dtype fp8' -- tests -k chat
    llmperf bisect --good v0.22.0 --bad main --repository ../vllm --subject 'vllm@{checkout}' -- tests
    llmperf bisect log

What is after -- goes to pytest: which tests, and options as --llmperf-model or --llmperf-rates. The ends are
measured first, side by side; if nothing is worse beyond doubt, that is the answer. The same command goes on
where it was interrupted.

exit codes:
    0  a culprit was found and confirmed
    1  none: the ends do not differ, or the budget ended before it was sure
    2  the command line is wrong, or a file cannot be read or written
    3  nothing can be said: an end cannot be measured, or the machine was too busy; the same command goes on
   70  this program failed, which is a mistake of ours: please report it
  130  interrupted

How it searches, and how often it is right: docs/bisect.md.
"""
_STEP_EPILOG = """\
an example:
    git bisect start main v0.22.0
    git bisect run llmperf step --subject 'vllm@{checkout}' -- "$PWD"/tests/perf/test_chat.py

Measures the commit that git checked out beside the first good one, in as many pairs of launches as it takes
to tell it from the bad one as well.

exit codes, as git bisect run takes them:
    0  as good as the good commit
    1  as bad as the bad one
  125  cannot be told: it does not build or start, or the launches were too few
  128  or more: stops git: the command line is wrong, the ends do not differ, or you interrupted it
"""
AXES = ("releases", "commits", "flags")


def add_bisect(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``bisect``."""
    bisect = commands.add_parser(
        "bisect",
        help="find the release, commit or flag that made it slower",
        description="Find the release, the commit or the flags that made an engine slower.",
        usage="%(prog)s --good A --bad B [AXIS] [options] -- PYTEST-ARGUMENT...\n       %(prog)s log [DIR]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    bisect.add_argument(
        "axis",
        metavar="AXIS",
        nargs="?",
        help="releases, commits or flags (default: what A and B differ in); log: what was measured until now",
    )
    bisect.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="of log: which bisection")
    ends = bisect.add_argument_group("what lies between")
    ends.add_argument("--good", metavar="A", help="the engine as it was: a subject, or a revision of commits")
    ends.add_argument("--bad", metavar="B", help="the engine as it is")
    ends.add_argument("--pre", action="store_true", help="releases: pre-releases, too")
    ends.add_argument("--yanked", action="store_true", help="releases: those that were taken back, too")
    ends.add_argument("--list", action="store_true", help="show what lies between, and measure nothing")
    commits_of = bisect.add_argument_group("commits")
    _add_commits(commits_of)
    commits_of.add_argument(
        "--paths",
        metavar="PATH",
        action="append",
        default=[],
        help="only commits that touch this (repeatable)",
    )
    search = bisect.add_argument_group("search")
    _add_search(search, MOST_PAIRS)
    search.add_argument(
        "--confidence",
        metavar="PERCENT",
        type=typed(_confidence),
        default=CONFIDENCE,
        help=f"how sure it has to be before the suspect is confirmed (default: {CONFIDENCE:.0%}%)",
    )
    search.add_argument(
        "--budget",
        metavar="TIME",
        type=typed(read_duration),
        help="take no longer than this, builds included: 2h",
    )
    kept = bisect.add_argument_group("what is kept")
    _add_out(kept)
    kept.add_argument(
        "--retry-unusable", action="store_true", help="try again what did not build or did not start"
    )
    kept.add_argument("--json", metavar="FILE", type=Path, help="the answer as JSON")
    kept.add_argument("--markdown", metavar="FILE", type=Path, help="the answer for an issue report")
    bisect.set_defaults(parser=bisect, run=_run, after=[])


def add_step(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command ``step``."""
    step = commands.add_parser(
        "step",
        help="judge one commit, for git bisect run",
        description="Judge the commit that is checked out, for git bisect run.",
        usage="git bisect run %(prog)s --subject TEMPLATE [options] -- PYTEST-ARGUMENT...",
        epilog=_STEP_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for end in ("good", "bad"):
        step.add_argument(f"--{end}", metavar="REV", help="default: the first that git bisect was told of")
    _add_commits(step)
    _add_search(step, STEP_PAIRS)
    _add_out(step)
    step.set_defaults(parser=step, run=_run_step, after=[])


def _add_commits(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--repository", metavar="DIR", type=Path, default=Path(), help="whose commits (default: this one)"
    )
    group.add_argument(
        "--subject",
        metavar="TEMPLATE",
        help="what starts at a commit: 'vllm@{checkout}', 'vllm@{wheel}', 'command -- {checkout}/x {port}'",
    )
    group.add_argument(
        "--build",
        metavar="COMMAND",
        help="is run by a shell in the checkout first",
    )
    group.add_argument(
        "--wheel", metavar="URL", help="where the wheel of a commit is, with {commit} in place of its hash"
    )
    group.add_argument(
        "--build-timeout",
        metavar="S",
        type=typed(read_seconds),
        help=f"seconds until a build is given up (default: {BUILD_TIMEOUT_S:g})",
    )


def _add_search(group: argparse._ActionsContainer, pairs: int) -> None:
    group.add_argument(
        "--metric",
        metavar="NAME",
        type=typed(_metric),
        help="follow this, as in ttft_p50_ms (default: what got worse most clearly)",
    )
    group.add_argument(
        "--pairs",
        metavar="N",
        type=typed(read_whole),
        help=f"measure no more pairs of launches than this (default: {pairs})",
    )


def _add_out(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=OUT,
        help="where bisections are kept (default: %(default)s)",
    )


def for_git(run: Callable[[], int]) -> int:
    """``run`` with a code that stops git bisect, in place of one that it would take for a bad commit."""
    try:
        code = run()
    except SystemExit as left:
        if not left.code:  # of --help
            raise
        code = Exit.USAGE
    return StepCode.STOP if code in (Exit.USAGE, Exit.DEFECT) else code


def _metric(text: str) -> str:
    return parse_metric(text).name


def _confidence(text: str) -> float:
    share = read_share(text)
    if not 0.5 <= share < 1:
        raise DeclarationError(f"{text}: expected a percentage from 50% to below 100%")
    return share


def _run(said: argparse.Namespace) -> int:
    from pytest_llmperf.bisect import run  # takes its time, and --help does not need it

    if said.axis not in (None, "log", *AXES):
        said.parser.error(f"{said.axis}: expected {', '.join(AXES)} or log; what is for pytest goes after --")
    if said.axis == "log":
        if said.after:
            said.parser.error(f"log takes no arguments of pytest: {' '.join(said.after)}")
        _refuse_beside_log(said)
        return run.show_log(said.directory, said.out)
    if said.directory is not None:
        said.parser.error(f"{said.directory}: pytest's arguments go after --")
    missing = [f"--{name}" for name in ("good", "bad") if getattr(said, name) is None]
    if missing:
        said.parser.error(f"{' and '.join(missing)} missing: between what and what?")
    if not said.after and not said.list:
        said.parser.error("nothing after --: which tests measure it? For example: -- tests/perf/test_chat.py")
    return run.run_bisection(_order(said))


def _run_step(said: argparse.Namespace) -> int:
    from pytest_llmperf.bisect import step
    from pytest_llmperf.bisect.order import StepOrder

    if not said.after:
        said.parser.error("nothing after --: which tests measure it?")
    if (recipe := _recipe(said)) is None:
        message = "--subject says what is started at a commit, as in 'vllm@{checkout}'"
        return int(said.parser.error(message))
    if said.pairs is not None and said.pairs < step.FEWEST:
        said.parser.error(
            f"--pairs {said.pairs}: a commit is judged by {step.FEWEST} pairs at least, one in either order "
            "of launches; with fewer it could only be skipped"
        )
    return step.run_step(
        StepOrder(
            recipe=recipe,
            arguments=said.after,
            out=said.out,
            pairs=said.pairs or STEP_PAIRS,
            metric=said.metric,
            repository=said.repository,
            good=said.good,
            bad=said.bad,
        )
    )


def _refuse_beside_log(said: argparse.Namespace) -> None:
    """What ``log`` would not heed."""
    heeded = {"command", "parser", "run", "after", "axis", "directory"}
    heeded |= {"out"} if said.directory is None else set()
    for name, value in vars(said).items():
        if name not in heeded and value != said.parser.get_default(name):
            known = "DIR alone" if said.directory is not None else "DIR or --out alone"
            said.parser.error(f"--{name.replace('_', '-')} means nothing to log, which takes {known}")


def _order(said: argparse.Namespace) -> BisectOrder:
    from pytest_llmperf.bisect.order import BisectOrder

    recipe = _recipe(said)
    if recipe is None and said.axis == "commits":
        said.parser.error("commits: --subject says what is started at one, as in 'vllm@{checkout}'")
    if recipe is not None and said.axis in ("releases", "flags"):
        said.parser.error(f"--subject belongs to commits, not to {said.axis}")
    if (said.pre or said.yanked) and (recipe is not None or said.axis == "flags"):
        said.parser.error(f"{'--pre' if said.pre else '--yanked'} belongs to releases")
    return BisectOrder(
        good=said.good,
        bad=said.bad,
        kind=said.axis,
        arguments=said.after,
        out=said.out,
        confidence=said.confidence,
        pairs=said.pairs or MOST_PAIRS,
        budget_s=said.budget,
        metric=said.metric,
        repository=said.repository,
        paths=said.paths,
        recipe=recipe,
        with_pre=said.pre,
        with_yanked=said.yanked,
        lists=said.list,
        retries_unusable=said.retry_unusable,
        json=said.json,
        markdown=said.markdown,
    )


def _recipe(said: argparse.Namespace) -> Recipe | None:
    from pytest_llmperf.bisect.commits import Recipe

    if said.subject is None:
        given = [f"--{name}" for name in ("build", "wheel", "paths") if getattr(said, name, None)]
        given += ["--build-timeout"] if said.build_timeout is not None else []
        given += ["--repository"] if said.repository != Path() else []
        if given:
            said.parser.error(f"{given[0]} belongs to commits: --subject says what is started at one")
        return None
    return Recipe(said.subject, said.build, said.wheel, said.build_timeout or BUILD_TIMEOUT_S)
