from __future__ import annotations

import os
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import IGNORED, KIND, VERSION, RecordFile, Store

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return Store(tmp_path / "project" / ".llmperf")


def block(path: Path) -> None:
    """Make writing below ``path`` impossible, even for the superuser."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("a regular file")


def content(*tests: str) -> dict[str, object]:
    return {KIND: VERSION, "tests": list(tests)}


def everything_below(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


# -- the record --------------------------------------------------------------------------------------


def test_a_record_is_written_under_runs_by_the_time_its_session_started(store: Store) -> None:
    record = RecordFile(store, STARTED)
    record.write(content("t"))
    assert record.failure is None
    assert record.path.parent == store.directory / "runs"
    assert re.fullmatch(r"20260102T030405Z-[0-9a-f]{6}\.json", record.path.name)
    assert read_json(record.path, KIND, VERSION) == content("t")


def test_records_of_one_second_do_not_overwrite_each_other(store: Store) -> None:
    assert len({RecordFile(store, STARTED).path for _ in range(20)}) == 20


def test_a_session_that_never_had_anything_to_write_leaves_nothing(store: Store) -> None:
    RecordFile(store, STARTED)
    assert not store.directory.exists()


def test_a_record_is_written_again_and_again_to_the_same_file(store: Store) -> None:
    record = RecordFile(store, STARTED)
    for number in range(5):
        record.write(content(*(f"t{n}" for n in range(number))))
        assert read_json(record.path, KIND, VERSION)["tests"] == [f"t{n}" for n in range(number)]
    assert everything_below(store.directory) == [".gitignore", f"runs/{record.path.name}"]


def test_a_session_killed_while_it_writes_leaves_the_record_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RecordFile(store, STARTED)
    record.write(content("old"))

    def killed(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        record.write(content("new"))
    assert read_json(record.path, KIND, VERSION) == content("old")
    assert everything_below(store.directory) == [".gitignore", f"runs/{record.path.name}"]


@pytest.mark.parametrize("blocked", [".", "runs"])
def test_a_record_that_cannot_be_kept_is_kept_in_a_temporary_directory_with_the_reason(
    blocked: str, store: Store, tmp_path: Path
) -> None:
    block(store.directory / blocked)
    record = RecordFile(store, STARTED)
    intended = record.path
    record.write(content("t"))
    assert isinstance(record.failure, StoreError)
    assert str(record.failure).startswith(f"{intended} cannot be written: ")
    assert record.path.is_relative_to(tmp_path / "temporary")
    assert record.path.name == intended.name
    assert read_json(record.path, KIND, VERSION) == content("t")


def test_what_comes_later_goes_to_the_same_temporary_file_for_the_same_reason(
    store: Store, tmp_path: Path
) -> None:
    block(store.directory)
    record = RecordFile(store, STARTED)
    record.write(content("first"))
    path, failure = record.path, record.failure
    store.directory.unlink()  # even where the store could be written to by now
    record.write(content("first", "second"))
    assert (record.path, record.failure) == (path, failure)
    assert read_json(path, KIND, VERSION) == content("first", "second")
    assert everything_below(tmp_path / "temporary") == [str(path.relative_to(tmp_path / "temporary"))]


def test_a_store_that_fails_later_takes_the_record_elsewhere_and_leaves_what_it_had(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RecordFile(store, STARTED)
    record.write(content("first"))
    kept = record.path
    replace = os.replace

    def full(source: str, target: Path) -> None:
        if target.is_relative_to(store.directory):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    record.write(content("first", "second"))
    assert str(record.failure) == f"{kept} cannot be written: No space left on device"
    assert record.path.is_relative_to(tmp_path / "temporary")
    assert read_json(record.path, KIND, VERSION) == content("first", "second")
    assert read_json(kept, KIND, VERSION) == content("first")


def test_it_falls_back_once_and_no_further(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(store.directory)
    record = RecordFile(store, STARTED)
    record.write(content("t"))

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StoreError, match="No space left on device"):
        record.write(content("t", "u"))
    assert len(list((tmp_path / "temporary").iterdir())) == 1
    assert read_json(record.path, KIND, VERSION) == content("t")


def test_a_record_that_can_be_kept_nowhere_is_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    block(store.directory)
    monkeypatch.setattr(tempfile, "tempdir", str(store.directory))
    with pytest.raises(StoreError, match="no directory can be written to"):
        RecordFile(store, STARTED).write(content("t"))


def test_a_record_that_is_no_json_is_an_error_and_never_half_written(store: Store, tmp_path: Path) -> None:
    record = RecordFile(store, STARTED)
    with pytest.raises(StoreError, match="its content is not JSON"):
        record.write({**content("t"), "value": float("nan")})
    assert everything_below(tmp_path) == []


# -- logs --------------------------------------------------------------------------------------------


def test_logs_lie_beside_the_records(store: Store) -> None:
    assert store.logs() == store.logs() == store.directory / "logs"
    assert store.logs().is_dir()


@pytest.mark.parametrize("blocked", [".", "logs"])
def test_logs_that_cannot_be_kept_go_to_a_temporary_directory(
    blocked: str, store: Store, tmp_path: Path
) -> None:
    block(store.directory / blocked)
    logs = store.logs()
    assert logs.is_dir()
    assert logs.is_relative_to(tmp_path / "temporary")
    assert not (logs.parent / ".gitignore").exists()


def test_logs_that_can_go_nowhere_are_an_error(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    block(store.directory)
    monkeypatch.setattr(tempfile, "tempdir", str(store.directory))
    with pytest.raises(StoreError, match="no directory can be written to"):
        store.logs()


def test_baselines_have_a_directory_of_their_own(store: Store) -> None:
    assert store.baselines == store.directory / "baselines"


def test_git_is_told_to_ignore_all_but_baselines(store: Store) -> None:
    store.logs()
    lines = (store.directory / ".gitignore").read_text().splitlines()
    ignored = ["runs/", "logs/", "matrix/", "bisect/", "history.sqlite*"]
    assert [line for line in lines if not line.startswith("#")] == ignored


def test_what_an_earlier_release_told_git_is_brought_up_to_date_and_nothing_else_is(store: Store) -> None:
    store.directory.mkdir(parents=True)
    path = store.directory / ".gitignore"
    former = IGNORED.replace("history.sqlite*\n", "")
    for said, kept in (("", IGNORED), (former, IGNORED), ("runs/\n", "runs/\n")):
        path.write_text(said)
        store.ignore_what_is_not_meant_to_be_committed()
        assert path.read_text() == kept


def test_git_is_told_by_whoever_else_keeps_something(store: Store) -> None:
    store.directory.mkdir(parents=True)
    store.ignore_what_is_not_meant_to_be_committed()
    store.ignore_what_is_not_meant_to_be_committed()
    assert (store.directory / ".gitignore").read_text() == IGNORED


def test_git_is_told_by_a_record_too(store: Store) -> None:
    RecordFile(store, STARTED).write(content("t"))
    assert (store.directory / ".gitignore").read_text() == IGNORED


def test_what_git_ignores_is_a_persons_to_change(store: Store) -> None:
    store.directory.mkdir(parents=True)
    (store.directory / ".gitignore").write_text("*\n")
    store.logs()
    RecordFile(store, STARTED).write(content("t"))
    assert (store.directory / ".gitignore").read_text() == "*\n"


def test_a_record_is_not_lost_over_a_gitignore_that_cannot_be_written(store: Store) -> None:
    store.directory.mkdir(parents=True)
    (store.directory / ".gitignore").symlink_to(store.directory / "no" / "such" / "directory")
    record = RecordFile(store, STARTED)
    record.write(content("t"))
    assert record.failure is None
    assert record.path.exists()
