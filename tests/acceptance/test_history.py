"""The history of real sessions, in a process of its own each."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHAT, Project
from tests.acceptance.test_faults import ENGINE

pytestmark = pytest.mark.beside_others
QUICK = ("--llmperf", "--llmperf-launches=1", "--llmperf-duration=1")


def told(project: Project, *words: str) -> str:
    command = [sys.executable, "-m", "pytest_llmperf.cli", "history", *words]
    return subprocess.run(command, cwd=project.path, capture_output=True, text=True, check=False).stdout


def rows(path: Path) -> list[tuple[str, ...]]:
    with sqlite3.connect(path) as database:
        return database.execute(
            'SELECT DISTINCT session, test, side, subject_text, "commit" FROM history'
        ).fetchall()


def test_sessions_add_to_the_history_and_git_is_told_to_ignore_it(project: Project) -> None:
    project.pytester.makepyfile(test_perf=CHAT)
    project.run(*QUICK, "--llmperf-engine=llamacpp --parallel 2")
    result = project.run(*QUICK, "--llmperf-history=shared/h.sqlite")
    result.stdout.no_fnmatch_line("*not in the history*")
    assert "history.sqlite*" in (project.path / ".llmperf/.gitignore").read_text()
    assert len(list((project.path / ".llmperf/runs").glob("*.json"))) == 2
    own, shared = (rows(project.path / path) for path in (".llmperf/history.sqlite", "shared/h.sqlite"))
    for found in (own, shared):  # none of a session that the machine had no time for
        assert [row[1] for row in found] in ([], ["test_perf.py::test_chat"])
    assert not {row[0] for row in own} & {row[0] for row in shared}
    if own:
        assert own[0][3] == "llamacpp --parallel 2"
        assert " 1  20" in told(project)
        assert "there already" in told(
            project, "add", *map(str, (project.path / ".llmperf/runs").glob("*.json"))
        )


def test_what_cannot_be_added_is_a_note_and_what_can_be_no_history_a_usage_error(project: Project) -> None:
    project.pytester.makepyfile(test_perf=CHAT)
    (project.path / "text.db").write_text("something else, and longer than the head of a database is " * 9)
    result = project.run(*QUICK, "--llmperf-history=text.db")
    result.stdout.fnmatch_lines(
        ["*not in the history: *text.db: not an SQLite file; *llmperf history add *.json*"]
    )
    assert (project.path / "text.db").read_text().startswith("something else")
    refused = project.run(*QUICK, "--llmperf-history=nowhere://x")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["*--llmperf-history: nowhere://x: nowhere is no storage that fsspec knows*"]
    )


def test_a_distributed_session_is_one_entry_and_one_that_only_probed_is_none(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(
        conftest=ENGINE,
        test_plain="def test_plain(): pass\n",
        test_it="""
        from pytest_llmperf import Workload

        W = Workload(input_tokens=8, output_tokens=4)

        def test_one(llmperf):
            llmperf(W, concurrency=1, requests=20)

        def test_two(llmperf):
            llmperf(W, concurrency=1, requests=20)

        def test_probe(llmperf):
            llmperf.probe(W, concurrency=1, requests=4, ttft_ms=60_000)
        """,
    )
    faulty = ("--llmperf", "--llmperf-launches=1", "--llmperf-engine=faulty sound")
    result = project.run(*faulty, "-k", "probe")
    result.stdout.no_fnmatch_line("*not in the history*")
    path = project.path / ".llmperf/history.sqlite"
    assert not path.exists()
    (probed,) = project.records()

    project.run(*faulty, "-n", "2")
    (record,) = [one for one in project.records() if one["id"] != probed["id"]]
    measured = {test["test"] for test in record["tests"] if test["points"] and test["verdict"] != "invalid"}
    if not measured:
        pytest.skip("the machine is too busy to measure anything")
    assert {row[0] for row in rows(path)} == {record["id"]}
    assert {row[1] for row in rows(path)} == measured
    assert not list(path.parent.glob("history.sqlite-*"))
