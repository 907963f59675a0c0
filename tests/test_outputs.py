"""Outputs by ``llmperf report``: to a file, to the standard output, and of records that it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.cli import main
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


@pytest.mark.parametrize("path", ["-", "c.md"])
def test_a_record_that_lacks_what_this_release_reads_is_told(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    entry = judged("regressed", 1.2)
    del entry["points"][0]["changes"][0]["estimate"]
    Path("old.json").write_text(json.dumps(record(entry)))
    assert main(["report", "old.json", "--markdown", path]) == 2
    assert "no 'estimate': it was written by another release" in capsys.readouterr().err
    assert not Path("c.md").exists()
