"""Where baselines are read from: a directory, one file, or a commit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.repository import Repository


class Source(Protocol):
    """Baselines by the name of their file."""

    def has(self, name: str) -> bool: ...

    def names(self, prefix: str) -> Iterable[str]:
        """Those of which the test that the prefix stands for may be one, sorted."""
        ...

    def read(self, name: str) -> Baseline:
        """Raises :class:`~pytest_llmperf.errors.StoreError`."""
        ...


class Directory:
    """Baselines that lie in a directory, which need not exist."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        return (self._path / name).exists()

    def names(self, prefix: str) -> list[str]:
        return sorted(path.name for path in self._path.glob(f"{prefix}*.json"))

    def read(self, name: str) -> Baseline:
        return Baseline.read(self._path / name)


class OneFile:
    """The baseline of one test, whatever its file is called. Raises as :meth:`Source.read`."""

    def __init__(self, path: Path) -> None:
        self._baseline, self._name = Baseline.read(path), path.name

    def has(self, name: str) -> bool:
        return False

    def names(self, prefix: str) -> list[str]:
        return [self._name]

    def read(self, name: str) -> Baseline:
        return self._baseline


class Commit:
    """The baselines that were in a directory of a repository in one of its commits."""

    def __init__(self, repository: Repository, commit: str, directory: str) -> None:
        self._repository, self._commit, self._directory = repository, commit, directory
        self._names = frozenset(
            name for name in repository.files(commit, directory) if name.endswith(".json")
        )
        self._known: dict[str, Baseline] = {}

    def has(self, name: str) -> bool:
        return name in self._names

    def names(self, prefix: str) -> list[str]:
        return sorted(name for name in self._names if name.startswith(prefix))

    def read(self, name: str) -> Baseline:
        if name not in self._known:
            path = f"{self._directory}/{name}"
            content = self._repository.content(self._commit, path)
            self._known[name] = Baseline.parse(content, f"{path} of commit {self._commit[:10]}")
        return self._known[name]
