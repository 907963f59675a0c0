"""What a bisection does unless a person says otherwise, and what of pytest's arguments it refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.declare.options import OPTIONS, OUTPUTS

OUT = Path(".llmperf/bisect")
"""Where bisections are kept."""
CONFIDENCE = 0.95
"""How sure it has to be before a suspect is confirmed, or a commit judged."""
MOST_PAIRS, STEP_PAIRS = 64, 8
"""Of launches: of a bisection, and of a commit that git asks about."""
BUILD_TIMEOUT_S = 7200.0
_SIDES = "the ends are given by --good and --bad, and what is launched follows from them"
_ALL = "every pair has to measure all tests, also those that fail; choose them by name, -k or -m"
_ALONE = "what is measured has the machine to itself"
_OURS = "this comes with a bisection already"
_NOBODY = "a pair is measured with nobody at its terminal: there is no standard input"
REFUSED: Mapping[str, str] = {
    "--llmperf-engine": _SIDES,
    "--llmperf-against": _SIDES,
    "--llmperf-baseline": "both sides are measured, so there is no baseline to compare with",
    "--llmperf-update": "a bisection accepts no baselines",
    "--llmperf-launches": "a pair is one launch of either side, and there are as many pairs as it takes",
    **dict.fromkeys(
        (f"--llmperf-{name}" for name in OUTPUTS), "the records of the pairs are kept with the bisection"
    ),
    "--llmperf-history": "what a bisection measures is of the past, and added to no history",
    "--llmperf-exit-codes": _OURS,
    **dict.fromkeys(("--pdb", "--trace"), _NOBODY),
    **dict.fromkeys(("-n", "--numprocesses", "--dist", "--tx"), _ALONE),
    **dict.fromkeys(("-x", "--exitfirst", "--maxfail"), _ALL),
    **dict.fromkeys(
        (
            *("--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
            *("--sw", "--stepwise", "--stepwise-skip", "--sw-skip"),
        ),
        "what is measured would change from pair to pair; choose tests by name, -k or -m",
    ),
    **dict.fromkeys(("--collect-only", "--co", "--setup-only", "--setup-plan"), "nothing would be measured"),
}
"""Options, and why a bisection refuses them."""
# -qx and the like: short options that take no value, in one word.
_CLUSTER = re.compile(r"-[qvslx]*x[qvslx]*")


def refusal(argument: str) -> str | None:
    """Why a bisection refuses an argument of pytest; None where it does not."""
    flag = argument.partition("=")[0]
    if _CLUSTER.fullmatch(flag):
        flag = "-x"
    elif re.fullmatch(r"-n.+", flag):
        flag = "-n"
    return REFUSED.get(flag)


def without_refused(words: Sequence[str]) -> list[str]:
    """Node ids and options of ours, without those that a bisection refuses, and without their values."""
    with_value = {option.flag for option in OPTIONS if option.metavar is not None}
    kept: list[str] = []
    is_value = False
    for word in words:
        if is_value:
            is_value = False
        elif refusal(word) is None:
            kept.append(word)
        else:
            is_value = word in with_value
    return kept
