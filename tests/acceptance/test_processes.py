"""Whatever ends a session, nothing is left running and nothing is half written."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.acceptance.conftest import CHAT, Project, was_measured

SLOW = CHAT.replace("rates=[4], duration=1", "rates=[20, 4], duration=2").replace("_chat", "_slow")


def until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read a process's output up to a line with ``text``."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came:\n{''.join(lines)}")


@pytest.mark.beside_others
def test_ctrl_c_stops_the_engine_and_keeps_what_was_measured(project: Project) -> None:
    project.write(test_it=SLOW)
    process = project.start("--llmperf")
    until(process, "measuring at 4/s")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in output
    assert project.nothing_is_left()
    (record,) = project.records()
    assert record["status"] == "interrupted"
    assert [point["load"] for point in record["tests"][0]["points"]] == ["20/s"]


@pytest.mark.beside_others
def test_ctrl_c_while_the_engine_starts(project: Project) -> None:
    project.write(
        conftest="""
        from pytest_llmperf.engines.llamacpp import LlamaCpp

        class NeverReady(LlamaCpp):
            name = "neverready"
            def is_ready(self, client, subject):
                return False

        def pytest_llmperf_engines():
            return [NeverReady()]
        """,
        test_it=CHAT,
    )
    process = project.start("--llmperf", "--llmperf-engine", "neverready")
    until(process, "starting neverready")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert project.nothing_is_left()


@pytest.mark.beside_others
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_session_leaves_no_engine(project: Project, how: signal.Signals) -> None:
    project.write(test_it=SLOW)
    process = project.start("--llmperf")
    until(process, "measuring at 20/s")
    until(process, "measuring at 4/s")
    process.send_signal(how)
    process.communicate(timeout=60)
    assert project.nothing_is_left()
    (record,) = project.records()
    assert record["status"] == "running"
    assert [point["load"] for point in record["tests"][0]["points"]] == ["20/s"]


@pytest.mark.beside_others
def test_a_timed_out_test_leaves_no_engine(project: Project) -> None:
    pytest.importorskip("pytest_timeout")
    project.write(test_it=SLOW.replace("duration=2", "duration=30"))
    # Of the test alone, however long the engine takes to start.
    only = ("-o", "timeout_func_only=true")
    result = project.run("--llmperf", "--timeout", "3", *only, "--timeout-method", "signal")
    result.assert_outcomes(failed=1)
    assert project.nothing_is_left()


@pytest.mark.beside_others
def test_one_launch_serves_all_tests_of_a_subject_whatever_their_order(project: Project) -> None:
    project.write(
        test_a=CHAT + "\ndef test_plain():\n    pass\n",
        test_b=f"""
import pytest
{CHAT.replace("@slo", "@pytest.mark.engine('llamacpp --parallel 2')" + chr(10) + "@slo")}
""",
        test_c=CHAT,
    )
    result = project.run("--llmperf", "-v")
    result.assert_outcomes(passed=4)
    order = [line.split()[0] for line in result.outlines if "PASSED" in line or line.endswith("test_chat ")]
    assert order[0] == "test_a.py::test_plain"
    assert project.starts() == 2
    subjects = [test["subject"]["text"] for test in project.records()[0]["tests"]]
    assert subjects == ["llamacpp", "llamacpp", "llamacpp --parallel 2"]


@pytest.mark.beside_others
def test_two_xdist_workers_share_one_engine(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_a=CHAT, test_b=CHAT + "\ndef test_plain():\n    pass\n")
    result = project.run("--llmperf", "-n", "2", "--llmperf-launches", "2", "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["test_a.py::test_chat  pass", "test_b.py::test_chat  pass", "record: *"])
    assert project.starts() == 4  # there, each test has its launches to itself
    assert len(project.records()) == 1


@pytest.mark.beside_others
def test_a_crashing_xdist_worker_leaves_no_engine(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(
        test_it=CHAT
        + """
import os
def test_crash(llmperf):
    llmperf(Workload(input_tokens=8, output_tokens=4), requests=2)
    os._exit(3)
"""
    )
    result = project.run("--llmperf", "-n", "2")
    assert was_measured(result)
    assert result.parseoutcomes()["failed"] == 1
    assert project.nothing_is_left()


@pytest.mark.beside_others
def test_xdist_modes_that_would_spread_the_tests_are_refused(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_it=CHAT)
    result = project.run("--llmperf", "-n", "2", "--dist", "loadfile")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --llmperf with --dist loadfile: *"])


@pytest.mark.beside_others
def test_selection_and_last_failed_work_as_ever(project: Project) -> None:
    project.write(test_it=CHAT + CHAT.replace("_chat", "_other").replace("ttft_ms=2000", "ttft_ms=0.01"))
    project.run("--llmperf", "-p", "no:cacheprovider", "-k", "chat").assert_outcomes(passed=1, deselected=1)
    project.run("--llmperf", "-x").assert_outcomes(passed=1, failed=1)
    project.run("--llmperf", "--lf").assert_outcomes(failed=1)
    collected = project.run("--llmperf", "--collect-only", "-q", "--llmperf-launches", "2")
    assert collected.ret == 0
    assert project.starts() == 3


@pytest.mark.beside_others
def test_a_run_without_llmperf_does_not_feel_the_plugin(project: Project) -> None:
    project.write(
        conftest="""
        import sys

        def pytest_sessionfinish():
            heavy = {"numpy", "httpx", "pytest_llmperf.session"} & set(sys.modules)
            print("heavy:", sorted(heavy))
        """,
        test_it=CHAT + "\ndef test_plain():\n    pass\n",
    )
    result = project.run("-s", "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*heavy: []*", "SKIPPED *performance test: run with --llmperf"])
    assert os.listdir(project.path).count(".llmperf") == 0
