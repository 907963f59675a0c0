"""Outputs by ``llmperf report``: to a file, to the standard output, and of records that it cannot read."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.errors import StoreError
from pytest_llmperf.outputs import write_output
from pytest_llmperf.report.markdown import markdown
from tests.report.records import judged, record

RECORD = record(judged("regressed", 1.2))


@pytest.fixture
def kept(tmp_path: Path) -> str:
    (path := tmp_path / "record.json").write_text(json.dumps(RECORD))
    return str(path)


def test_markdown_goes_to_a_file_or_to_the_standard_output(
    kept: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", kept, "--markdown", str(tmp_path / "c.md")]) == 0
    assert (tmp_path / "c.md").read_text() == markdown([RECORD])
    capsys.readouterr()
    assert main(["report", kept, "--markdown", "-"]) == 0
    assert capsys.readouterr().out == markdown([RECORD])


def test_what_is_no_text_does_not_go_there(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", kept, "--json", "-"]) == 2
    assert "name a file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--html", "record.json"], "--html: record.json is the record record.json"),
        (["--html", "x", "--markdown", "./x"], "--markdown: x is what --html writes"),
    ],
)
def test_no_output_takes_the_place_of_a_record_or_of_another(
    typed: list[str],
    said: str,
    kept: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["report", "./record.json", *typed])
    assert said in capsys.readouterr().err
    assert json.loads(Path(kept).read_text()) == RECORD
    assert not Path("x").exists()


@pytest.mark.parametrize("path", ["-", "c.md"])
def test_a_record_that_lacks_what_this_release_reads_is_told(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = judged("regressed", 1.2)
    del entry["points"][0]["changes"][0]["estimate"]
    Path("old.json").write_text(json.dumps(record(entry)))
    assert main(["report", "old.json", "--markdown", path]) == 2
    said = capsys.readouterr().err
    assert "KeyError: 'estimate'" in said
    assert "another release wrote it; if it was this one, that is a mistake of ours" in said
    assert not Path("c.md").exists()


def holes(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a record can have lost something, or have something else; once for each name."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    )
    for name, one in items:
        yield (*at, name)
        yield from holes(one, (*at, name))


@pytest.mark.parametrize("instead", [None, 7, "text"])
@pytest.mark.parametrize(("kind", "every"), [("html", 9), ("markdown", 2), ("benchmark-json", 1)])
def test_whatever_is_wrong_with_a_record_is_told_and_ends_nothing(
    kind: str, every: int, instead: Any, tmp_path: Path
) -> None:
    said = []
    for place in list(holes(RECORD))[::every]:
        broken = copy.deepcopy(RECORD)
        inside: Any = broken
        for name in place[:-1]:
            inside = inside[name]
        inside[place[-1]] = instead
        try:
            write_output(kind, tmp_path / "out", [broken])
        except StoreError as error:
            said.append(str(error))
    assert said
    assert [one for one in said if "a mistake of ours" not in one] == []
