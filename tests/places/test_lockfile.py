"""Lock files."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.lockfile import LockFile


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "engine-1.0-cp311-linux_x86_64.txt"
    written = LockFile.write(path, "engine==1.0", ["b==2", "a==1"])
    assert LockFile.read(path) == written
    assert written.lines == ("a==1", "b==2")
    assert "Commit this file" in path.read_text()
    assert "# environments/engine-1.0-cp311-linux_x86_64-* in the cache" in path.read_text()
    assert list(path.parent.iterdir()) == [path]


def test_its_identity_is_what_it_says_and_not_how(tmp_path: Path) -> None:
    identities = []
    for text in ("a==1\nb==2\n", "# word\n\nb==2  # why\na==1", "a==1\nb==3\n", "--pre\na==1\nb==2\n"):
        (tmp_path / "lock.txt").write_text(text)
        lock = LockFile.read(tmp_path / "lock.txt")
        assert lock is not None
        identities.append(lock.identity)
    assert identities[0] == identities[1]
    assert len(set(identities)) == 3


def test_where_there_is_none_there_is_none(tmp_path: Path) -> None:
    assert LockFile.read(tmp_path / "lock.txt") is None


@pytest.mark.parametrize(
    ("content", "why"), [(b"# nothing\n", "locks no package"), (b"\xff", "cannot be read")]
)
def test_one_that_cannot_be_meant_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_bytes(content)
    with pytest.raises(EngineError, match=why):
        LockFile.read(tmp_path / "lock.txt")


def test_a_directory_that_cannot_be_written_to_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("in the way")
    with pytest.raises(OSError, match="File exists"):
        LockFile.write(tmp_path / "locks" / "lock.txt", "engine==1.0", ["a==1"])
    assert (tmp_path / "locks").read_text() == "in the way"
