"""What git was told in a bisection that it is in charge of."""

from __future__ import annotations

import re

from pytest_llmperf.keep.repository import Repository

_TOLD = re.compile(r"^# (good|bad|old|new): \[([0-9a-f]{40,64})\]", re.MULTILINE)
_TERMS = {"old": "good", "new": "bad"}


def first_told(repository: Repository) -> dict[str, str]:
    """The first commits that git bisect was told of, by ``good`` and ``bad``."""
    logged = repository.git("bisect", "log")
    told: dict[str, str] = {}
    for word, commit in _TOLD.findall(logged.stdout.decode(errors="replace")):
        told.setdefault(_TERMS.get(word, word), commit)
    return told


def is_last(repository: Repository, commit: str, answer: str) -> bool:
    """Whether git will ask for no other commit once it has this answer, ``good``, ``bad`` or ``skip``; True
    where no bisection goes on."""
    listed = repository.git("for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/bisect")
    told: dict[str, set[str]] = {"good": set(), "bad": set(), "skip": set()}
    for line in listed.stdout.decode().splitlines():
        name, _, known = line.partition(" ")
        word = name.partition("-")[0]
        told.setdefault(_TERMS.get(word, word), set()).add(known)
    if answer == "bad":
        told["bad"] = set()
    told[answer].add(commit)
    if not told["bad"] or not told["good"]:
        return True
    asked = repository.git("rev-list", *told["bad"], "--not", *told["good"])
    return set(asked.stdout.decode().split()) <= told["bad"] | told["skip"]
