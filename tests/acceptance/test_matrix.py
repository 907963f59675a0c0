"""A matrix of real engines: measured, interrupted, taken up again, and what is advised from it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Project
from tests.leftovers import gone
from tests.schemas import checked

SLOTS = """
slo = "ttft_p50_ms=150"
duration = 1
measure = ["sweep"]
concurrency = [1, 8]
workloads = ["32/128"]
[[engine]]
subject = "llamacpp"
flags = ["--parallel 1", "--parallel 8"]
[[engine]]
subject = "llamacpp --nonsense 1"
"""
ROW = """
duration = 2
measure = ["sweep"]
concurrency = [1]
workloads = ["16/4", "16/5", "16/6"]
[[engine]]
subject = "llamacpp"
"""


def llmperf(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest_llmperf.cli", *arguments],
        cwd=project.path,
        capture_output=True,
        text=True,
        timeout=120,
    )


def cells(project: Project) -> dict[str, dict[str, Any]]:
    paths = sorted(project.path.glob(".llmperf/matrix/cells/*.json"))
    return {path.name: checked(json.loads(path.read_text())) for path in paths}


def test_more_slots_carry_more_and_that_is_what_is_advised(project: Project) -> None:
    (project.path / "grid.toml").write_text(SLOTS)
    for _ in range(3):  # a busy machine may be late for the load
        ran = llmperf(project, "matrix", "grid.toml", "--quiet", "--retry-failed")
        assert ran.returncode == 1, ran.stderr
        if "invalid" not in {record["tests"][0]["verdict"] for record in cells(project).values()}:
            break
    table = [line.split("  ")[0] for line in ran.stdout.splitlines() if line.startswith("llamacpp")]
    assert table == ["llamacpp --parallel 1", "llamacpp --parallel 8", "llamacpp --nonsense 1"]
    assert "    llamacpp --nonsense 1: it does not know the flag --nonsense" in ran.stdout
    assert {record["status"] for record in cells(project).values()} == {"complete"}
    again = llmperf(project, "matrix", "grid.toml", "--quiet")
    assert again.stdout.startswith("llmperf: 3 cells, 0 to measure\n")

    advised = llmperf(
        project, "advise", "--slo", "ttft_p50_ms=150", "--load", "1000", "--json", "advice.json"
    )
    assert advised.returncode == 0, advised.stderr
    assert "\n  throughput\n    best   " in advised.stdout
    assert (
        "pytest --llmperf --llmperf-engine 'llamacpp --parallel 8' --llmperf-slo ttft_p50_ms=150"
        in advised.stdout
    )
    assert "--host 0.0.0.0 --port 8000 --parallel 8\n" in advised.stdout
    (answer,) = json.loads((project.path / "advice.json").read_text())["answers"]
    best, other = answer["rankings"]["throughput"]
    assert best["configuration"].startswith("llamacpp --parallel 8")
    assert not other["is_tie"]
    # The record of the session and those of the cells are of the same launches.
    assert [found["launches"] for found in answer["capacities"].values()] == [1, 1]


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(project: Project) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest_llmperf.cli", "matrix", "grid.toml", "--quiet"]
    return subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contents(project: Project) -> dict[str, bytes]:
    paths = sorted(Path(project.path).glob(".llmperf/matrix/cells/*.json"))
    return {path.name: path.read_bytes() for path in paths}


def test_whatever_ends_it_what_is_measured_is_kept_and_the_rest_is_measured(project: Project) -> None:
    (project.path / "grid.toml").write_text(ROW)
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        kept = contents(project)
        process = start(project)
        wait_for(lambda kept=kept: len(contents(project)) > len(kept))  # type: ignore[misc]
        process.send_signal(number)
        assert process.wait(120) == code
        assert gone(project.mark)
        found = contents(project)
        assert len(found) > len(kept)
        assert {name: found[name] for name in kept} == kept
    kept = contents(project)
    ended = llmperf(project, "matrix", "grid.toml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith(f"llmperf: 3 cells, {3 - len(kept)} to measure\n")
    found = contents(project)
    assert {name: found[name] for name in kept} == kept
    verdicts = {record["tests"][0]["verdict"] for record in cells(project).values()}
    assert len(found) == 3
    # One for all cells that were missing; on a machine that stalls, none is.
    assert project.starts() == 2 + (len(kept) < 3)
    assert verdicts <= {"not judged", "pass"}
