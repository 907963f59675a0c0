from __future__ import annotations

import errno
import json
import multiprocessing
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import check_writable, is_writable, read_json, rounded, write_json

KIND = "llmperf_test"

TEXT = st.one_of(st.text(), st.text('[]{}",: \n0123456789.e-+\\'))
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
CONTENT = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.lists(NUMBERS, max_size=6), st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=20,
)


def written(directory: Path, content: dict[str, Any]) -> Path:
    path = directory / "file.json"
    write_json(path, {KIND: 1, **content})
    return path


def everything_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


# -- what is written can be read ---------------------------------------------------------------------


@given(content=st.dictionaries(TEXT.filter(lambda name: name != KIND), CONTENT, max_size=5))
def test_whatever_json_can_say_survives(
    content: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = written(tmp_path_factory.getbasetemp(), content)
    assert read_json(path, KIND, 1) == {KIND: 1, **content}


def test_what_is_no_utf_8_survives_too(tmp_path: Path) -> None:
    argument = os.fsdecode(b"--name=\xff")
    assert read_json(written(tmp_path, {argument: argument}), KIND, 1)[argument] == argument


def test_a_file_is_indented_with_its_number_arrays_on_one_line(tmp_path: Path) -> None:
    content = {
        "values": [1, 2.5, -3e-7, 1e22],
        "none": [],
        "one": [7],
        "nested": [[1, 2], [3]],
        "row": [1, None, 2.5, 'a [\n 1 ] "row"', None],
        "no row": [None, 1],
        "text": "[\n 1,\n 2\n]",
        "grüße": "ünï",
    }
    assert written(tmp_path, content).read_text(encoding="utf-8") == (
        '{\n "llmperf_test": 1,\n "values": [ 1, 2.5, -3e-07, 1e+22 ],\n "none": [],\n "one": [ 7 ],\n'
        ' "nested": [\n  [ 1, 2 ],\n  [ 3 ]\n ],\n "row": [ 1, null, 2.5, "a [\\n 1 ] \\"row\\"", null ],\n '
        '"no row": [\n  null,\n  1\n ],\n'
        ' "text": "[\\n 1,\\n 2\\n]",\n "grüße": "ünï"\n}\n'
    )


def test_directories_are_made_and_the_file_is_readable_for_others(tmp_path: Path) -> None:
    path = written(tmp_path / "a" / "b", {})
    assert path.stat().st_mode & 0o777 == 0o644
    assert everything_in(path.parent) == ["file.json"]


# -- written whole or not at all ---------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"state": "old"})

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, full)
    with pytest.raises(StoreError) as caught:
        write_json(path, {KIND: 1, "state": "new"})
    assert str(caught.value) == f"{path} cannot be written: No space left on device"
    assert read_json(path, KIND, 1)["state"] == "old"
    assert everything_in(tmp_path) == ["file.json"]


def test_an_interrupted_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, {"state": "old"})

    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {KIND: 1, "state": "new"})
    assert read_json(path, KIND, 1)["state"] == "old"
    assert everything_in(tmp_path) == ["file.json"]


@pytest.mark.parametrize(
    "content", [{"x": float("nan")}, {"x": float("inf")}, {"x": object()}], ids=["nan", "inf", "object"]
)
def test_what_is_no_json_is_refused_before_a_file_is_touched(content: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, {"state": "old"})
    with pytest.raises(StoreError) as caught:
        write_json(path, content)
    assert str(caught.value).startswith(f"{path} cannot be written: its content is not JSON (")
    assert read_json(path, KIND, 1)["state"] == "old"
    assert everything_in(tmp_path) == ["file.json"]


def test_a_file_in_place_of_the_directory_is_an_error_that_names_the_path(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    path = tmp_path / "taken" / "file.json"
    with pytest.raises(StoreError) as caught:
        write_json(path, {})
    assert str(caught.value).startswith(f"{path} cannot be written: ")


def test_a_directory_in_place_of_the_file_is_an_error_that_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file.json").mkdir()
    with pytest.raises(StoreError, match="Is a directory"):
        write_json(tmp_path / "file.json", {})
    assert everything_in(tmp_path) == ["file.json"]


def _write_again_and_again(path: Path, rounds: int) -> None:
    for state in range(rounds):
        write_json(path, {KIND: 1, "state": state, "ballast": [state] * 5000})


def test_a_reader_beside_a_writing_process_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    _write_again_and_again(path, 1)
    writer = multiprocessing.get_context("spawn").Process(target=_write_again_and_again, args=(path, 60))
    writer.start()
    reads, seen = 0, set()
    while writer.is_alive():
        content = read_json(path, KIND, 1)
        assert content["ballast"] == [content["state"]] * 5000
        seen.add(content["state"])
        reads += 1
    writer.join()
    assert writer.exitcode == 0
    assert len(seen) > 1
    assert reads > len(seen)


def test_two_writers_of_one_file_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    writers = [threading.Thread(target=_write_again_and_again, args=(path, 30)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert read_json(path, KIND, 1)["state"] == 29
    assert everything_in(tmp_path) == ["file.json"]


# -- what cannot be read -----------------------------------------------------------------------------

WAY_OUT = "restore it (git checkout -- FILE) or delete it; it will not be overwritten"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is damaged: not JSON ("),
        (b'{"llmperf_test": 1, "values": [1, 2', "is damaged: not JSON ("),
        (b'{"llmperf_test": 1}}', "is damaged: not JSON ("),
        (b"<<<<<<< HEAD\n{}\n", "is damaged: not JSON ("),
        (b'{"llmperf_test": 1, "name": "\xff"}', "is damaged: not JSON ("),
        ('{"llmperf_test": 1}'.encode("utf-16"), "is damaged: not JSON ("),
        (b"\xef\xbb\xbf{}", "is damaged: not JSON ("),
        (b"{}", "is not a file of ours (no 'llmperf_test' in it)"),
        (b'{"llmperf_other": 1}', "is not a file of ours (no 'llmperf_test' in it)"),
        (b'["llmperf_test"]', "is not a file of ours (no 'llmperf_test' in it)"),
        (b'"llmperf_test"', "is not a file of ours (no 'llmperf_test' in it)"),
        (b"[" * 100_000, "is damaged: not JSON ("),
        (b"null", "is not a file of ours (no 'llmperf_test' in it)"),
    ],
)
def test_a_damaged_or_foreign_file_is_named_with_the_way_out(
    content: bytes, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        read_json(path, KIND, 1)
    assert str(caught.value).startswith(f"{path} {why}")
    assert str(caught.value).endswith(f"; {WAY_OUT}")
    assert path.read_bytes() == content


@pytest.mark.parametrize("length", range(1, 60, 7))
def test_a_file_cut_off_anywhere_is_damaged(length: int, tmp_path: Path) -> None:
    path = written(tmp_path, {"values": [1.5, 2.5, 3.5], "name": "x"})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(StoreError, match="is damaged: not JSON"):
        read_json(path, KIND, 1)


@pytest.mark.parametrize("version", [2, "1", None, 1.5])
def test_a_file_of_another_version_is_not_guessed_at(version: object, tmp_path: Path) -> None:
    path = written(tmp_path, {KIND: version})
    with pytest.raises(StoreError) as caught:
        read_json(path, KIND, 1)
    assert str(caught.value) == (
        f"{path} has llmperf_test version {version!r}, this release reads version 1: use the release that "
        "wrote it, or delete it and accept a new one"
    )


def test_a_directory_in_place_of_a_file_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as caught:
        read_json(tmp_path, KIND, 1)
    assert str(caught.value) == f"{tmp_path} cannot be read: Is a directory"


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: No such file or directory"):
        read_json(tmp_path / "none.json", KIND, 1)


# -- the small ones ----------------------------------------------------------------------------------


def test_a_directory_can_be_written_to_if_it_or_its_nearest_parent_can(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert is_writable(tmp_path)
    assert is_writable(tmp_path / "not" / "yet" / "there")
    assert not is_writable(tmp_path / "file")
    assert not is_writable(tmp_path / "file" / "below")


def test_a_read_only_directory_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    assert not is_writable(tmp_path)
    assert not is_writable(tmp_path / "below")


@pytest.mark.parametrize(
    ("value", "kept"),
    [(1234567.89, 1234570), (0.000123456789, 0.000123457), (100.0, 100), (0.0, 0), (-2.5, -2.5)],
)
def test_six_digits_are_kept(value: float, kept: float) -> None:
    assert rounded(value) == kept


@given(value=st.floats(1e-9, 1e12))
def test_rounding_loses_less_than_any_measurement_can_tell(value: float) -> None:
    assert rounded(value) == pytest.approx(value, rel=1e-5)
    assert len(json.dumps(rounded(value))) <= 20 + sys.float_info.dig


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=repr)
def test_what_json_cannot_say_is_refused_and_never_passed_off_as_a_number(
    value: float, tmp_path: Path
) -> None:
    assert rounded(value) == pytest.approx(value, nan_ok=True)
    with pytest.raises(StoreError, match="is not JSON"):
        written(tmp_path, {"value": rounded(value)})


# -- whether a file could be written -----------------------------------------------------------------


def test_what_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, {"state": "old"})
    check_writable(path)
    check_writable(tmp_path / "new" / "file.json")
    assert read_json(path, KIND, 1)["state"] == "old"
    assert everything_in(tmp_path) == ["file.json", "new"]
    assert everything_in(tmp_path / "new") == []


@pytest.mark.parametrize(
    ("path", "why"), [("", "it is not a regular file"), ("file.json/x", "Not a directory|File exists")]
)
def test_what_cannot_be_written_is_known_before(path: str, why: str, tmp_path: Path) -> None:
    written(tmp_path, {})
    with pytest.raises(StoreError, match=f"cannot be written: ({why})$"):
        check_writable(tmp_path / path)
