"""The commits of a repository between two of them, and how an engine is made of one."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pytest_llmperf.activate import BUILTIN
from pytest_llmperf.bisect.lineage import Line
from pytest_llmperf.bisect.position import Position, Unusable
from pytest_llmperf.bisect.trees import Trees, is_wheel
from pytest_llmperf.declare.bisection import BUILD_TIMEOUT_S
from pytest_llmperf.declare.subject import Subject, as_shown, parse_subject, redact_words, without_credentials
from pytest_llmperf.errors import DeclarationError, EngineError, Hindered, InvalidRun, StoreError
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.places.index import PackageIndex
from pytest_llmperf.places.indexes import configured
from pytest_llmperf.places.installer import tells_of_full_disk

_PLACE = re.compile(r"\{(checkout|commit|wheel)\}")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a commit becomes a subject.

    ``subject`` has ``{checkout}``, ``{commit}`` or ``{wheel}`` in it: a fresh worktree of the commit, its
    full hash, the wheel that ``wheel`` names. ``build`` is a command for the shell that runs in the worktree
    first. ``wheel`` is a URL or a path of a ``.whl`` file, or of a page or a directory that has one that
    fits, with ``{commit}`` or ``{checkout}`` in it. All other braces, as ``{port}``, stay as they are.
    """

    subject: str
    build: str | None = None
    wheel: str | None = None
    build_timeout_s: float = BUILD_TIMEOUT_S

    def parsed(self) -> Subject:
        """Raises :class:`DeclarationError` for a recipe that cannot mean anything."""
        subject = parse_subject(self.subject)
        if subject.url is not None:
            raise DeclarationError(f"--subject {subject}: no commit can be launched at a server's URL")
        places = set(_PLACE.findall(self.subject))
        if not places:
            raise DeclarationError(
                f"--subject {subject}: nothing in it depends on the commit; put {{checkout}}, {{commit}} or "
                f"{{wheel}} where it belongs, as in '{subject.engine}@{{checkout}}'"
            )
        if "wheel" in places and self.wheel is None:
            raise DeclarationError(
                f"--subject {subject}: what {{wheel}} is, --wheel says: a URL or a path with {{commit}} in it"
            )
        if self.wheel is not None:
            if "wheel" not in places:
                raise DeclarationError(f"--wheel has no use: put {{wheel}} into --subject {subject}")
            if not {"commit", "checkout"} & set(_PLACE.findall(self.wheel)):
                raise DeclarationError(
                    f"--wheel {without_credentials(self.wheel)}: it is the same for every commit; put "
                    "{commit} into it"
                )
        return subject

    @property
    def words(self) -> list[str]:
        """What a person types for it, without secrets."""
        found = ["--subject", as_shown(self.subject)]
        found += ["--build", redact_words(self.build)] if self.build else []
        found += ["--wheel", without_credentials(self.wheel)] if self.wheel else []
        is_said = self.build_timeout_s != BUILD_TIMEOUT_S
        return found + (["--build-timeout", f"{self.build_timeout_s:g}"] if is_said else [])

    @property
    def distribution(self) -> str | None:
        """The Python package of the engine that it names; None where that is none, or not one of ours."""
        engine = BUILTIN.get(self.parsed().engine)
        return engine.distribution if engine else None

    @property
    def needs_checkout(self) -> bool:
        return self.build is not None or "{checkout}" in self.subject + (self.wheel or "")


class Commits:
    """An :class:`~pytest_llmperf.bisect.position.Axis`: one commit after another, along first parents.

    What is made of a commit lies under ``directory`` until :meth:`close`, and is found there again when the
    bisection goes on; of more than ``most`` commits, those of an earlier process among them, what was asked
    for least lately is removed, but never that of the good end.
    """

    kind = "commits"

    def __init__(
        self,
        lineage: Line,
        repository: Repository,
        recipe: Recipe,
        directory: Path,
        *,
        distribution: str | None = None,
        most: int = 8,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """``distribution`` is the engine's, for ``--wheel`` with a page or a directory. ``progress`` is told
        what takes long. Raises :class:`DeclarationError` for a recipe that cannot mean anything."""
        self._template = recipe.parsed()
        if recipe.wheel is not None and distribution is None and not is_wheel(recipe.wheel):
            raise DeclarationError(
                f"--wheel {without_credentials(recipe.wheel)}: {self._template.engine} is no Python "
                "package that could be looked for there; name the .whl file itself"
            )
        self._recipe, self._distribution = recipe, distribution
        self.trees = directory / "trees"
        self._directory, self._trees = directory, Trees(repository, self.trees)
        self._commits = lineage.commits
        self._most, self._progress = max(3, most), progress
        made = {index: self._trees.has(commit.hash) for index, commit in enumerate(self._commits)}
        self._recent = sorted((i for i, at in made.items() if at is not None), key=lambda i: made[i] or 0.0)
        self._wheels: dict[int, Path] = {}
        self._failed: dict[int, str] = {}
        self._index: PackageIndex | None = None
        self.positions: Sequence[Position] = lineage.positions()

    def subject(self, index: int) -> Subject:
        """Raises :class:`~pytest_llmperf.errors.InvalidRun` for what is no fault of the commit: a full disk,
        or a wheel that is out of reach for now."""
        if index in self._failed:
            raise Unusable(index, self._failed[index])
        self._note_use(index)
        commit = self._commits[index]
        try:
            filling = {"commit": commit.hash}
            if self._recipe.needs_checkout:
                filling["checkout"] = str(self._checkout(index))
            if (template := self._recipe.wheel) is not None:
                filling["wheel"] = str(self._wheel(index, template, filling))
        except (EngineError, StoreError, OSError) as error:
            if isinstance(error, (Hindered, OSError)) or tells_of_full_disk(str(error)):
                raise InvalidRun(
                    f"commit {commit.short}: {error}; the same command goes on where it was"
                ) from None
            self._failed[index] = f"commit {commit.short}: {error}"
            raise Unusable(index, self._failed[index]) from None
        return _filled(self._template, filling)

    def forget(self, index: int) -> None:
        """Remove what was made of a commit."""
        with contextlib.suppress(ValueError):
            self._recent.remove(index)
        self._wheels.pop(index, None)
        self._trees.remove(self._commits[index].hash)

    @property
    def has_made(self) -> bool:
        """Whether anything that was made of a commit is still in ``trees``."""
        return any(self._trees.has(commit.hash) is not None for commit in self._commits)

    def close(self) -> None:
        """Remove the worktrees and the wheels; the logs of the builds stay."""
        self._trees.remove_all()
        self._recent.clear()
        self._wheels.clear()

    def _note_use(self, index: int) -> None:
        with contextlib.suppress(ValueError):
            self._recent.remove(index)
        self._recent.append(index)
        while len(self._recent) > self._most:
            self.forget(next(one for one in self._recent if one != 0))

    def _checkout(self, index: int) -> Path:
        commit, recipe = self._commits[index], self._recipe
        if (found := self._trees.find(commit.hash, recipe.build)) is not None:
            return found
        self._progress(
            f"{'building' if recipe.build else 'checking out'} commit {commit.short} ({commit.subject})"
        )
        log = self._directory / "logs" / f"build-{commit.short}.log"
        return self._trees.checkout(commit.hash, recipe.build, recipe.build_timeout_s, log)

    def _wheel(self, index: int, template: str, filling: dict[str, str]) -> Path:
        if index not in self._wheels:
            if self._index is None:
                self._index = PackageIndex(configured())
            url, commit = _fill(template, filling), self._commits[index].hash
            self._wheels[index] = self._trees.wheel(commit, url, self._index, self._distribution)
        return self._wheels[index]


def _fill(text: str, filling: dict[str, str]) -> str:
    return _PLACE.sub(lambda found: filling.get(found[1], found[0]), text)


def _filled(template: Subject, filling: dict[str, str]) -> Subject:
    return dataclasses.replace(
        template,
        path=None if template.path is None else _fill(template.path, filling),
        args=tuple(_fill(arg, filling) for arg in template.args),
        env=tuple((name, _fill(value, filling)) for name, value in template.env),
    )
