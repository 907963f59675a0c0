"""What a Modal sandbox is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmperf.errors import EngineError

if TYPE_CHECKING:
    import modal

MAX_FILES_MIB = 512


@dataclass(frozen=True)
class ImageRecipe:
    """An image of a registry, or one of Debian with ``packages`` for ``python``, and what is added to it.

    ``files`` are files and folders of this machine; they have the same path in the container.
    """

    registry: str | None
    packages: Sequence[str] = ()
    python: str = "3.12"
    files: Sequence[str] = ()

    def image(self) -> modal.Image:
        import modal

        if self.registry is not None:
            image = modal.Image.from_registry(self.registry).entrypoint([])
        else:
            image = modal.Image.debian_slim(self.python).pip_install(*self.packages)
        for name in self.files:
            if Path(name).is_dir():
                image = image.add_local_dir(name, name, ignore=["**/__pycache__", "**/*.pyc"])
            else:
                image = image.add_local_file(name, name)
        return image

    def __str__(self) -> str:
        return self.registry or f"Debian with {', '.join(self.packages)}"


def check_size(path: Path) -> None:
    """Raises :class:`EngineError` for what is better put on a volume once than sent at every start."""
    files = path.rglob("*") if path.is_dir() else [path]
    mib = sum(file.stat().st_size for file in files if file.is_file()) / 2**20
    if mib > MAX_FILES_MIB:
        raise EngineError(
            f"--llmperf-model {path}: {mib:.0f} MiB are too much to send to Modal at a start; put it on a "
            f"volume (modal volume put NAME {path}), and say volume=NAME:/models in --llmperf-place and "
            f"--llmperf-model /models/{path.name}"
        )
