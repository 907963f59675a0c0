"""Releases, commits or flags: what lies between two ends, by what they are."""

from __future__ import annotations

import dataclasses
import shlex
from typing import Literal

from pytest_llmperf.bisect.differences import differences
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.errors import DeclarationError

Kind = Literal["releases", "commits", "flags"]


def kind_of(good: str, bad: str, template: str | None = None) -> Kind:
    """What to bisect; with ``template``, a ``--subject`` with places for a commit, the ends are revisions.

    Raises :class:`DeclarationError` for ends that nothing can be bisected between.
    """
    if template is not None:
        return "commits"
    first, last = (_subject(side, text) for side, text in (("good", good), ("bad", bad)))
    for side, one in (("good", first), ("bad", last)):
        if one.url is not None:
            raise DeclarationError(
                f"--{side} {one}: a server at a URL cannot be launched, and launches are what a bisection "
                "compares; name an engine, or 'command -- ./server --port {port}'"
            )
    if first.engine != last.engine:
        raise DeclarationError(
            f"--good is {first.engine}, --bad is {last.engine}: between two engines lies nothing to bisect; "
            "if these are revisions, --subject says what is made of one, as in --subject 'vllm@{checkout}'"
        )
    changed = differences(first, last)
    if first.target == last.target:
        if not changed:
            raise DeclarationError(f"--good and --bad are the same subject, {first}")
        return "flags"
    if first.version is None or last.version is None:
        raise DeclarationError(
            f"--good {first.target} and --bad {last.target}: releases are bisected between two versions "
            f"({first.engine}==…), and commits between two revisions, with --subject "
            f"'{first.engine}@{{checkout}}'"
        )
    if changed:
        raise DeclarationError(_one_at_a_time(first, last))
    return "releases"


def _subject(side: str, text: str) -> Subject:
    try:
        return parse_subject(text)
    except DeclarationError as error:
        raise DeclarationError(
            f"--{side}: {error}; for a commit, --subject says what is made of one, as in "
            "--subject 'vllm@{checkout}'"
        ) from None


def _one_at_a_time(good: Subject, bad: Subject) -> str:
    between = dataclasses.replace(good, version=bad.version)
    lines = (
        f"llmperf bisect --good {shlex.quote(str(one))} --bad {shlex.quote(str(other))} {kind} -- …"
        for one, other, kind in ((good, between, "releases"), (between, bad, "flags"))
    )
    return "--good and --bad differ in version and in flags: bisect one, then the other:\n  " + "\n  ".join(
        lines
    )
