"""The arguments of pytest that a person gave for all measurements of a bisection, and ours around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_llmperf.declare.bisection import REFUSED, refusal
from pytest_llmperf.declare.grid import OF_THE_MACHINE
from pytest_llmperf.declare.options import OPTIONS
from pytest_llmperf.declare.settings import API_KEY_VARIABLE
from pytest_llmperf.declare.subject import (
    Subject,
    is_secret,
    redact_args,
    redact_words,
    typed,
    without_credentials,
)
from pytest_llmperf.errors import DeclarationError

MEASURES = "--llmperf-gate"


def following(arguments: Sequence[str], metric: str | None) -> list[str]:
    """The person's ``arguments`` with the metric that is to be followed, if one is."""
    return [*arguments, *([f"{MEASURES}={metric}"] if metric else [])]


def keeping_sessions(directory: Path, arguments: Sequence[str]) -> list[str]:
    """``arguments`` for pairs of commits: what is locked for one is of no use to the next, and not to be
    committed. Who names a directory in them is heeded."""
    return [f"--llmperf-dir={directory.absolute() / 'sessions'}", *arguments]


def check_arguments(arguments: Sequence[str], metric: str | None = None) -> None:
    """Raise :class:`DeclarationError` for what cannot be given for all pairs of a bisection, or not beside
    ``--metric``."""
    if metric and any(word.partition("=")[0] == MEASURES for word in arguments):
        raise DeclarationError(f"--metric {metric} and {MEASURES}: give one of them")
    for argument in arguments:
        if argument == "--":
            raise DeclarationError("--: once is enough; name tests without it")
        if why := refusal(argument):
            raise DeclarationError(f"{redact_args((argument,))[0]}: {why}; leave it out")


def pair_arguments(
    engine: Subject, against: Subject, record: Path, explored: Path | None, theirs: Sequence[str]
) -> list[str]:
    """The arguments that measure a pair: ``against`` first, then ``engine``.

    What a configuration file or a variable says of the same is outranked. ``explored`` is the record whose
    rates a sweep keeps to that finds its own.
    """
    return [
        *("-p", "pytest_llmperf.bisect.inside", "--llmperf"),
        *(f"--llmperf-engine={typed(engine)}", f"--llmperf-against={typed(against)}"),
        *("--llmperf-launches=1", "--llmperf-exit-codes=pytest", f"--llmperf-json={record}"),
        # What is looked for is of the past, and no news of today.
        "--llmperf-history=none",
        *([f"--bisect-explored={explored}"] if explored is not None else []),
        # Not to meet an SLO is no reason to explain, and none to stop.
        *("--maxfail=0", "--tb=short"),
        *theirs,
    ]


def shown(arguments: Sequence[str]) -> tuple[str, ...]:
    """Arguments without what is secret in them, for files and messages."""
    return redact_args(tuple(arguments))


def telling_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what is measured, and not only where: part of what is asked."""
    outranked = [option.variable for option in OPTIONS if option.flag in REFUSED]
    elsewhere = [option.variable for option in OPTIONS if option.name in OF_THE_MACHINE]
    left_out = (*outranked, *elsewhere, API_KEY_VARIABLE)
    return {
        name: redact_words(value) if name == "PYTEST_ADDOPTS" else without_credentials(value)
        for name, value in sorted(environment.items())
        if value
        and (name == "PYTEST_ADDOPTS" or name.startswith("LLMPERF_"))
        and not (name in left_out or is_secret(name))
    }
