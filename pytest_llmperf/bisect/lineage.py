"""The commits between two of a repository, along first parents."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_llmperf.bisect.position import Position
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.keep.repository import Repository, first_line

_TIMEOUT_S = 600
_FIELDS = "%H%x1f%cs%x1f%an%x1f%s"
_SHORT = 12


@dataclass(frozen=True)
class Commit:
    """``skipped`` commits come between it and the older one, that touch none of the paths asked for;
    ``touches``: it does itself."""

    hash: str
    date: str
    author: str
    subject: str
    skipped: int = 0
    touches: bool = True

    @property
    def short(self) -> str:
        """Its name. Git's own abbreviation grows with the repository, after a fetch, say; this is what a
        diary knows it by."""
        return self.hash[:_SHORT]

    @property
    def change(self) -> str:
        return f"commit {self.short}" if self.touches else "a commit that touches none of the paths"

    @property
    def about(self) -> dict[str, str]:
        found = {"subject": self.subject, "author": self.author, "date": self.date, "commit": self.hash}
        if self.skipped:
            found["with it"] = f"{self.skipped} commits ahead of it that touch none of the paths"
        return found


class Line(Protocol):
    """Commits, one after another, and what a person knows them by."""

    @property
    def commits(self) -> Sequence[Commit]: ...

    def positions(self) -> list[Position]: ...


class Named:
    """The commits of these hashes, in this order, whatever lies between them; see :class:`Line`."""

    def __init__(self, repository: Repository, hashes: Sequence[str]) -> None:
        self.commits = [commit for one in hashes for commit in listed(repository, "-1", one)]

    def positions(self) -> list[Position]:
        return [Position(commit.short, commit.change, commit.about) for commit in self.commits]


class Lineage:
    """``commits`` from the good to the bad one, both included; from the newer to the older one where bad is
    the ancestor (``is_backwards``).

    Of merges only the first parent is followed: a merged branch is one step, as it was for those who
    followed the main line.
    """

    def __init__(self, repository: Repository, good: str, bad: str, paths: Sequence[str] = ()) -> None:
        """``paths``: only commits that touch one of these, and the ends.

        Raises :class:`DeclarationError` for ends that no line of commits leads between.
        """
        self.repository, self._paths = repository, tuple(paths)
        first, last = self._commit("good", good), self._commit("bad", bad)
        if first == last:
            raise DeclarationError(f"--good {good} and --bad {bad} are the same commit, {first[:10]}")
        self.is_backwards = not self._is_ancestor(first, last) and self._is_ancestor(last, first)
        older, newer = (last, first) if self.is_backwards else (first, last)
        if not self._is_ancestor(older, newer):
            self._refuse(good, bad, first, last)
        line = self._line(older, newer)
        self.commits = line[::-1] if self.is_backwards else line

    def positions(self) -> list[Position]:
        """What brings a position is its commit, or, backwards, that the one before it is taken back."""
        found = [Position(commit.short, commit.change, commit.about) for commit in self.commits]
        if self.is_backwards:
            found[1:] = [
                Position(commit.short, f"{newer.change} taken back", newer.about)
                for newer, commit in itertools.pairwise(self.commits)
            ]
        return found

    def _commit(self, side: str, name: str) -> str:
        found = self.repository.commit(name)
        if found is not None:
            return found
        close = self.repository.close_to(name)
        hint = f"; do you mean {' or '.join(close)}?" if close else "; git fetch, perhaps"
        if self.repository.is_shallow:
            hint = "; it is a shallow clone: git fetch --unshallow"
        raise DeclarationError(f"--{side} {name}: no commit of {self.repository.root}{hint}")

    def _is_ancestor(self, older: str, newer: str) -> bool:
        asked = self.repository.git("merge-base", "--is-ancestor", older, newer, timeout_s=_TIMEOUT_S)
        return asked.returncode == 0

    def _refuse(self, good: str, bad: str, first: str, last: str) -> None:
        if self.repository.is_shallow:
            raise DeclarationError(
                f"no line of commits leads from {good} to {bad} in {self.repository.root}, which is a "
                "shallow clone: git fetch --unshallow"
            )
        found = self.repository.git("merge-base", first, last, timeout_s=_TIMEOUT_S)
        base = found.stdout.decode().strip()
        hint = (
            f"their merge base is {base[:10]}: measure that one, and bisect from it (--good {base[:10]}) "
            f"if it is good, else between it and {good}"
        )
        raise DeclarationError(
            f"--good {good} is no ancestor of --bad {bad}, and what brought it may lie on either side; "
            + (hint if base else "they have no commit in common")
        )

    def _line(self, older: str, newer: str) -> list[Commit]:
        """From ``older`` on, which has to be the first parent of the first commit after it."""
        every = self._log(f"{older}..{newer}")
        parent = self.repository.commit(f"{every[0].hash}^1")
        if parent != older:
            self._refuse_merged(older, every)
        (start,) = self._log("-1", older)
        chosen = self._log(f"{older}..{newer}", "--", *self._paths) if self._paths else every
        if not chosen:
            raise DeclarationError(
                f"none of the {len(every)} commits touches {' or '.join(self._paths)}; --paths are "
                f"relative to {self.repository.root}"
            )
        if chosen[-1].hash != newer:
            chosen = [*chosen, dataclasses.replace(every[-1], touches=False)]
        places = {commit.hash: number for number, commit in enumerate(every)}
        before, line = -1, [start]
        for commit in chosen:
            line.append(dataclasses.replace(commit, skipped=places[commit.hash] - before - 1))
            before = places[commit.hash]
        return line

    def _refuse_merged(self, older: str, every: Sequence[Commit]) -> None:
        """``older`` is on a branch that was merged: there are commits on the main line without it."""
        if self.repository.is_shallow:
            raise DeclarationError(
                f"{self.repository.root} is a shallow clone, which ends before {older[:10]}: "
                "git fetch --unshallow"
            )
        merge = next(commit for commit in every if self._is_ancestor(older, commit.hash))
        raise DeclarationError(
            f"{older[:10]} is not on the line of first parents of {every[-1].short}: it came there with the "
            f"merge {merge.short} ({merge.date}, {merge.subject}); name that merge, or the commit ahead of "
            f"it ({merge.short}^)"
        )

    def _log(self, *arguments: str) -> list[Commit]:
        return listed(self.repository, *arguments)


def listed(repository: Repository, *arguments: str) -> list[Commit]:
    """What ``git log`` lists along first parents, oldest first."""
    found = repository.git(
        *("log", "-z", "--first-parent", "--reverse", "--no-show-signature", "--no-color"),
        *(f"--format={_FIELDS}", *arguments),
        timeout_s=_TIMEOUT_S,
    )
    if found.returncode:
        raise DeclarationError(f"git cannot list the commits {arguments[0]}: {first_line(found)}")
    lines = os.fsdecode(found.stdout).split("\0")
    return [Commit(*_four(line)) for line in lines if line]


def _four(line: str) -> tuple[str, str, str, str]:
    commit, date, author, subject = line.split("\x1f", 3)
    return commit, date, author, subject
