"""What a subject's flags mean to us; the engine itself gets them as they are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import EngineError


def refuse_owned(subject: Subject, *owned: str) -> None:
    """Raise :class:`EngineError` for flags that the run chooses itself, and for what is no flag at all."""
    if found := [name for name, _ in given(subject.args) if name in owned]:
        shown = [arg for arg in subject.shown_args if _normal(arg.partition("=")[0]) in found]
        raise EngineError(
            f"{subject}: {', '.join(shown)} is not for a subject to choose; a model is --llmperf-model, "
            "and a server at an address of your own is a subject by its URL"
        )
    if subject.args and not subject.args[0].startswith("-"):
        raise EngineError(
            f"{subject}: {subject.args[0]!r} is no flag; a subject is the engine and its flags, and a model "
            "is --llmperf-model"
        )


def values(args: Sequence[str], *names: str) -> list[str]:
    """What was given to a flag under any of its names, in order: ``--name V``, ``--name=V``, ``-n V``.

    Underscores count as dashes, as the engines have it. A flag without a value gives an empty string.
    """
    return [value for name, value in given(args) if name in names]


def size(subject: Subject, *names: str) -> int:
    """The last number given to a flag; 1 without one. What is no number, the engine itself will refuse."""
    last = (values(subject.args, *names) or ["1"])[-1]
    return max(1, int(last)) if last.isdecimal() else 1


def api_key(subject: Subject, variable: str | None = None) -> str | None:
    """The key that a server with the subject's ``--api-key``, or with ``variable`` in its environment, wants.

    Raises :class:`EngineError`, which does not show it, for one that no header can carry.
    """
    exported = dict(subject.env).get(variable, os.environ.get(variable)) if variable else None
    keys = values(subject.args, "--api-key")
    return sendable(keys[0], "--api-key") if keys else sendable(exported or "", variable or "")


def sendable(key: str, source: str) -> str | None:
    """``key`` without the blanks around it, None if nothing is left.

    Raises :class:`EngineError`, which names only its ``source``, for one that no header can carry.
    """
    key = key.strip()
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise EngineError(f"{source} has blanks or odd characters in it; it is not shown here")
    return key or None


def given(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every flag with what was given to it, or an empty string; underscores in its name are dashes."""
    for arg, following in zip(args, [*args, ""][1:], strict=True):
        if arg.startswith("-"):
            name, equals, value = arg.partition("=")
            yield _normal(name), value if equals or following.startswith("-") else following


def _normal(name: str) -> str:
    return name.replace("_", "-")
