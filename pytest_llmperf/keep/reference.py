"""Which baselines a name or a path stands for."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.record import Store
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.keep.source import Commit, OneFile


def baselines_of(name: str, store: Store, start: Path, *, update: bool) -> Baselines:
    """The baselines at a path (from ``start``), or those that the store had on a branch, a tag or a commit.

    A path may be a directory of baselines, a store, a directory with a ``.llmperf`` in it, or one baseline's
    file; with ``update`` it is written to, and need not exist. Raises :class:`DeclarationError` for a name
    that stands for nothing, or for two things, and :class:`StoreError` for a file that cannot be read.
    """
    path = Path(os.path.normpath(start / os.path.expanduser(name)))
    if _is_plainly_a_path(name):
        repository, commit = None, None
    else:
        try:
            repository = Repository(store.directory)
            commit = repository.commit(name)
        except StoreError as error:
            if not path.exists():
                raise DeclarationError(f"{name!r}: no such file or directory, and {error}") from None
            repository, commit = None, None
    if path.exists() and commit is not None:
        raise DeclarationError(
            f"{name!r} is a path and a name of git's: write ./{name} for the path, or refs/heads/{name} or "
            f"refs/tags/{name} for what is committed there"
        )
    if path.exists() or (update and commit is None and (_is_plainly_a_path(name) or os.sep in name)):
        return _at(path, name, store, update=update)
    if repository is not None and commit is not None:
        return _committed(repository, commit, name, store, update=update)
    new = f" (write ./{name} for a new directory)" if update else ""
    raise DeclarationError(f"{name!r}: {_unknown(name, repository)}{new}")


def _is_plainly_a_path(name: str) -> bool:
    return name in (".", "..") or name.startswith(("/", "./", "../", "~"))


def _at(path: Path, name: str, store: Store, *, update: bool) -> Baselines:
    if path.is_file():
        if update:
            raise DeclarationError(f"{name!r} is one baseline: --llmperf-update takes a directory of them")
        return Baselines(store.baselines, OneFile(path))
    inner = (path / "baselines", path / store.directory.name / "baselines")
    # A store that was not used yet has no baselines in it.
    directory = next((one for one in inner if one.is_dir()), path)
    if update:
        return Baselines(inner[0] if path.name == store.directory.name else directory)
    if not any(directory.glob("*.json")):
        raise DeclarationError(f"{name!r}: no baselines in {directory}")
    return Baselines(directory)


def _committed(repository: Repository, commit: str, name: str, store: Store, *, update: bool) -> Baselines:
    if update:
        raise DeclarationError(
            f"{name!r} is a name of git's: what was committed can be compared with, and not be updated"
        )
    try:
        directory = Path(os.path.realpath(store.baselines)).relative_to(os.path.realpath(repository.root))
    except ValueError:
        raise DeclarationError(f"{store.baselines} is not in the repository {repository.root}") from None
    source = Commit(repository, commit, directory.as_posix())
    if not source.names(""):
        raise DeclarationError(
            f"{name!r} (commit {commit[:10]}) has no baselines in {directory.as_posix()}; accept them there "
            "with --llmperf-update, and commit them"
        )
    return Baselines(store.baselines, source)


def _unknown(name: str, repository: Repository | None) -> str:
    if repository is None:
        return "no such file or directory"
    close = repository.close_to(name)
    why = "no such path, and no such branch, tag or commit" + (
        f" (did you mean {' or '.join(close)}?)" if close else f" in {repository.root}"
    )
    if repository.is_shallow:
        why += f"; the clone is shallow: git fetch origin {name}:{name} may bring it"
    return why
