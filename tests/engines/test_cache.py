"""The cache directory and what stands in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.engines.cache import cache_directory, is_kept


def test_it_is_where_caches_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_directory("models") == tmp_path / "llmperf" / "models"
    assert is_kept(cache_directory("models"))
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_directory("models") == tmp_path / "home" / ".cache" / "llmperf" / "models"


def test_without_one_there_is_a_temporary_one_for_each_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = cache_directory("one"), cache_directory("two"), cache_directory("one")
    assert found[0] == found[2] != found[1]
    assert all(path.is_dir() and not is_kept(path) for path in found)
