"""The test that a matrix runs, once for each cell; given to pytest by :mod:`pytest_llmperf.matrix.run`."""

from __future__ import annotations

import contextlib

import pytest

from pytest_llmperf.declare.grid import Cell
from pytest_llmperf.fixture import Llmperf


def test_cell(llmperf: Llmperf, cell: Cell) -> None:
    for kind in cell.measure:
        if kind == "sweep":
            llmperf(cell.workload)
        elif kind == "capacity":
            # That no rate meets the SLO is recorded, and a result as any other.
            with contextlib.suppress(pytest.fail.Exception):
                llmperf.capacity(cell.workload)
        else:
            llmperf.batch(cell.workload, requests=cell.batch_requests)
