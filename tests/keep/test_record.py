from __future__ import annotations

import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep import record
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import IGNORED, KIND, VERSION, Store, session_record

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


def a_record() -> dict[str, object]:
    return session_record([{"test": "t"}], [{"launch": 0}], STARTED, "complete")


def test_a_record_says_what_it_is_and_when_it_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "now", lambda: datetime(2026, 1, 2, 3, 5, tzinfo=UTC))
    assert a_record() == {
        "llmperf_record": 1,
        "started": "2026-01-02T03:04:05+00:00",
        "ended": "2026-01-02T03:05:00+00:00",
        "status": "complete",
        "launches": [{"launch": 0}],
        "tests": [{"test": "t"}],
    }


def test_a_record_is_written_under_runs_by_its_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "now", lambda: STARTED)
    path, failure = store.write_record(a_record())
    assert failure is None
    assert path.parent == store.directory / "runs"
    assert re.fullmatch(r"20260102T030405Z-[0-9a-f]{6}\.json", path.name)
    assert read_json(path, KIND, VERSION) == a_record()


def test_records_of_one_second_do_not_overwrite_each_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "now", lambda: STARTED)
    assert len({store.write_record(a_record())[0] for _ in range(20)}) == 20


@pytest.mark.parametrize("blocked", [".", "runs"])
def test_a_record_that_cannot_be_kept_is_kept_in_a_temporary_directory_with_the_reason(
    blocked: str, store: Store, tmp_path: Path
) -> None:
    block(store.directory / blocked)
    path, failure = store.write_record(a_record())
    assert isinstance(failure, StoreError)
    assert str(failure).startswith(str(store.directory / "runs"))
    assert path.is_relative_to(tmp_path / "temporary")
    assert read_json(path, KIND, VERSION)["tests"] == [{"test": "t"}]


def test_a_record_that_can_be_kept_nowhere_is_an_error(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(store.directory)
    monkeypatch.setattr(tempfile, "tempdir", str(store.directory))
    with pytest.raises(StoreError, match="no directory can be written to"):
        store.write_record(a_record())


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
    assert [line for line in lines if not line.startswith("#")] == ["runs/", "logs/"]


def test_git_is_told_by_a_record_too(store: Store) -> None:
    store.write_record(a_record())
    assert (store.directory / ".gitignore").read_text() == IGNORED


def test_what_git_ignores_is_a_persons_to_change(store: Store) -> None:
    store.directory.mkdir(parents=True)
    (store.directory / ".gitignore").write_text("*\n")
    store.logs()
    store.write_record(a_record())
    assert (store.directory / ".gitignore").read_text() == "*\n"


def test_a_record_is_not_lost_over_a_gitignore_that_cannot_be_written(store: Store) -> None:
    store.directory.mkdir(parents=True)
    (store.directory / ".gitignore").symlink_to(store.directory / "no" / "such" / "directory")
    path, failure = store.write_record(a_record())
    assert failure is None
    assert path.exists()
