"""Engines that do not start, die, hang or answer nonsense, and files that are damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured

# An engine of the project's own: llama.cpp, but started after a line of Python of its own.
WRAPPED = """
import dataclasses, signal, sys
from pytest_llmperf.engines.llamacpp import LlamaCpp

class Wrapped(LlamaCpp):
    name = "wrapped"
    def command(self, subject, *where):
        command = super().command(dataclasses.replace(subject, args=()), *where)
        code = "import os, signal, sys, time; " + subject.args[0] + "; os.execv(sys.argv[1], sys.argv[1:])"
        return dataclasses.replace(command, argv=(sys.executable, "-c", code, *command.argv))

def pytest_llmperf_engines():
    return [Wrapped()]
"""
# The engine is ended a moment after its load has begun, however long it took to start.
ENDS_IT = """
import os, signal
from pathlib import Path
from threading import Timer

def end(url):
    port = url.rpartition(":")[2]
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_text().split("\\0") if entry.name.isdigit() else []
        except OSError:  # it has ended meanwhile
            continue
        if port in words:
            os.kill(int(entry.name), signal.SIGALRM)

@sweep(rates=[4], duration=60)
def test_ended(llmperf):
    Timer(1, end, [llmperf.url]).start()
    llmperf(Workload(input_tokens=64, output_tokens=16))
"""


@pytest.mark.beside_others
def test_an_engine_with_a_bad_flag_is_an_error_with_its_last_words(project: Project) -> None:
    project.write(test_it=CHAT + "\ndef test_other(llmperf):\n    pass\n")
    result = project.run("--llmperf", "--llmperf-engine", "llamacpp --paralell 3 --api-key hunter2")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "llamacpp --paralell 3 --api-key '[[]redacted]': it does not know the flag --paralell "
            "(the engine ended before it was ready)",
            "it said: llamacpp: error: unrecognized arguments: --paralell 3*",
            "advice: *--help*",
            "command: *--paralell 3 --api-key '[[]redacted]'",
            "process: * exited with code 2",
            "log: *.llmperf/logs/*-llamacpp-launch1.log",
            "  | llamacpp: error: unrecognized arguments: --paralell 3*",
            "*(not tried again for this test)*",
        ]
    )
    result.stdout.no_fnmatch_line("*hunter2*")
    assert "hunter2" not in json.dumps(project.records())
    (record,) = project.records()
    assert [(failed["test"], failed["side"]) for failed in record["failures"]] == [
        ("test_it.py::test_chat", "candidate"),
        ("test_it.py::test_other", "candidate"),
    ]
    assert "it does not know the flag" in record["failures"][0]["error"]
    assert record["tests"] == []
    assert project.starts() == 1


@pytest.mark.beside_others
def test_a_version_that_is_not_installed_says_how_to_get_it(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-engine", "llamacpp==2020.1.1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["llamacpp==2020.1.1 has no environment to run in: *", "to repeat it by hand: * xllamacpp==2020.1.1"]
    )


@pytest.mark.beside_others
@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "*: no such file; llamacpp needs a GGUF file"), (b"PK\3\4", "*: not a GGUF file")],
)
def test_a_model_that_is_none(project: Project, content: bytes | None, message: str) -> None:
    project.write(test_it=CHAT)
    if content is not None:
        (project.path / "m.gguf").write_bytes(content)
    result = project.run("--llmperf", "--llmperf-model", "m.gguf")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"--llmperf-model m.gguf{message}"])


@pytest.mark.beside_others
def test_an_engine_that_dies_mid_run_is_an_error_and_the_next_test_gets_a_new_one(project: Project) -> None:
    project.write(test_it=CHAT.split("@slo")[0] + ENDS_IT + CHAT)
    result = project.run("--llmperf")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at call of test_ended*",
            "llamacpp: it was ended by SIGALRM (the engine died while it was measured)",
            "command: *",
            "process: * was killed by SIGALRM",
            "  | *",
        ]
    )
    assert project.starts() == 2
    first, second = project.records()[0]["tests"]
    assert first["verdict"] == "error"
    assert second["verdict"] == "pass"


@pytest.mark.beside_others
def test_an_engine_that_is_never_ready_is_given_up(project: Project) -> None:
    project.write(conftest=WRAPPED, test_it=CHAT)
    result = project.run(
        "--llmperf", "--llmperf-engine", "wrapped 'time.sleep(60)'", "--llmperf-startup-timeout", "1"
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "*: not ready after 1 s (--llmperf-startup-timeout): its port is not open yet; "
            "it has logged nothing",
            "process: * still runs",
        ]
    )


@pytest.mark.beside_others
def test_an_engine_that_leaves_children_in_other_sessions_leaves_nothing(project: Project) -> None:
    project.write(conftest=WRAPPED, test_it=CHAT)
    fork = "os.fork() or (os.setsid(), signal.signal(15, signal.SIG_IGN), time.sleep(300))"
    assert was_measured(project.run("--llmperf", "--llmperf-engine", f"wrapped '{fork}'"))
    assert project.nothing_is_left()


@pytest.mark.beside_others
def test_a_program_that_does_not_exist(project: Project) -> None:
    project.write(
        conftest=WRAPPED.replace("(sys.executable, ", '("/no/such/program", '),
        test_it=CHAT,
    )
    result = project.run("--llmperf", "--llmperf-engine", "wrapped pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "wrapped pass cannot be started: /no/such/program: No such file or directory",
            "command: * /no/such/program *",
        ]
    )


@pytest.mark.beside_others
def test_nobody_at_the_url(project: Project) -> None:
    project.write(test_it=CHAT)
    url = "http://127.0.0.1:9"
    result = project.run("--llmperf", "--llmperf-engine", url, "--llmperf-startup-timeout", "0.5")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"{url}: nothing answers HTTP there; tried for 0.5 s (ConnectError: *)"])


@pytest.mark.beside_others
def test_a_damaged_baseline_is_an_error_and_stays_as_it_is(project: Project) -> None:
    project.write(test_it=CHAT)
    once = ("--llmperf", "--llmperf-launches", "1")
    project.run(*once, "--llmperf-update").assert_outcomes(passed=1)
    (baseline,) = project.baselines()
    for options, damage in (((), "{"), (("--llmperf-update",), '{"llmperf_baseline": 1}')):
        baseline.write_text(damage)
        result = project.run(*once, *options)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*{baseline.name}*"])
        assert baseline.read_text() == damage


@pytest.mark.beside_others
def test_a_directory_that_cannot_be_written_loses_nothing(project: Project) -> None:
    project.write(test_it=CHAT)
    (project.path / ".llmperf").write_text("a file where a directory should be")
    result = project.run("--llmperf")
    assert was_measured(result)
    (line,) = [line for line in result.outlines if line.startswith("record: ")]
    assert "cannot be written" in line
    record = Path(line.removeprefix("record: ").partition(" (")[0])
    assert json.loads(record.read_text())["status"] == "complete"
    record.unlink()

    update = project.run("--llmperf", "--llmperf-update")
    assert update.ret == pytest.ExitCode.USAGE_ERROR
    update.stderr.fnmatch_lines(["ERROR: --llmperf-update: *baselines cannot be written"])


@pytest.mark.beside_others
def test_a_hook_may_add_to_the_record(project: Project) -> None:
    project.write(
        conftest="""
        def pytest_llmperf_record(record):
            record["commit"] = "abc"
        """,
        test_it=CHAT,
    )
    assert was_measured(project.run("--llmperf"))
    assert project.records("commit")[0]["commit"] == "abc"


@pytest.mark.beside_others
@pytest.mark.parametrize("body", ["raise RuntimeError('oops')", "record['when'] = object()"])
def test_a_hook_that_spoils_the_record_costs_only_what_it_did(project: Project, body: str) -> None:
    project.write(conftest=f"def pytest_llmperf_record(record):\n    {body}\n", test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-json", "out.json")
    assert was_measured(result)
    result.stdout.fnmatch_lines(["pytest_llmperf_record: *; recorded without it"])
    assert (
        project.records()[0]["status"]
        == json.loads((project.path / "out.json").read_text())["status"]
        == "complete"
    )


@pytest.mark.beside_others
def test_what_nothing_can_be_made_of_costs_no_more_than_that(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "summary.md"))
    project.write(
        conftest="def pytest_llmperf_record(record):\n    record['tests'][0]['points'] = 5\n", test_it=CHAT
    )
    result = project.run("--llmperf", "--llmperf-markdown=c.md", "--llmperf-html=r.html")
    assert was_measured(result)
    result.stdout.fnmatch_lines(
        [
            "record: *",
            "--llmperf-html: nothing can be made of this record (TypeError: *",
            "--llmperf-markdown: nothing can be made of this record (TypeError: *",
            "not in the history: * is damaged: TypeError*",
            "GITHUB_STEP_SUMMARY: nothing can be made of this record (TypeError: *",
        ]
    )
    assert not (project.path / "c.md").exists()


@pytest.mark.beside_others
def test_flags_that_are_not_a_subjects_to_choose(project: Project) -> None:
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "--llmperf-engine", "llamacpp --port 99")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["llamacpp --port 99: --port is not for a subject to choose*"])


@pytest.mark.beside_others
def test_who_interrupts_a_session_is_told_what_is_kept_and_where(project: Project) -> None:
    other = "\n    raise KeyboardInterrupt\n\ndef test_third(llmperf):\n    pass\n"
    project.write(test_it=CHAT + CHAT.split("\n\n", 1)[1].replace("test_chat", "test_other").rstrip() + other)
    result = project.run(
        *("--llmperf", "--llmperf-launches=2"), "--llmperf-html=sub/../r.html", "--llmperf-markdown=c.md"
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        [
            "interrupted: 2 of 3 tests were measured, in part",
            "record: *",
            f"html: {project.path}/r.html",
            f"markdown: {project.path}/c.md",
        ]
    )
    assert "Interrupted: 2 tests measured, none judged" in (project.path / "r.html").read_text()
