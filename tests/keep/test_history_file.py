from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep import history_file
from pytest_llmperf.keep.history_file import OURS, HistoryFile
from tests.commanding import ROOT
from tests.keep.histories import BEGIN, HERE, POINT, TEST, TTFT, VLLM, nightly, result, session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".llmperf" / "history.sqlite"


@pytest.fixture
def history(path: Path) -> HistoryFile:
    return HistoryFile(path)


def filled(history: HistoryFile, count: int = 4) -> HistoryFile:
    for one in nightly([50.0 + number for number in range(count)]):
        assert history.add(one)
    return history


def ids(history: HistoryFile, *asked: int) -> list[str]:
    return [one.id for one in history.read(None, *asked)]


def test_what_is_added_is_read_back_oldest_first(history: HistoryFile) -> None:
    base = result(40.0, 41.0, side="base", subject={"engine": "vllm", "version": "0.20"})
    late = session(3, result(51.0, 52.0), base)
    early = session(1, result(50.0), result(1.0, test="other.py::t"))
    assert history.add(late)
    assert history.add(early)
    assert history.read() == [
        session(1, *early.results, results=list(early.results)),
        session(3, *late.results, results=list(late.results)),
    ]


def test_of_one_test_there_are_its_results_alone(history: HistoryFile) -> None:
    history.add(session(1, result(50.0), result(1.0, test="other.py::t")))
    history.add(session(2, result(2.0, test="other.py::t")))
    assert [[one.test for one in s.results] for s in history.read(TEST)] == [[TEST]]
    assert [(one.test, one.sessions) for one in history.tests()] == [("other.py::t", 2), (TEST, 1)]


def test_a_session_that_is_there_already_changes_nothing(history: HistoryFile, path: Path) -> None:
    assert history.add(session(1, result(50.0)))
    before = path.read_bytes()
    assert not history.add(session(1, result(99.0)))
    assert path.read_bytes() == before


def test_the_newest_can_be_asked_for(history: HistoryFile) -> None:
    filled(history)
    assert ids(history, 2) == ["s0002", "s0003"]


def test_values_that_cannot_be_text_of_a_database_are_kept_escaped(history: HistoryFile) -> None:
    odd = "\udcff'\"; DROP TABLE sessions; --<script>\n\x1b[31m‮"
    history.add(session(1, result(1.0, test=odd, point=odd, environment={odd: odd}), record=odd))
    (kept,) = history.read()
    assert kept.record == odd.replace("\udcff", "\\udcff")
    assert kept.results[0].environment == {odd: odd}


def test_pruning_forgets_the_old_and_gives_the_room_back(history: HistoryFile, path: Path) -> None:
    for one in nightly([50.0] * 60):
        history.add(
            session(0, *[result(1.0, point=f"{i}/s") for i in range(20)], id=one.id, started=one.started)
        )
    size = path.stat().st_size
    assert history.prune(keep=2) == 58
    assert path.stat().st_size < size / 4
    assert ids(history) == ["s0058", "s0059"]
    assert history.prune(before=BEGIN.replace(year=2027)) == 2
    assert history.read() == []
    with sqlite3.connect(path) as database:
        counts = [
            database.execute(f"SELECT COUNT(*) FROM {t}").fetchone()
            for t in ("results", "measured", "fields")
        ]
    assert counts == [(0,), (0,), (0,)]


def test_pruning_by_both_keeps_what_both_keep(history: HistoryFile) -> None:
    filled(history, 6)
    started = history.read()[1].started
    assert history.prune(before=started, keep=4) == 2
    assert ids(history) == ["s0002", "s0003", "s0004", "s0005"]


def test_a_view_has_one_row_for_each_metric(history: HistoryFile, path: Path) -> None:
    history.add(session(1, result(50.0, 51.0)))
    with sqlite3.connect(path) as database:
        database.row_factory = sqlite3.Row
        (row,) = database.execute("SELECT * FROM history").fetchall()
    assert (row["test"], row["point"], row["metric"], row["commit"]) == (TEST, POINT, TTFT, "c" * 40)
    assert json.loads(row["values"]) == [50.0, 51.0]
    assert (json.loads(row["subject"]), json.loads(row["environment_fields"])) == (VLLM, HERE)


# -- what cannot be read or written -------------------------------------------------------------------


def both_fail(history: HistoryFile) -> list[str]:
    """What reading and adding say; neither harms the file."""
    said = []
    for ask in (history.read, lambda: history.add(session(1, result(1.0)))):
        with pytest.raises(StoreError) as caught:
            ask()
        said.append(str(caught.value))
        assert "\n" not in said[-1]
    return said


def test_where_none_is_it_is_said_how_one_comes_about(history: HistoryFile, path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no history at .*: sessions with --llmperf write one"):
        history.read()
    assert not path.exists()


def test_a_newer_version_is_named_and_left_alone(history: HistoryFile, path: Path) -> None:
    filled(history)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    before = path.read_bytes()
    for said in both_fail(history):
        assert (
            "is a history of version 7, this release reads version 1: use the release that wrote it" in said
        )
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"a file of text, longer than the head of a database" * 90, b"x" * 5000])
def test_what_is_no_database_is_left_alone(history: HistoryFile, path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for said in both_fail(history):
        assert f"{path}: not an SQLite file; it will not be overwritten" in said
    assert path.read_bytes() == content


def test_the_database_of_something_else_is_left_alone(history: HistoryFile, path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE cookies (value TEXT)")
    before = path.read_bytes()
    for said in both_fail(history):
        assert "is a database of something else; it will not be written to" in said
    assert path.read_bytes() == before


def test_a_damaged_file_says_how_to_make_another(history: HistoryFile, path: Path) -> None:
    filled(history, 40)
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    for said in both_fail(history):
        assert str(path) in said
        assert "damaged" in said
        assert "llmperf history add .llmperf/runs/*.json makes another" in said


def test_damaged_content_is_an_error_too(history: HistoryFile, path: Path) -> None:
    filled(history)
    with sqlite3.connect(path) as database:
        database.execute("UPDATE measured SET \"values\" = '[1e999]'")
    with pytest.raises(StoreError, match="is damaged: ValueError"):
        history.read()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written: "):
        HistoryFile(tmp_path / "file" / "history.sqlite").add(session(1, result(1.0)))


def test_what_is_locked_for_long_is_an_error(
    history: HistoryFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(history)
    monkeypatch.setattr(history_file, "PATIENCE_S", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"another process has been writing to it for 0\.1 s"):
        history.add(session(9, result(1.0)))
    holder.close()
    assert history.add(session(9, result(1.0)))


_ADD = """
import signal, sys
from pathlib import Path
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.history_file import HistoryFile
from tests.keep.histories import result, session
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
history, first, count = HistoryFile(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
try:
    for number in range(first, first + count):
        history.add(session(number, *[result(1.0, 2.0, point=f"{i}/s") for i in range(30)]))
        print(number, flush=True)
except StoreError as error:
    print(f"StoreError: {error}", flush=True)
"""


def adding(path: Path, first: int, count: int, limit: int | None = None) -> subprocess.Popen[str]:
    """A process of its own that adds sessions; ``limit`` is what it may write to a file, in bytes."""
    return subprocess.Popen(
        [sys.executable, "-c", _ADD, str(path), str(first), str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=None if limit is None else _limiting(limit),
    )


def _limiting(limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_many_processes_add_to_one_file_that_is_not_there_yet(path: Path) -> None:
    started = [adding(path, 100 * number, 5) for number in range(4)]
    for process in started:
        out, _ = process.communicate(timeout=60)
        assert "StoreError" not in out
    assert len(HistoryFile(path).read()) == 20


def test_whoever_is_killed_while_it_adds_leaves_whole_sessions(path: Path) -> None:
    process = adding(path, 0, 10_000)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    added = len(process.communicate(timeout=10)[0].split()) + 1
    kept = HistoryFile(path).read()
    assert added <= len(kept) <= added + 1
    assert {len(one.results) for one in kept} == {30}
    assert HistoryFile(path).add(session(99_999, result(1.0)))


def test_a_full_disk_is_an_error_and_loses_nothing(path: Path) -> None:
    out, _ = adding(path, 0, 200, limit=200_000).communicate(timeout=60)
    *added, said = out.splitlines()
    assert said.startswith(f"StoreError: {path}: ")
    assert len(added) > 3
    assert len(HistoryFile(path).read()) == len(added)


def test_an_unfinished_file_is_no_history_and_becomes_one(history: HistoryFile, path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(StoreError, match="is empty, as a full disk leaves it: the next session fills it"):
        history.read()
    assert history.add(session(1, result(1.0)))
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA application_id").fetchone() == (OURS,)
