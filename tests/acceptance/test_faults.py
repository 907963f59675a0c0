"""Engines that fail, with real processes: one error that says why, and nothing left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Project, was_measured
from tests.acceptance.test_processes import until
from tests.leftovers import MARK, gone, marked

pytestmark = pytest.mark.beside_others
LOGS = Path(__file__).parent.parent / "engines" / "logs"
SCRIPT = Path(__file__).with_name("faulty_engine.py")
ENGINE = f"""
import sys
from pathlib import Path
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Command, Description

class Faulty(LlamaCpp):
    name, distribution, stop_grace_s = "faulty", None, 1.0

    def model(self, model):
        return "m"

    def model_identity(self, subject, model):
        return "m"

    def command(self, subject, model, runtime, host, port):
        if port:  # else the command is only looked at
            Path("ports").open("a").write(f"{{port}}\\n")
        return Command((sys.executable, "-u", {str(SCRIPT)!r}, str(port), *subject.args), dict(subject.env))

    def is_ready(self, client, subject):
        from pytest_llmperf.engines.openai import answers_200
        return answers_200(client, "/health")

    def describe(self, client, model):
        return Description("faulty", "1", token_ids=range(100, 1000))

    def counters(self, client):
        return {{}}

def pytest_llmperf_engines():
    return [Faulty()]
"""
TEST = """
from pytest_llmperf import Workload

def test_it(llmperf):
    llmperf(Workload(input_tokens=8, output_tokens=4), concurrency=1, requests=1000)
"""
QUICK = TEST.replace("1000", "20")


class Faults:
    """A project with engines that fail, and what they left."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.scratch = Path(os.environ["TMPDIR"])
        project.write(conftest=ENGINE, test_it=TEST)

    def run(self, fault: str, *options: str) -> pytest.RunResult:
        return self.project.run("--llmperf", "--llmperf-engine", f"faulty {fault}", *options)

    def start(self, fault: str, *options: str) -> subprocess.Popen[str]:
        return self.project.start("--llmperf", "--llmperf-engine", f"faulty {fault}", *options)

    def is_clean(self) -> bool:
        """Whether all processes are gone, all ports closed and all temporary files removed."""
        return self.project.nothing_is_left() and not self.open_ports() and not list(self.scratch.iterdir())

    def open_ports(self) -> list[int]:
        found = []
        for port in map(int, (self.project.path / "ports").read_text().split()):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    found.append(port)
        return found

    def processes(self, name: str) -> list[int]:
        """Those of this test whose command line has ``name`` in it."""
        found = []
        for pid in marked(self.project.mark):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text()
            except OSError:
                continue
            if name in words:
                found.append(pid)
        return found

    def wait_for(self, name: str, count: int = 1) -> list[int]:
        deadline = time.monotonic() + 30
        while len(found := self.processes(name)) < count:
            assert time.monotonic() < deadline, f"{count} processes of {name} never came"
            time.sleep(0.02)
        return found


@pytest.fixture
def faults(project: Project) -> Iterator[Faults]:
    made = Faults(project)
    yield made
    deadline = time.monotonic() + 10  # what watches over a session ends a moment after it
    while not made.is_clean() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert made.is_clean()


def error_of(result: pytest.RunResult) -> list[str]:
    """The lines of the one error of a session, which ends as a session with a failed test does."""
    result.assert_outcomes(errors=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    begins = [n for n, line in enumerate(result.outlines) if re.match(r"_+ ERROR at", line)]
    assert len(begins) == 1
    ends = next(n for n, line in enumerate(result.outlines) if n > begins[0] and line.startswith("==="))
    lines = result.outlines[begins[0] + 1 : ends]
    assert len(lines) <= 25  # a screen
    assert max(map(len, lines)) < 500
    return lines


# --- a start that ends -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log", "code", "cause", "line"),
    [
        ("vllm-gpu-memory", 1, "out of GPU memory", "torch.OutOfMemoryError: CUDA out of memory."),
        ("trtllm-bad-flag", 2, "it does not know the flag --max_batchsize", "Error: No such option"),
        ("python-segfault", -11, "it crashed (SIGSEGV)", "Fatal Python error: Segmentation fault"),
    ],
)
def test_an_engine_that_ends_says_why(faults: Faults, log: str, code: int, cause: str, line: str) -> None:
    first, said, advice, command, *_ = error_of(faults.run(f"ends {LOGS}/{log}.log {code}"))
    assert first.startswith("faulty")  # alone, where its flags would push the cause off the line
    assert f": {cause}" in first
    assert first.endswith("(the engine ended before it was ready)")
    assert said.startswith(f"it said: {line}")
    if code != -11:
        assert advice.startswith("advice: ")
        assert command.startswith(f"command: {sys.executable} -u {SCRIPT} ")


def test_the_command_that_is_shown_repeats_the_failure(faults: Faults) -> None:
    lines = error_of(faults.run(f"ends {LOGS}/vllm-gpu-memory.log 5"))
    (command,) = [line.removeprefix("command: ") for line in lines if line.startswith("command: ")]
    by_hand = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True)
    assert by_hand.returncode == 5
    assert "CUDA out of memory" in by_hand.stdout


def test_an_engine_that_somebody_kills(faults: Faults) -> None:
    empty = faults.project.path / "empty.log"
    empty.touch()
    first, _, *_ = error_of(faults.run(f"ends {empty} -9"))
    assert "it was killed by SIGKILL, which did not come from here" in first


def test_an_engine_that_sends_itself_to_the_background_is_found_and_ended(faults: Faults) -> None:
    lines = error_of(faults.run("goes-to-the-background"))
    assert "it ended by itself without an error" in lines[0]
    assert "has to stay in the foreground" in "\n".join(lines)


def test_an_engine_whose_port_is_taken_is_tried_again_but_not_for_ever(faults: Faults) -> None:
    lines = error_of(faults.run("takes-a-port"))
    assert "its port was taken by another process (the engine ended before it was ready)" in lines[0]
    assert "Address already in use" in lines[1]
    # The first is none: it is what the record says a person would type.
    assert len((faults.project.path / "ports").read_text().split()[1:]) == 3


@pytest.mark.parametrize(
    ("mode", "error"), [(None, "No such file or directory"), (0o600, "Permission denied")]
)
def test_a_program_that_is_missing_or_cannot_be_run(faults: Faults, mode: int | None, error: str) -> None:
    program = faults.project.path / "engine"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    faults.project.write(conftest=ENGINE.replace("(sys.executable, ", f"({str(program)!r}, "))
    first, command, *_ = error_of(faults.run("sound"))
    assert first.startswith(f"faulty sound cannot be started: {program}: {error}")
    assert command.startswith(f"command: {program} ")


def test_a_log_directory_that_cannot_be_had(faults: Faults) -> None:
    (faults.project.path / ".llmperf").mkdir()
    (faults.project.path / ".llmperf" / "logs").write_text("a file")
    faults.project.write(test_it=QUICK)
    assert was_measured(faults.run("sound"))
    (kept,) = faults.scratch.iterdir()  # where logs go that have no other place
    assert list(kept.rglob("*.log"))
    shutil.rmtree(kept)


# --- a start that does not end ---------------------------------------------------------------------------


def test_a_start_that_says_nothing_is_told_from_one_that_goes_on(faults: Faults) -> None:
    lines = error_of(faults.run("silent", "--llmperf-startup-timeout", "1"))
    assert lines[0].endswith(
        "not ready after 1 s (--llmperf-startup-timeout): its port is not open yet; "
        "it still logs, so it may need more time"
    )
    assert lines[-1] == "  | INFO: loading weights"
    lines = error_of(faults.run("slow", "--llmperf-startup-timeout", "1.5"))
    assert "its port is open, it is not ready yet; it still logs" in lines[0]


def test_a_first_token_that_never_comes_is_given_up(faults: Faults) -> None:
    lines = error_of(faults.run("no-first-token", "--llmperf-request-timeout", "1"))
    assert lines[0] == "faulty no-first-token: the first streamed answer was not as asked"
    assert "timeout: not complete after 1 s" in lines[1]


def test_an_engine_that_is_ready_too_early_is_waited_for(faults: Faults) -> None:
    faults.project.write(test_it=QUICK)
    assert was_measured(faults.run("ready-too-early 1.5"))
    startup_s = faults.project.records()[0]["launches"][0]["startup_s"]
    assert startup_s["healthy"] < startup_s["first_token"]


def test_but_not_longer_than_a_start_may_take(faults: Faults) -> None:
    lines = error_of(faults.run("ready-too-early 100", "--llmperf-startup-timeout", "1"))
    assert "HTTP 503" in "\n".join(lines[:3])


# --- under load ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "cause"),
    [("raise", "out of GPU memory"), ("kill", "it was killed by SIGKILL, which did not come from here")],
)
def test_an_engine_that_dies_under_load(faults: Faults, how: str, cause: str) -> None:
    lines = error_of(faults.run(f"dies-under-load 20 {how}"))
    assert lines[0].startswith(f"faulty dies-under-load 20 {how}: {cause}")
    assert lines[0].endswith("(the engine died while it was measured)")


def test_an_engine_that_dies_at_its_first_request_is_told_once(faults: Faults) -> None:
    lines = error_of(faults.run("dies-under-load 0 raise"))
    assert lines[0].endswith("out of GPU memory (the engine died at its first request)")
    assert sum(line.startswith("command: ") for line in lines) == 1


def test_an_engine_that_hangs_under_load_is_given_up_soon_and_the_next_test_gets_its_own(
    faults: Faults,
) -> None:
    faults.project.write(test_later=QUICK.replace("test_it", "test_later").replace("20", "4"))
    result = faults.run("hangs-under-load 30", "--llmperf-request-timeout", "1")
    result.stdout.fnmatch_lines(
        [
            "faulty hangs-under-load 30: it stopped answering while it was measured*",
            "process: * still runs",
        ]
    )
    assert faults.project.starts() == 2
    hung, later = faults.project.records()[0]["tests"]
    assert hung["verdict"] == "error"
    assert later["points"][0]["runs"]


# --- what it leaves ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["has-children", "ignores-sigterm", "leaves-files"])
def test_what_an_engine_leaves_is_swept(faults: Faults, fault: str) -> None:
    faults.project.write(test_it=QUICK)
    assert was_measured(faults.run(fault))
    assert faults.is_clean()


def test_an_engine_that_deletes_its_log_and_goes_elsewhere_is_measured(faults: Faults) -> None:
    faults.project.write(test_it=QUICK)
    assert was_measured(faults.run("wanders"))


@pytest.mark.alone  # it is one for everybody
def test_a_flood_does_not_fill_the_disk(faults: Faults) -> None:
    faults.project.write(
        conftest=ENGINE + "\nfrom pytest_llmperf.places import process\nprocess.LOG_LIMIT = 1_000_000\n",
        test_it="def test_it(llmperf):\n    import time; time.sleep(1.5)\n",
    )
    process = faults.start("floods")
    sizes = []
    while process.poll() is None:
        sizes += [log.stat().st_size for log in faults.project.path.glob(".llmperf/logs/*.log")]
        time.sleep(0.02)
    process.communicate()
    (log,) = faults.project.path.glob(".llmperf/logs/*.log")
    text = log.read_text()
    assert "the first line\n" in text[:200]
    assert "bytes of this log were left out here ...]" in text
    # What is written within a look at it comes on top; a flood that nobody cuts is many times that.
    assert max(sizes) < 700_000_000


def in_a_small_file_system(path: Path) -> list[str]:
    """The beginning of a command line that runs the rest with 200 kB of room in ``path``."""
    mount = f'mount -t tmpfs -o size=200k tmpfs {path} && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces to mount a small file system in")
    return prefix


def test_a_disk_that_is_full_is_named(faults: Faults) -> None:
    (home := faults.project.path / ".llmperf").mkdir()
    prefix = in_a_small_file_system(home)
    big = faults.project.path / "big.log"
    big.write_text("INFO: a line of an ordinary log that goes on and on\n" * 10_000)
    command = [*prefix, sys.executable, "-m", "pytest", "--llmperf", "--llmperf-json", "record.json"]
    ended = subprocess.run(
        [*command, "--llmperf-engine", f"faulty ends {big} 1"],
        cwd=faults.project.path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"^faulty.*: the disk is full", ended.stdout, re.MULTILINE)
    assert "no record of what failed: " in ended.stdout
    (failure,) = json.loads((faults.project.path / "record.json").read_text())["failures"]
    assert failure["error"].startswith("faulty")
    assert "INTERNALERROR" not in ended.stdout + ended.stderr


def test_a_limit_of_the_size_of_files_is_named(faults: Faults) -> None:
    big = faults.project.path / "big.log"
    big.write_text("INFO: a line of an ordinary log that goes on and on\n" * 40_000)
    limited = ["sh", "-c", 'ulimit -f 1000 && exec "$@"', "sh", sys.executable, "-m", "pytest", "--llmperf"]
    ended = subprocess.run(
        [*limited, "--llmperf-engine", f"faulty ends {big} 1", "-p", "no:cacheprovider"],
        cwd=faults.project.path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    said = r"faulty.*: .*(File too large|beyond the limit of a file's size|ended before)"
    assert re.search(said, ended.stdout)


# --- whatever ends the session -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "how"),
    [("silent", signal.SIGINT), ("has-children", signal.SIGTERM), ("has-children", signal.SIGKILL)],
)
def test_a_session_that_is_ended_leaves_nothing(faults: Faults, fault: str, how: signal.Signals) -> None:
    process = faults.start(fault)
    faults.wait_for(SCRIPT.name, 1 if fault == "silent" else 5)
    process.send_signal(how)
    process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert gone(faults.project.mark)
    assert faults.is_clean()


def test_a_second_ctrl_c_while_it_stops_leaves_nothing(faults: Faults) -> None:
    process = faults.start("ignores-sigterm")
    until(process, "measuring at")
    process.send_signal(signal.SIGINT)
    until(process, "stopping faulty")
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone(faults.project.mark)
    assert faults.is_clean()


def test_a_guardian_that_is_killed_leaves_nothing_even_of_what_left_its_group(faults: Faults) -> None:
    process = faults.start("has-children")
    until(process, "measuring at")
    faults.wait_for(SCRIPT.name, 5)
    (guardian,) = faults.processes("guardian.py")
    os.kill(guardian, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert "ended with its guardian process, which somebody killed" in output
    assert faults.is_clean()


def test_a_guardian_that_is_stopped_does_its_work_in_the_end(faults: Faults) -> None:
    faults.project.write(test_it=TEST.replace("1000", "300"))
    process = faults.start("has-children")
    until(process, "measuring at")
    (guardian,) = faults.processes("guardian.py")
    os.kill(guardian, signal.SIGSTOP)
    output, _ = process.communicate(timeout=60)
    assert "1 passed" in output or "\nthe measurement is invalid:" in output
    assert faults.is_clean()


# --- what is shown meanwhile -----------------------------------------------------------------------------


def test_the_log_and_how_far_it_came_are_shown_while_it_starts(faults: Faults) -> None:
    from tests.acceptance.test_terminal import on_a_terminal

    faults.project.write(test_it=QUICK)
    written = on_a_terminal(faults.project, "--llmperf", "--llmperf-engine", "faulty ready-too-early 3")
    assert re.search(r"starting faulty ready-too-early 3: \d s · ready, waiting", written)
    assert re.search(r"faulty ready-too-early 3 started in \d.*: process \d.*, first token \d", written)


def test_every_process_of_a_test_can_be_found() -> None:
    """What the other tests rely on."""
    code = "import os, time\nos.fork()\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, MARK: "find-me"}) as process:
        while len(marked("find-me")) < 2:
            time.sleep(0.01)
        for pid in marked("find-me"):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert gone("find-me")
