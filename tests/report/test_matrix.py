from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.grid import Cell, read_grid
from pytest_llmperf.report.matrix import cell_line, matrix_table
from tests.recorded import entry, point, record, run

GRID = """
slo = "ttft_ms=300"
workloads = ["1024/128"]
[[engine]]
subject = "vllm"
versions = ["1", "2", "3", "4", "5"]
"""


@pytest.fixture
def cells(tmp_path: Path) -> tuple[Cell, ...]:
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return read_grid(path).cells


def measured(*ttft_ms: float, verdict: str = "pass", error: str | None = None) -> dict[str, object]:
    points = [
        point(
            2.0**i,
            [
                run(
                    1,
                    {
                        "ttft_p95_ms": ttft,
                        "ttft_p50_ms": ttft / 2,
                        "tpot_p50_ms": 7.0,
                        "output_tokens_per_s": 100.0 * 2**i,
                    },
                )
            ],
        )
        for i, ttft in enumerate(ttft_ms)
    ]
    return record(entry("vllm", points, verdict=verdict, error=error))


def test_every_cell_has_a_line_and_a_failure_says_why(cells: tuple[Cell, ...]) -> None:
    lines = matrix_table(
        [
            (cells[0], measured(150, 600, verdict="slo broken")),
            (cells[1], measured(60, 80)),
            (cells[2], measured(400, 900, verdict="slo broken")),
            (cells[3], measured(verdict="error", error="out of memory\nadvice: less\nlog: x")),
            (cells[4], None),
        ]
    )
    assert lines == [
        "subject  workload           verdict     capacity  TTFT p50  TPOT p50  tok/s",
        "vllm==1  1024 in / 128 out  slo broken    1.41/s        75         7    200",
        "vllm==2  1024 in / 128 out  pass           ≥ 2/s        30         7    200",
        "vllm==3  1024 in / 128 out  slo broken      none       200         7    200",
        "vllm==4  1024 in / 128 out  error",
        "    out of memory",
        "    advice: less",
        "vllm==5  1024 in / 128 out  to do",
    ]


def test_a_cell_whose_engine_was_saturated_has_a_capacity_and_latencies_of_what_it_kept_up_with(
    cells: tuple[Cell, ...],
) -> None:
    beyond = {"rate": 0.5, "requests": 90, "values": {"ttft_p50_ms": 999.0}, "gave_up": True}
    swept = {
        "workload": "1024 in / 128 out",
        "side": "candidate",
        "saturated": [{**beyond, "rate": 2.2}, beyond],
    }
    content = measured(60, 80)
    content["tests"][0]["sweeps"] = [{**swept, "saturated": swept["saturated"][:1]}]  # type: ignore[index]
    (kept,) = matrix_table([(cells[0], content)])[1:]
    assert kept.split()[-4:] == ["2.06/s", "30", "7", "200"]
    content["tests"][0]["sweeps"] = [swept]  # type: ignore[index]
    (below,) = matrix_table([(cells[0], content)])[1:]
    assert below.split()[-3:] == ["30", "7", "200"]


def test_one_cell_is_told_in_one_line(cells: tuple[Cell, ...]) -> None:
    told = cell_line(cells[0], measured(150, 600, verdict="not judged"))
    assert told == (
        "vllm==1, 1024 in / 128 out: measured, capacity 1.41/s, TTFT p50 75, TPOT p50 7, tok/s 200"
    )


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_a_narrow_terminal_has_shorter_names_then_fewer_columns(cells: tuple[Cell, ...], width: int) -> None:
    kept = [
        (cells[0], measured(150, 600)),
        (cells[1], measured(error=f"out of memory {'x' * 90}")),
        (cells[2], None),
    ]
    lines = matrix_table(kept, width)
    assert all(len(line) <= width for line in lines)
    assert lines[0].split("  ")[0] == "subject"
    assert ("tok/s" in lines[0]) is (width == 80)
    assert "out of" in lines[3]
