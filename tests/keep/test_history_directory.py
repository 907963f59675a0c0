from __future__ import annotations

import gzip
import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.keep.histories import open_history
from pytest_llmperf.keep.history import History
from pytest_llmperf.keep.history_directory import HistoryDirectory
from pytest_llmperf.keep.history_file import HistoryFile
from tests.commanding import ROOT
from tests.keep.histories import BEGIN, TEST, nightly, result, session


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/history" if request.param == "memory" else (tmp_path / "h").as_uri()


@pytest.fixture
def history(url: str) -> HistoryDirectory:
    return HistoryDirectory(url)


def ids(history: History, test: str | None = None, newest: int | None = None) -> list[str]:
    return [one.id for one in history.read(test, newest)]


def test_what_is_added_is_read_back_oldest_first(history: HistoryDirectory) -> None:
    late, early = session(3, result(51.0, 52.0)), session(1, result(50.0), result(1.0, test="o.py::t"))
    assert history.add(late)
    assert history.add(early)
    assert [vars(one) | {"results": tuple(one.results)} for one in history.read()] == [
        vars(early),
        vars(late),
    ]
    assert [(one.test, one.sessions) for one in history.tests()] == [("o.py::t", 1), (TEST, 2)]
    assert [[one.test for one in s.results] for s in history.read("o.py::t")] == [["o.py::t"]]


def test_an_object_is_never_written_again(history: HistoryDirectory) -> None:
    assert history.add(session(1, result(50.0)))
    assert not history.add(session(1, result(99.0)))
    assert history.read()[0].results[0].points != session(1, result(99.0)).results[0].points


def test_the_newest_can_be_asked_for_and_the_oldest_forgotten(history: HistoryDirectory) -> None:
    for one in nightly([50.0] * 5):
        history.add(one)
    assert ids(history, None, 2) == ids(history, TEST, 2) == ["s0003", "s0004"]
    assert ids(history, None, 9) == [f"s000{number}" for number in range(5)]
    assert history.prune(before=BEGIN.replace(day=3)) == 2
    assert history.prune(keep=2) == 1
    assert ids(history) == ["s0003", "s0004"]


def test_where_none_is_it_is_said_how_one_comes_about(history: HistoryDirectory) -> None:
    with pytest.raises(
        StoreError, match=r"there is no history at .*: sessions with --llmperf-history write one"
    ):
        history.read()


def test_nothing_but_whole_objects_is_in_the_directory(tmp_path: Path) -> None:
    HistoryDirectory((tmp_path / "h").as_uri()).add(session(1, result(1.0)))
    (path,) = (tmp_path / "h").iterdir()
    assert path.name == "20260902T020000Z-s0001.json.gz"
    (tmp_path / "h" / "README.txt").write_text("of somebody else")
    assert ids(HistoryDirectory((tmp_path / "h").as_uri())) == ["s0001"]


@pytest.mark.parametrize(
    "content",
    [b"text", gzip.compress(b"{}"), gzip.compress(b'{"llmperf_history": 9}')[:-9]],
    ids=["text", "foreign", "cut short"],
)
def test_a_damaged_object_is_named(tmp_path: Path, content: bytes) -> None:
    history = HistoryDirectory(tmp_path.as_uri())
    history.add(session(1, result(1.0)))
    (tmp_path / "20260101T000000Z-x.json.gz").write_bytes(content)
    with pytest.raises(StoreError, match=r"20260101T000000Z-x\.json\.gz is"):
        history.read()


def test_an_object_of_a_newer_version_is_named(tmp_path: Path) -> None:
    newer = {**session(1, result(1.0)).as_json(), "llmperf_history": 2}
    (tmp_path / "20260101T000000Z-x.json.gz").write_bytes(gzip.compress(json.dumps(newer).encode()))
    with pytest.raises(StoreError, match="has llmperf_history version 2, this release reads version 1"):
        HistoryDirectory(tmp_path.as_uri()).read()


def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file:.*/file/h cannot be reached: "):
        HistoryDirectory((tmp_path / "file" / "h").as_uri()).add(session(1, result(1.0)))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("nowhere://bucket/dir", "nowhere is no storage that fsspec knows; it knows "),
        ("s3://bucket/dir", "s3"),
    ],
)
def test_what_cannot_be_reached_is_said_before_anything_is_measured(
    said: str, told: str, tmp_path: Path
) -> None:
    with pytest.raises(DeclarationError, match=told):
        open_history(said, tmp_path, tmp_path)


def test_without_fsspec_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DeclarationError, match=r"needs fsspec: pip install 'pytest-llmperf\[history\]'"):
        open_history("s3://bucket/dir", tmp_path, tmp_path)


def test_a_history_is_a_file_a_directory_or_none(tmp_path: Path) -> None:
    assert open_history("none", tmp_path, tmp_path / ".llmperf") is None
    for said, name in ((None, ".llmperf/history.sqlite"), ("h.db", "h.db"), (str(tmp_path / "x"), "x")):
        found = open_history(said, tmp_path, tmp_path / ".llmperf")
        assert isinstance(found, HistoryFile)
        assert found.name == str(tmp_path / name)
    with pytest.raises(DeclarationError, match=f"is a directory: name a file in it, or {tmp_path.as_uri()}"):
        open_history(str(tmp_path), tmp_path, tmp_path)


def test_a_url_is_shown_without_what_is_secret_in_it() -> None:
    assert HistoryDirectory("memory://user:pass@host/dir").name == "memory://…@host/dir"


@pytest.mark.parametrize("scheme", ["nowhere", "s3", "http"])
def test_nor_where_it_is_refused(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")

    def refuse(url: str) -> object:
        kind = {"nowhere": ValueError, "s3": ImportError, "http": RuntimeError}[scheme]
        raise kind("Install s3fs" if scheme == "s3" else f"cannot read {url}")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(DeclarationError) as refused:
        HistoryDirectory(f"{scheme}://user:secret@host/dir")
    assert f"{scheme}://…@host/dir: " in str(refused.value)
    assert "secret" not in str(refused.value)


_ADD = """
import sys
from pytest_llmperf.keep.history_directory import HistoryDirectory
from tests.keep.histories import result, session
for number in range(int(sys.argv[2]), int(sys.argv[2]) + 8):
    HistoryDirectory(sys.argv[1]).add(session(number, result(1.0)))
"""


def test_many_processes_add_to_one_directory(tmp_path: Path) -> None:
    url = (tmp_path / "h").as_uri()
    started = [
        subprocess.Popen([sys.executable, "-c", _ADD, url, str(first)], cwd=ROOT) for first in (0, 4, 4)
    ]
    assert [process.wait(timeout=60) for process in started] == [0, 0, 0]
    assert ids(HistoryDirectory(url)) == [f"s{number:04}" for number in range(12)]
    assert len(list((tmp_path / "h").iterdir())) == 12
