"""The record of a cell: that of a session, with one test and what was declared of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.grid import Cell
from pytest_llmperf.errors import StoreError
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.files import kept_for_one, read_json, write_json
from pytest_llmperf.keep.record import KIND, VERSION

_FAILED = (Verdict.ERROR, Verdict.INVALID)


@dataclass(frozen=True)
class Records:
    """What a matrix has measured until now, in one directory."""

    directory: Path

    def path(self, cell: Cell) -> Path:
        return self.directory / "cells" / f"{cell.id}.json"

    def read(self, cell: Cell) -> dict[str, Any] | None:
        """The record of a cell that is finished, be it as a failure; else None.

        Raises :class:`StoreError` for one that is damaged or foreign, which is never overwritten.
        """
        path = self.path(cell)
        if not path.exists():
            return None
        content = read_json(path, KIND, VERSION)
        try:
            is_of_this_cell = content["matrix"]["declared"] == cell.declared
            is_finished = is_of_this_cell and content["status"] == "complete" and len(content["tests"]) == 1
        except (KeyError, TypeError):
            raise StoreError(f"{path} is not the record of a cell: move it away") from None
        return content if is_finished else None

    def write(self, cell: Cell, session: Mapping[str, Any], entry: Mapping[str, Any], grid: str) -> None:
        """Keep a finished cell: ``session`` is the record of the session that measured it, ``entry`` that of
        its test, ``grid`` the file of its matrix. Raises :class:`StoreError`."""
        content = {
            **session,
            "status": "complete",
            "tests": [{**entry, "command": again(grid, cell)}],
            "matrix": {"cell": cell.id, "declared": cell.declared},
        }
        write_json(self.path(cell), content)

    def kept_for_one(self) -> contextlib.AbstractContextManager[None]:
        """No other matrix writes here meanwhile. Raises :class:`StoreError` if one does, or nobody can."""
        return kept_for_one(self.directory, "another matrix", "give another --out")


def again(grid: str, cell: Cell) -> list[str]:
    """The command that measures a cell by itself, once its record is gone or it has failed."""
    return ["llmperf", "matrix", grid, "--only", cell.id]


def is_failure(record: Mapping[str, Any]) -> bool:
    """Whether a finished cell says nothing about the engine's speed."""
    return record["tests"][0]["verdict"] in _FAILED
