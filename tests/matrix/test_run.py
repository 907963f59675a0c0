from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_llmperf.cli import main
from pytest_llmperf.declare.grid import read_grid
from pytest_llmperf.declare.order import Outcome
from pytest_llmperf.matrix.inside import judged
from pytest_llmperf.matrix.process import _environment
from pytest_llmperf.matrix.records import Records
from tests.recorded import entry, record

GRID = """
model = "m"
rates = [1]
workloads = ["64/16", "8/4"]
measure = ["sweep"]
[[engine]]
subject = "command -- sleep {port}"
"""


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMPERF_LEASE_DIR", str(tmp_path / "leases"))
    path = tmp_path / "grid.toml"
    path.write_text(GRID)
    return path


def test_a_list_says_what_there_is_and_measures_nothing(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = read_grid(grid).cells
    Records(Path(".llmperf/matrix").absolute()).write(first, record(), entry("x", []), "grid.toml")
    assert main(["matrix", "grid.toml", "--list"]) == Outcome.DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines[1:3]] == ["pass", "do"]
    assert lines[3] == "2 cells, 1 to measure"
    assert main(["matrix", "grid.toml", "--list", "--only", "8-in"]) == Outcome.DONE
    assert capsys.readouterr().out.splitlines()[-1] == "1 cell, 1 to measure"


def test_what_is_finished_is_told_and_not_measured(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for cell, verdict in zip(read_grid(grid).cells, ("slo broken", "error"), strict=True):
        Records(Path("out").absolute()).write(cell, record(), entry("x", [], verdict=verdict), "grid.toml")
    arguments = ["matrix", "grid.toml", "--out", "out"]
    assert main(arguments) == Outcome.FAILED
    out = capsys.readouterr().out
    assert out.startswith("llmperf: 2 cells, 0 to measure\n")
    assert "llmperf: 1 failed; --retry-failed measures them again\n" in out
    assert main([*arguments, "--only", "64-in"]) == Outcome.DONE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "llmperf: none.toml cannot be read: No such file or directory\n"),
        (["grid.toml", "--only", "x y"], "llmperf: --only x y: in the name of no cell; see --list\n"),
        (["grid.toml", "--out", "grid.toml"], "llmperf: "),
    ],
)
def test_a_mistake_is_one_line(
    grid: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["matrix", *arguments]) == Outcome.USAGE
    (line,) = capsys.readouterr().err.splitlines(keepends=True)
    assert line.startswith(message)


def test_a_damaged_record_stops_the_command_and_stays(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Records(Path(".llmperf/matrix")).path(read_grid(grid).cells[0])
    path.parent.mkdir(parents=True)
    path.write_text("{")
    assert main(["matrix", "grid.toml"]) == Outcome.USAGE
    assert f"{path} is damaged" in capsys.readouterr().err
    assert path.read_text() == "{"


def test_variables_that_would_change_what_is_declared_do_not_reach_a_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "LLMPERF_RATES",
        "LLMPERF_SLO",
        "PYTEST_ADDOPTS",
        "LLMPERF_GPUS",
        "LLMPERF_API_KEY",
        "OTHER",
    ):
        monkeypatch.setenv(name, "1")
    kept = _environment()
    assert {"LLMPERF_GPUS", "LLMPERF_API_KEY", "OTHER"} <= set(kept)
    assert not {"LLMPERF_RATES", "LLMPERF_SLO", "PYTEST_ADDOPTS"} & set(kept)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def test_a_session_that_is_killed_is_a_failure_of_its_cells(grid: Path) -> None:
    command = [sys.executable, "-m", "pytest_llmperf.cli", "matrix", "grid.toml", "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not list(grid.parent.glob(".llmperf/logs/*.log")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            (session,) = children(process.pid)
            os.kill(session, signal.SIGKILL)
            out, _ = process.communicate(timeout=60)
        finally:
            process.terminate()
    assert process.returncode == Outcome.FAILED
    assert out.count("the test session was ended by signal 9 before this cell was measured") == 2


def test_what_the_body_of_a_cell_raises_is_its_error() -> None:
    crash = SimpleNamespace(reprcrash=SimpleNamespace(message="DeclarationError: no"))
    report: Any = SimpleNamespace(failed=True, longrepr=crash)
    told = judged(entry("x", [], verdict="not judged"), report)
    assert (told["verdict"], told["error"]) == ("error", "DeclarationError: no")
    missed = entry("x", [], verdict="slo broken")
    assert judged(missed, report) is missed
