from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.places import modal_sandbox
from pytest_llmperf.places.machine import NoProgram, ProgramError
from pytest_llmperf.places.modal_sandbox import Sandbox
from tests.modal.cloud import Cloud
from tests.modal.reaching import cloud
from tests.places.test_modal_guardian import start

__all__ = ["cloud"]


@pytest.fixture
def sandbox(tmp_path: Path, cloud: Cloud) -> Iterator[Sandbox]:
    server = start("sleep 600 {port}", tmp_path / "engine.log")
    yield server.sandbox
    server.stop()


def test_a_program_answers(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    assert sandbox.run("cat", str(tmp_path / "text")) == "hello"
    assert sandbox.read(str(tmp_path / "text")) == "hello"
    assert sandbox.read(str(tmp_path / "none")) == ""
    assert sandbox.execute("sh", "-c", "echo out; echo err >&2; exit 3") == (3, "out\n", "err\n")


@pytest.mark.parametrize("argv", [("no-such-program",), ("sh", "-c", "no-such-program")])
def test_a_program_that_is_missing_is_no_other_error(sandbox: Sandbox, argv: tuple[str, ...]) -> None:
    with pytest.raises(NoProgram, match=argv[0]):
        sandbox.run(*argv)


def test_what_modal_refuses_keeps_its_own_words(sandbox: Sandbox, cloud: Cloud) -> None:
    cloud.plane.cannot_execute = "the workspace is suspended"
    with pytest.raises(ProgramError, match="the workspace is suspended") as caught:
        sandbox.run("nvidia-smi")
    assert not isinstance(caught.value, NoProgram)


def test_a_program_that_fails_says_what_it_said(sandbox: Sandbox) -> None:
    with pytest.raises(ProgramError, match="sh failed: sorry"):
        sandbox.run("sh", "-c", "echo sorry >&2; exit 1")


def test_a_program_that_does_not_end_is_given_up(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modal_sandbox, "_GRACE_S", 0.0)
    with pytest.raises(ProgramError, match="sleep did not answer within 1 s"):
        sandbox.run("sleep", "60", timeout_s=1.0)


def test_a_program_that_does_not_stop_writing_is_given_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modal_sandbox, "MAX_OUTPUT_BYTES", 1 << 20)
    with pytest.raises(ProgramError, match="sh wrote more than 1 MiB"):
        sandbox.run("sh", "-c", "head -c 3000000 /dev/zero; sleep 60")
