"""What a person sees while it runs."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from tests.acceptance.conftest import CHAT, Project


def on_a_terminal(project: Project, *args: str) -> str:
    """Run pytest on a pseudo-terminal and return all that it wrote there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=project.path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "70"},
    )
    os.close(theirs)
    written = b""
    with os.fdopen(ours, "rb", buffering=0) as screen:
        while True:
            try:
                piece = screen.read(65536)
            except OSError:  # how Linux says that the other end is closed
                break
            if not piece:
                break
            written += piece
    assert process.wait(60) == 0
    return written.decode()


def shown(written: str) -> list[str]:
    """The lines as they stand in the end, after all that was written over."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        cells: list[str] = []
        for piece in line.split("\r"):
            cells[: len(piece)] = piece
        lines.append("".join(cells).rstrip())
    return lines


@pytest.mark.beside_others
def test_progress_is_written_in_place_and_gives_the_line_back(project: Project) -> None:
    project.write(test_it=CHAT + "\ndef test_plain():\n    pass\n")
    written = on_a_terminal(project, "--llmperf", "--color=no")
    lines = shown(written)
    assert "\r  starting llamacpp" in written
    assert "\r  test_chat: measuring at 4/s" in written
    assert not any("measuring" in line or "stopping" in line for line in lines)
    assert [line for line in lines if line.startswith("test_it.py .")] == [f"{'test_it.py ..':<63}[100%]"]


@pytest.mark.beside_others
@pytest.mark.parametrize("options", [("-qq",), ("-q", "--no-header", "--no-summary")])
def test_quiet_runs_have_no_progress(project: Project, options: tuple[str, ...]) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", *options)
    assert project.records()[0]["status"] == "complete"
    result.stdout.no_fnmatch_line("*measuring*")


@pytest.mark.beside_others
def test_it_runs_without_a_terminal_reporter(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "-p", "no:terminal")
    assert result.ret == 0
    assert project.records()[0]["tests"][0]["verdict"] == "pass"
