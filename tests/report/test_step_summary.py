from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.report.markdown import markdown
from pytest_llmperf.report.step_summary import FULL, VARIABLE, append_step_summary
from tests.report.records import judged, record

RECORD = record(judged("regressed", 1.2))


def test_it_is_added_to_what_is_there(tmp_path: Path) -> None:
    (path := tmp_path / "summary").write_text("before\n")
    assert append_step_summary([RECORD], {VARIABLE: str(path)}) == []
    assert append_step_summary([RECORD], {VARIABLE: str(path)}) == []
    assert path.read_text() == "before\n" + 2 * f"\n{markdown([RECORD])}\n"


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    append_step_summary([RECORD], {VARIABLE: str(tmp_path / "summary")})
    assert "worse" in (tmp_path / "summary").read_text()


@pytest.mark.parametrize("environment", [{}, {VARIABLE: ""}])
def test_elsewhere_nothing_is_done(environment: dict[str, str]) -> None:
    assert append_step_summary([RECORD], environment) == []


def test_one_that_cannot_be_written_costs_a_note(tmp_path: Path) -> None:
    (note,) = append_step_summary([RECORD], {VARIABLE: str(tmp_path)})
    assert note.startswith(f"{VARIABLE}: ")


@pytest.mark.parametrize("broken", [{}, {**RECORD, "tests": None}, {**RECORD, "tests": [7]}])
def test_a_record_that_somebody_has_damaged_costs_a_note(broken: dict[str, Any], tmp_path: Path) -> None:
    (note,) = append_step_summary([broken], {VARIABLE: str(tmp_path / "summary")})
    assert note.startswith(f"{VARIABLE}: nothing can be made of this record (")
    assert not (tmp_path / "summary").exists()


def test_what_would_be_too_much_for_github_is_not_added(tmp_path: Path) -> None:
    (path := tmp_path / "summary").write_bytes(b"x" * (FULL - 100))
    (note,) = append_step_summary([RECORD], {VARIABLE: str(path)})
    assert "nothing was added" in note
    assert path.stat().st_size == FULL - 100
