"""The test that a matrix runs, once for each cell; given to pytest by :mod:`pytest_llmperf.matrix.run`."""

from __future__ import annotations

from typing import Any

from pytest_llmperf.declare.grid import Cell


def test_cell(llmperf: Any, cell: Cell) -> None:
    for kind in cell.measure:
        if kind == "sweep":
            llmperf(cell.workload)
        elif kind == "capacity":
            llmperf.capacity(cell.workload)
        else:
            llmperf.batch(cell.workload, requests=cell.batch_requests)
