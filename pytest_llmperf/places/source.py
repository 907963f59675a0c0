"""What an engine is installed from, other than by its version: a wheel file or a source checkout."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.packages import canonical

_BUILT = ("build", "dist", "__pycache__")


@dataclass(frozen=True)
class Source:
    """``identity`` is what its content is known by, ``is_settled`` whether that can be had again later."""

    path: Path
    identity: str
    is_settled: bool = True

    @property
    def is_checkout(self) -> bool:
        return self.path.is_dir()


def wheel(path: Path, distribution: str) -> Source:
    """A wheel file of ``distribution``. Raises :class:`EngineError` if it is one of something else."""
    name, _, rest = path.name.partition("-")
    if canonical(name) != canonical(distribution) or rest.count("-") < 3:
        raise EngineError(
            f"{path} is no wheel of {distribution}: its name has to be "
            f"{distribution.replace('-', '_')}-VERSION-PYTHON-ABI-PLATFORM.whl"
        )
    with path.open("rb") as file:
        return Source(path, f"wheel sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:12]}")


def checkout(path: Path) -> Source:
    """A source tree: known by its commit and by what was changed since, without git by all its files.

    Raises :class:`EngineError` if it is not there.
    """
    if not path.is_dir():
        raise EngineError(f"the source checkout {path} does not exist")
    commit = _git(path, "rev-parse", "HEAD")
    changes = _git(path, "diff", "--binary", "HEAD", "--", ".")
    listed = _git(path, "ls-files", "--others", "--exclude-standard", "-z")
    if commit is None or changes is None or listed is None:
        return Source(path, f"files sha256:{_digest(path, _files(path))}", is_settled=False)
    short = commit.decode().strip()[:12]
    untracked = [name for name in os.fsdecode(listed).split("\0") if name and not _is_built(Path(name))]
    if not changes and not untracked:
        return Source(path, short)
    return Source(path, f"{short}+changes.{_digest(path, untracked, changes)[:8]}", is_settled=False)


def _git(path: Path, *arguments: str) -> bytes | None:
    """What git says there; None where there is no repository, no git, or one that fails."""
    try:
        answer = subprocess.run(["git", "-C", str(path), *arguments], capture_output=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None


def _files(path: Path) -> Iterator[str]:
    for directory, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = Path(directory, name).relative_to(path)
            if not _is_built(file):
                yield str(file)


def _is_built(file: Path) -> bool:
    """Whether building it made this file: that is no change of the source."""
    return any(part in _BUILT or part.endswith(".egg-info") for part in file.parts)


def _digest(path: Path, names: Iterable[str], start: bytes = b"") -> str:
    found = hashlib.sha256(start)
    for name in sorted(names):
        found.update(os.fsencode(f"\0{name}\0"))
        if (path / name).is_file():
            found.update((path / name).read_bytes())
    return found.hexdigest()[:12]
