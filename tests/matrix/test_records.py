from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.grid import Cell, read_grid
from pytest_llmperf.errors import StoreError
from pytest_llmperf.matrix.records import Records, is_failure
from tests.recorded import entry, record, write

GRID = 'workloads = ["64/16"]\nmeasure = ["sweep"]\n[[engine]]\nsubject = "llamacpp"\n'


@pytest.fixture
def cell(tmp_path: Path) -> Cell:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    (found,) = read_grid(path).cells
    return found


def test_what_is_written_is_finished(tmp_path: Path, cell: Cell) -> None:
    records = Records(tmp_path / "out")
    assert records.read(cell) is None
    records.write(cell, record(status="running"), entry("llamacpp", []), "grid.toml")
    kept = records.read(cell)
    assert kept is not None
    assert (kept["status"], kept["matrix"]) == ("complete", {"cell": cell.id, "declared": cell.declared})
    assert kept["tests"][0]["command"] == ["llmperf", "matrix", "grid.toml", "--only", cell.id]
    assert not is_failure(kept)


def test_a_failure_is_a_result(tmp_path: Path, cell: Cell) -> None:
    records = Records(tmp_path)
    for verdict, failed in (("error", True), ("invalid", True), ("slo broken", False), ("pass", False)):
        records.write(cell, record(), entry("llamacpp", [], verdict=verdict), "grid.toml")
        kept = records.read(cell)
        assert kept is not None
        assert is_failure(kept) is failed


def test_what_is_of_another_declaration_or_not_complete_is_not_finished(tmp_path: Path, cell: Cell) -> None:
    records = Records(tmp_path)
    for status, declared in (
        ("running", cell.declared),
        ("complete", {**cell.declared, "measure": ["batch"]}),
    ):
        matrix = {"cell": cell.id, "declared": declared}
        write(records.path(cell), record(entry("llamacpp", []), status=status, matrix=matrix))
        assert records.read(cell) is None


@pytest.mark.parametrize("text", ["{", "{}", '{"llmperf_record": 1, "tests": []}'])
def test_a_file_that_is_no_record_of_a_cell_is_an_error_and_stays(
    tmp_path: Path, cell: Cell, text: str
) -> None:
    records = Records(tmp_path)
    path = records.path(cell)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(StoreError, match=str(path)):
        records.read(cell)
    assert path.read_text() == text


def test_a_directory_is_one_matrix_s_at_a_time(tmp_path: Path) -> None:
    records = Records(tmp_path / "out")
    with (
        records.kept_for_one(),
        pytest.raises(StoreError, match="another matrix writes to "),
        records.kept_for_one(),
    ):
        pass
    with records.kept_for_one():
        pass
