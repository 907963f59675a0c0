"""Bisections as a person runs them: the commands, pytest, llama.cpp and git."""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.engines import llamacpp_server
from pytest_llmperf.engines.cache import cache_directory
from pytest_llmperf.engines.tiny_gguf import TinyModel
from tests.acceptance.conftest import Project
from tests.git import Git
from tests.leftovers import gone

# The effects are larger than what a neighbour does, and than what a longer warm-up would.
pytestmark = pytest.mark.beside_others
# Six streams that share one slot wait for each other: for 0.1 s rather than 0.015 s, give or take a machine.
CROWD = """
from pytest_llmperf import Workload, sweep

@sweep(concurrency=[6], requests=18)
def test_crowd(llmperf):
    llmperf(Workload(input_tokens=16, output_tokens=48))
"""
ONE = """
from pytest_llmperf import Workload

def test_one(llmperf):
    llmperf(Workload(input_tokens=8, output_tokens=2), requests=10, concurrency=2)
"""
FOLLOWED = ("--metric", "ttft_p50_ms")
TWICE = "--llmperf-tolerance=90%"
SERVER = Path(__file__).with_name("faulty_engine.py")
LLMPERF = (sys.executable, "-m", "pytest_llmperf.cli")


@pytest.fixture(autouse=True)
def ignored(project: Project) -> None:
    """Sessions that leave nothing for git to find."""
    project.pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    (project.path / ".gitignore").write_text("__pycache__/\n.cache/\n")


def bisect(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LLMPERF, "bisect", *arguments], cwd=project.path, capture_output=True, text=True, timeout=280
    )


def step(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = ("step", *arguments, "--subject", "command -- {checkout}/serve.sh {port}", "--", "test_it.py")
    return subprocess.run([*LLMPERF, *words], cwd=project.path, capture_output=True, text=True, timeout=280)


def diaries(project: Project) -> dict[str, list[dict[str, Any]]]:
    """The events of each, by where it lies; what is within another's directory comes after it."""
    found = project.path.glob(".llmperf/bisect/**/diary.jsonl")
    paths = sorted(found, key=lambda path: (len(path.parts), path))
    # Another process may be writing the last line.
    lines = {str(path.parent): path.read_text().splitlines(keepends=True) for path in paths}
    return {name: [json.loads(line) for line in all_ if line[-1] == "\n"] for name, all_ in lines.items()}


def events(project: Project, kind: str) -> list[dict[str, Any]]:
    return [event for diary in diaries(project).values() for event in diary if event["event"] == kind]


def test_one_flag_among_eight_differences(project: Project) -> None:
    project.write(test_it=CROWD)
    good = "llamacpp --ubatch-size 256 --threads-http 64"
    bad = (
        "HARMLESS=1 LC_TIME=C llamacpp --ubatch-size 128 --threads-http 32 --cache-ram 0 --batch-size 1024 "
        "--parallel 1 --verbosity 1"
    )
    ran = bisect(
        project,
        *("--good", good, "--bad", bad, *FOLLOWED, "--json", "told.json", "--markdown", "told.md"),
        *("--", "test_it.py", TWICE),
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = json.loads((project.path / "told.json").read_text())
    assert (told["outcome"], told["axis"], told["positions"]) == ("culprit", "flags", 9)
    assert [one["name"] for one in told["suspects"]] == ["--parallel 1"]
    assert not told["open"]
    assert told["confirmation"]["low"] > 0
    change = f"+{told['confirmation']['estimate']:.0%}"
    headline = f"--parallel 1 made TTFT p50 at 6 at once worse, {change} (more than 99% sure)."
    assert f"\n\n{headline}\n" in ran.stdout
    said = (project.path / "told.md").read_text()
    assert said.startswith(f"**{headline}**\n")
    for text in (ran.stdout, said):
        assert f" {change} (+" in text
        assert f"{told['launches']} launches in " in text
    first, second = diaries(project)
    assert told == json.loads(Path(first, "answer.json").read_text())
    assert told["launches"] == 2 * len(events(project, "pair"))

    (compare, look) = (step["command"] for step in told["next"])
    assert compare[:2] == ["pytest", "--llmperf"]
    assert look[:3] == ["llmperf", "bisect", "log"]
    log, newest = bisect(project, *look[2:]), bisect(project, "log")
    assert (log.returncode, newest.returncode) == (0, 0)
    pairs = [line.split()[2] for line in log.stdout.splitlines() if line[5:].startswith("  pair ")]
    assert pairs == [str(event["number"]) for event in events(project, "pair")]
    assert "found: the culprit: + --parallel 1, 99.9% sure" in log.stdout
    assert "found: no difference" in log.stdout
    assert second.startswith(first)


def commit(project: Project, git: Git, script: str, message: str) -> str:
    """A commit whose engine is started by ``script``."""
    path = project.path / "serve.sh"
    path.write_text(f"#!/bin/sh\n# {message}\n{script}\n")
    path.chmod(0o755)
    return git.commit(message)


BROKEN = 'echo "serve.sh: out of order"; exit 3'


def llamacpp(*flags: str) -> str:
    command = (sys.executable, "-P", str(Path(llamacpp_server.__file__)), *flags)
    return f'exec {shlex.join(command)} "$@"'


def test_git_bisect_run_names_the_commit_that_left_one_slot(project: Project, git: Git) -> None:
    project.write(test_it=CROWD)
    good = commit(project, git, llamacpp(), "good")
    commit(project, git, llamacpp("--threads-http", "32"), "harmless")
    broken = commit(project, git, BROKEN, "does not start")
    commit(project, git, llamacpp("--threads-http", "48"), "harmless again")
    culprit = commit(project, git, llamacpp("--parallel", "1"), "one slot")
    commit(project, git, llamacpp("--parallel", "1", "--threads-http", "32"), "later")
    git("bisect", "start", "HEAD", good)
    subject = "command --ready /health -- {checkout}/serve.sh --host {host} --port {port} --model {model}"
    words = ("step", "--subject", subject, *FOLLOWED, "--", "test_it.py")
    model = f"--llmperf-model={TinyModel().write(cache_directory('models'))}"
    said = git("bisect", "run", *LLMPERF, *words, model)
    assert f"{culprit} is the first bad commit" in said
    assert re.search(
        rf"llmperf: {culprit[:12]} is bad \(exit code 1\): bad with a probability of [\d.]+%; ", said
    )
    assert f"llmperf: {broken[:12]} is skip (exit code 125): " in said
    assert "out of order" in said
    told = git("bisect", "log")
    assert f"# first bad commit: [{culprit}] one slot" in told
    assert f"# skip: [{broken}]" in told
    git("bisect", "reset")
    assert git("status", "--porcelain") == ""
    assert len(git("worktree", "list").splitlines()) == 1
    # The ends are measured in the first step alone.
    ends, *others = diaries(project).values()
    assert len(others) == 3
    assert [event["event"] for event in ends].count("resumed") == 2
    assert 3 <= [event["event"] for event in ends].count("pair") <= 5
    assert said.count("pair 1: ") == 2
    assert gone(project.mark)


def late(ms: int) -> str:
    command = (sys.executable, "-S", "-E", "-u", str(SERVER))
    return f'exec {shlex.join(command)} "$1" late {ms}'


def start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*LLMPERF, "bisect", *arguments],
        cwd=project.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_commits_are_bisected_whatever_interrupts_it(project: Project, git: Git) -> None:
    project.write(test_it=ONE)
    hashes = []
    for number, script in enumerate((late(5), late(5), late(6), BROKEN, late(5), late(80), late(80))):
        hashes.append(commit(project, git, script, f"number {number}"))
    (project.path / "serve.sh").write_text("what the user is at\n")
    arguments = (
        *("--good", hashes[0], "--bad", "main", *FOLLOWED, "--json", "../told.json"),
        *("--subject", "command -- {checkout}/serve.sh {port}", "--", "test_it.py"),
    )
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        kept = events(project, "pair")
        process = start(project, *arguments)
        deadline = time.monotonic() + 120
        while len(events(project, "pair")) == len(kept):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        assert ("interrupted; the same command goes on where it was" in said) == (number == signal.SIGINT)
        assert gone(project.mark)
        assert events(project, "pair")[: len(kept)] == kept
    kept = events(project, "pair")
    ran = bisect(project, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"llmperf: going on after {len(kept)} pairs\n" in ran.stdout
    assert f"llmperf: pair {len(kept) + 1}: " in ran.stdout
    assert f"llmperf: pair {len(kept)}: " not in ran.stdout
    pairs = events(project, "pair")
    assert pairs[: len(kept)] == kept
    assert [pair["number"] for pair in pairs] == list(range(1, len(pairs) + 1))
    assert len(events(project, "begun")) == 1
    assert len(events(project, "resumed")) == 2

    told = json.loads((project.path.parent / "told.json").read_text())
    assert [one["about"]["commit"] for one in told["suspects"]] == [hashes[5]]
    assert f"\nCommit {hashes[5][:12]} made TTFT p50 " in ran.stdout
    (skipped,) = told["skipped"]
    assert skipped["name"] == hashes[3][:12]
    assert "out of order" in skipped["why"]
    assert f"\n  Not measured: {hashes[3][:12]}: " in ran.stdout
    assert told["launches"] == 2 * len(pairs)

    again = bisect(project, *arguments)
    assert again.returncode == 0
    assert again.stdout.endswith(ran.stdout[ran.stdout.index("\nCommit ") :])
    assert events(project, "pair") == pairs

    assert len(git("worktree", "list").splitlines()) == 1
    assert (git("rev-parse", "HEAD"), git("branch", "--show-current")) == (hashes[-1], "main")
    assert git("status", "--porcelain") == "M serve.sh"
    assert (project.path / "serve.sh").read_text() == "what the user is at\n"


def test_a_step_skips_what_cannot_be_measured_and_tells_the_others_beside_the_ends(
    project: Project, git: Git
) -> None:
    project.write(test_it=ONE)
    good = commit(project, git, late(5), "good")
    project.write(test_it="import nothing_of_this_name")
    without = commit(project, git, late(5), "no test that can be run")
    project.write(test_it=ONE)
    here = commit(project, git, late(80), "here")
    bad = commit(project, git, late(80), "bad")
    for one, code, word, why in (
        (here, 1, "bad", "bad with a probability of "),
        (without, 125, "skip", "pytest measured nothing"),
    ):
        git("checkout", "--quiet", one)
        ran = step(project, "--good", good, "--bad", bad, *FOLLOWED, "--pairs", "2")
        assert ran.returncode == code, ran.stdout + ran.stderr
        assert f"llmperf: {one[:12]} is {word} (exit code {code}): " in ran.stdout
        assert why in ran.stdout
    assert "nothing_of_this_name" in ran.stdout
    assert len(git("worktree", "list").splitlines()) == 1


def test_a_step_stops_git_where_an_end_is_broken_and_tries_it_again(project: Project, git: Git) -> None:
    project.write(test_it=ONE)
    good = commit(project, git, late(5), "good")
    here = commit(project, git, late(5), "here")
    bad = commit(project, git, BROKEN, "does not start")
    git("checkout", "--quiet", here)
    for _ in range(2):
        ran = step(project, "--good", good, "--bad", bad)
        assert ran.returncode == 129, ran.stdout + ran.stderr
        assert "llmperf: an end cannot be measured: " in ran.stderr
        assert "out of order" in ran.stderr
    assert len(events(project, "unusable")) == 2
    assert git("status", "--porcelain") == ""


def test_ends_that_do_not_differ_and_a_secret_between_them(project: Project) -> None:
    project.write(test_it=ONE)
    server = f"command -- {shlex.join((sys.executable, '-S', '-E', '-u', str(SERVER)))} {{port}} late 50"
    ran = bisect(
        project,
        *("--good", server, "--bad", f"A_TOKEN=hunter2 {server}", *FOLLOWED),
        *("--json", "told.json", "--markdown", "told.md", "--", "test_it.py", TWICE),
    )
    assert ran.returncode == 1, ran.stdout + ran.stderr
    headline = "No difference between the good end and the bad end: there is nothing to bisect."
    assert f"\n{headline}\n" in ran.stdout
    told = (project.path / "told.md").read_text()
    assert told.startswith(f"**{headline}**\n")
    assert json.loads((project.path / "told.json").read_text())["outcome"] == "no difference"
    kept = [path for path in project.path.rglob("*") if path.is_file()]
    assert not [path for path in kept if "hunter2" in str(path) or "hunter2" in path.read_text()]
    assert "hunter2" not in ran.stdout + ran.stderr
