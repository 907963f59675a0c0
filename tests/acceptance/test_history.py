"""The history of real sessions, in a process of its own each."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHAT, Project

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
