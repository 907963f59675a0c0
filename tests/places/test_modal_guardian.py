from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.places import modal_guardian
from pytest_llmperf.places.modal_guardian import SandboxOrder, guard
from pytest_llmperf.places.modal_server import ModalServer
from tests.modal.cloud import Cloud
from tests.modal.reaching import cloud
from tests.places.test_modal import PATIENCE_S, place

__all__ = ["cloud"]


def start(command: str, log: Path, notes: list[str] | None = None) -> ModalServer:
    where = place("modal image=mine:1", note=(notes if notes is not None else []).append)
    return where.start(AnyCommand(), parse_subject(f"command -- {command}"), Runtime("python3"), "", log)


def order(log: Path) -> SandboxOrder:
    where, subject = place("modal image=mine:1"), parse_subject("command -- sleep {port}")
    command = AnyCommand().command(subject, "", Runtime("python3"), "0.0.0.0", 10_000)
    return where._order(command, where._recipe(AnyCommand(), subject), "", 10_000, log)


class Silent:
    """The test run, of which nothing is wanted here."""

    def say(self, **message: Any) -> None: ...


def test_whatever_happens_after_its_creation_the_sandbox_is_terminated(tmp_path: Path, cloud: Cloud) -> None:
    teller: Any = Silent()
    with pytest.raises(IsADirectoryError):
        asyncio.run(guard(order(tmp_path), teller, asyncio.Event()))
    assert len(cloud.containers) == 1
    assert cloud.running() == []


def test_a_termination_that_is_refused_is_tried_again(tmp_path: Path, cloud: Cloud) -> None:
    notes: list[str] = []
    server = start("sleep {port}", tmp_path / "engine.log", notes)
    cloud.plane.refusals = 2
    server.stop()
    assert cloud.running() == []
    assert [note for note in notes if "could not be terminated" in note] == []
    assert (tmp_path / "engine.log").read_text().count("llmperf: terminating the sandbox") == 2


def test_the_log_has_a_limit(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_llmperf.places.modal.LOG_LIMIT", 16_384)
    program = "for number in range(9999): print('line', number)"
    server = start(f'python3 -c "{program}" {{port}}', log := tmp_path / "engine.log")
    deadline = time.monotonic() + PATIENCE_S
    while server.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert log.stat().st_size < 2 * 16_384
    kept = log.read_text()
    assert kept.startswith("line 0\n")
    assert kept.endswith("line 9998\n")
    assert "bytes of this log were left out here" in kept
    server.stop()


def test_the_pulse_survives_whatever_the_client_raises(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modal_guardian, "_RETRY_S", 0.01)
    pulses = 0

    class Failing:
        """A client with an error of its own."""

        @property
        def exec(self) -> Failing:
            return self

        async def aio(self, *argv: str) -> None:
            nonlocal pulses
            pulses += 1
            raise RuntimeError("no idea")

    async def beat() -> None:
        client: Any = Failing()
        task = asyncio.create_task(modal_guardian._pulse(client))
        while pulses < 3 and not task.done():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(beat())
    assert pulses >= 3
    assert "keeping the sandbox from being idle: RuntimeError: no idea" in capfd.readouterr().err
