from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git import Git
from tests.package_index import ServedIndex, served_index


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    return Git(tmp_path / "check out")


@pytest.fixture
def served() -> Iterator[ServedIndex]:
    with served_index() as server:
        yield server
