"""The model file that the project writes itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pytest_llmperf.engines.tiny_gguf import TinyModel
from pytest_llmperf.engines.words import WORDS


def test_the_same_shape_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    one = TinyModel(layers=1).write(tmp_path / "a").read_bytes()
    other = TinyModel(layers=1).write(tmp_path / "b").read_bytes()
    assert one == other
    assert one.startswith(b"GGUF")
    assert TinyModel(layers=1, seed=1).write(tmp_path / "c").read_bytes() != one


def test_every_field_changes_the_name() -> None:
    base = TinyModel()
    names = {TinyModel(**{**vars(base), field: value + 1}).name for field, value in vars(base).items()}
    assert len(names | {base.name}) == len(vars(base)) + 1


def test_it_is_written_once_and_whole_whoever_else_writes(tmp_path: Path) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(TinyModel().write(tmp_path))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 1
    assert list(tmp_path.iterdir()) == [paths[0]]
    stamp = paths[0].stat().st_mtime_ns
    TinyModel().write(tmp_path)
    assert paths[0].stat().st_mtime_ns == stamp


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: str, target: str) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        TinyModel(layers=1).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_words_are_distinct_and_plain() -> None:
    assert len(set(WORDS)) == len(WORDS) > 300
    assert all(word.isascii() and word.islower() and word.isalpha() for word in WORDS)
