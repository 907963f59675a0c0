"""Engines in Modal sandboxes: Modal's own client, with a stand-in for its cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.conftest import CHAT, Project
from tests.modal.cloud import Cloud
from tests.modal.reaching import ENGINE, cloud

__all__ = ["cloud"]

PLACE = "modal gpu=H100 region=us-east"
PATIENCE_S = 60.0


def run(project: Project, place: str, *args: str, engine: str = ENGINE) -> pytest.RunResult:
    return project.run("--llmperf", "--llmperf-place", place, "--llmperf-engine", engine, *args)


def everything_kept(project: Project) -> str:
    return "".join(
        path.read_text(errors="replace")
        for path in project.path.rglob("*")
        if ".llmperf" in str(path) and path.is_file()
    )


@pytest.mark.parametrize(
    ("load", "told"), [("there", "in the engine's container"), ("here", "from this machine")]
)
def test_a_sweep_is_measured_in_a_sandbox_from_there_or_from_here(
    project: Project, cloud: Cloud, load: str, told: str
) -> None:
    project.write(test_it=CHAT)
    result = run(project, f"{PLACE} load={load}")
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    (test,) = record["tests"]
    assert test["environment"] == {
        **test["environment"],
        "place": "modal gpu=H100! region=us-east cpu=8 memory=32768",
        "accelerators": "NVIDIA H100 80GB HBM3",
        "driver": "580.95.05",
        "load": told,
    }
    (launch,) = record["launches"]
    phases = launch["startup_s"]
    assert list(phases) == ["spawned", "healthy", "first_token", "first_answer"]
    assert list(phases.values()) == sorted(phases.values())
    assert launch["hardware"]["sandbox"] == cloud.containers[0].sandbox_id
    assert "listening on" in Path(launch["log"]).read_text()
    # The key that guards the tunnel is nowhere to be found.
    argv = list(cloud.containers[0].definition.entrypoint_args)
    key = argv[argv.index("--api-key") + 1]
    assert key not in result.stdout.str() + result.stderr.str() + everything_kept(project)


@pytest.mark.beside_others
def test_secrets_stay_where_they_are(project: Project, cloud: Cloud) -> None:
    cloud.plane.secrets["hf-token"] = {"HF_TOKEN": "hf_of-the-workspace"}
    project.write(test_it=CHAT)
    engine = f"API_TOKEN=token-of-the-subject {ENGINE} --api-key key-of-the-subject"
    result = run(project, f"{PLACE} secrets=hf-token", "-rA", engine=engine)
    assert project.records()
    (container,) = cloud.containers
    assert "key-of-the-subject" in container.definition.entrypoint_args
    kept = result.stdout.str() + result.stderr.str() + everything_kept(project)
    for secret in ("hf_of-the-workspace", "token-of-the-subject", "key-of-the-subject", "as-stand-in"):
        assert secret not in kept


@pytest.mark.beside_others
def test_an_image_that_cannot_be_built_is_one_clear_error(project: Project, cloud: Cloud) -> None:
    project.write(test_it=CHAT)
    result = run(project, "modal image=example.com/unbuildable:1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*Modal: Image build for im-* failed*", "*manifest unknown*", "*image=*"])
    assert cloud.containers == []


@pytest.mark.beside_others
def test_without_credentials_the_error_says_how_to_get_some(
    project: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODAL_TOKEN_ID")
    project.write(test_it=CHAT)
    result = run(project, PLACE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*run `modal token new`, or set MODAL_TOKEN_ID and MODAL_TOKEN_SECRET*"])


@pytest.mark.beside_others
def test_without_modal_the_error_says_what_to_install(project: Project) -> None:
    project.write(test_it=CHAT, conftest="import sys; sys.modules['modal'] = None")
    result = run(project, PLACE)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'modal>=1.6,<1.7'*"])


@pytest.mark.beside_others
def test_an_engine_that_dies_at_its_start_is_told_with_its_last_words(project: Project, cloud: Cloud) -> None:
    project.write(test_it=CHAT)
    result = run(project, PLACE, engine=f"{ENGINE} --no-such-flag")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*exited with code 2*", "*unrecognized arguments: --no-such-flag*"])


@pytest.mark.beside_others
def test_a_sandbox_that_runs_into_its_time_out_names_the_word_to_raise(
    project: Project, cloud: Cloud
) -> None:
    with measuring(project, cloud, f"{PLACE} timeout=600") as started:
        cloud.end_all(timed_out=True)
        output, _ = started.communicate(timeout=PATIENCE_S)
    assert started.returncode == pytest.ExitCode.TESTS_FAILED
    assert "was ended by Modal after 600 s, its time-out: say timeout=1200" in output


@pytest.mark.beside_others
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("phase", ["creating", "measuring"])
def test_however_the_test_run_ends_the_sandbox_is_terminated(
    project: Project, cloud: Cloud, number: signal.Signals, phase: str
) -> None:
    cloud.plane.delay_s = 60.0 if phase == "creating" else 0.0
    with measuring(project, cloud, PLACE, phase) as started:
        os.kill(started.pid, number)
        started.communicate(timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while cloud.running():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert len(cloud.containers) == 1


@contextmanager
def measuring(
    project: Project, cloud: Cloud, place: str, phase: str = "measuring"
) -> Iterator[subprocess.Popen[str]]:
    """A test run that has come to a phase and would go on for a minute; killed if it still runs then."""
    project.write(test_it=CHAT.replace("duration=1", "duration=60"))
    started = project.start("--llmperf", "--llmperf-place", place, "--llmperf-engine", ENGINE)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not has_come_to(phase, cloud):
            assert started.poll() is None, started.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield started
    finally:
        started.kill()


def has_come_to(phase: str, cloud: Cloud) -> bool:
    if phase == "creating" or not cloud.containers:
        return bool(cloud.containers)
    return len(cloud.containers[0].beside) >= 8 and b"print_timing" in cloud.containers[0].main.output[2]
