"""Which history is meant: a file, a directory of objects, or none."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.keep.history import History

NONE = "none"
FILE = "history.sqlite"


def open_history(said: str | None, root: Path, store: Path) -> History | None:
    """The history at a URL or a path (relative to ``root``), that of the ``store`` where nothing is said;
    None for ``none``. Nothing is read or made yet.

    Raises :class:`DeclarationError` for what can be no history.
    """
    if said == NONE:
        return None
    if said is not None and "://" in said:
        from pytest_llmperf.keep.history_directory import (
            HistoryDirectory,
        )  # brings fsspec, which is of the extra

        return HistoryDirectory(said)
    try:
        from pytest_llmperf.keep.history_file import HistoryFile
    except ImportError as error:  # not every Python has sqlite3
        raise DeclarationError(
            f"this Python cannot keep a history in a file ({error}): name a directory, as in "
            "file:///srv/history, or none"
        ) from None

    path = Path(os.path.normpath(store / FILE if said is None else root / said))
    if os.path.isdir(path):
        raise DeclarationError(
            f"{path} is a directory: name a file in it, or {path.absolute().as_uri()} to keep an object for "
            "each "
            "session there"
        )
    return HistoryFile(path)
