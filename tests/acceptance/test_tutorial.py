"""The tutorial, read from its page and done as it says."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_llmperf.declare.options import OUTPUTS
from tests.acceptance.conftest import Project

PAGE = (Path(__file__).parents[2] / "docs/tutorial.md").read_text()
BLOCK = re.compile(r"(?:<!-- test: ([^>]*) -->\n)?```(\w+)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"`([\w./-]+)`:\s*$")


@dataclass(frozen=True)
class Step:
    """What a reader does: write ``text`` to ``file``, or type it and see ``shown``."""

    text: str
    file: str | None = None
    code: int = 0
    shown: str = ""


def steps() -> Iterator[Step]:
    blocks = list(BLOCK.finditer(PAGE))
    for block, after in zip(blocks, [*blocks[1:], None], strict=True):
        hint, kind, text = block.groups(default="")
        named = FILE.search(PAGE[: block.start()])
        if kind in ("python", "toml") and named:
            yield Step(text, named[1])
        elif kind == "sh" and hint != "not run":
            code = re.search(r"exit code (\d)", hint)
            is_as_shown = after is not None and after[2] == "text" and "same version" not in hint
            yield Step(text, None, int(code[1]) if code else 0, after[3] if after and is_as_shown else "")


def shape(line: str) -> str:
    """The line without its numbers, marks and spacing."""
    return " ".join(re.sub(r"[~+−-]?\d[\d.]*%?[✓✗▲?]?", "#", line).split())


def done(step: Step, project: Project) -> subprocess.CompletedProcess[str]:
    """Type it, in less time than a reader has: at one rate, for 1.5 s, at most twice a side.

    The test's own limits are met, however slow this machine is.
    """
    installed = importlib.metadata.version("xllamacpp")
    text = re.sub(r"llamacpp==[\d.]+", f"llamacpp=={installed}", step.text)
    if "html" not in OUTPUTS:
        text = re.sub(r" --llmperf-html \S+", "", text)
    is_compared = any(word in text for word in ("update", "against", "--parallel"))
    return subprocess.run(
        ["bash", "-ec", text],
        cwd=project.path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "LLMPERF_RATES": "12",
            "LLMPERF_DURATION": "1.5",
            "LLMPERF_SLO": "ttft_ms=60000 tpot_ms=60000",
            "LLMPERF_LAUNCHES": "3..5" if is_compared else "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )


def is_undecided(step: Step, output: str) -> bool:
    """Whether this machine was too busy to decide; that a version is like itself need not be decided."""
    is_invalid = "\nthe measurement is invalid:" in output
    return is_invalid or (step.code != 0 and "test_chat_stays_interactive  inconclusive" in output)


@pytest.mark.timeout(600)
def test_what_the_tutorial_says_happens(project: Project) -> None:
    commands = [step for step in steps() if step.file is None]
    assert len(commands) == 6
    assert sum(step.code for step in commands) == 2
    undecided = ""
    for step in steps():
        if step.file is not None:
            path = project.path / step.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(step.text)
            continue
        ran = done(step, project)
        if is_undecided(step, ran.stdout) and not undecided:
            ran = done(step, project)  # this moment may have been a busy one
        undecided = ran.stdout if is_undecided(step, ran.stdout) else undecided
        if undecided:  # no baseline, perhaps; what follows is typed all the same
            assert ran.returncode in (0, 1), ran.stdout
            continue
        assert ran.returncode == step.code, ran.stdout
        if step.shown:
            assert shape(step.shown.splitlines()[0]) in map(shape, ran.stdout.splitlines()), ran.stdout
    if "html" in OUTPUTS:
        assert (project.path / "report.html").stat().st_size > 1000
    if undecided:
        pytest.skip(f"this machine is too busy to decide anything:\n{undecided}")
