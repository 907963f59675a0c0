"""vLLM's wheel for the CPU; tests/vllm runs the real one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.engines.vllm_cpu import VllmCpu
from pytest_llmperf.errors import EngineError

CODE = "import importlib.metadata; print(importlib.metadata.version('vllm'))"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def path_of(subject: str, python: str = "/venv/bin/python", version: str | None = "0.32.0") -> list[str]:
    runtime = Runtime(python, version)
    command = VllmCpu().command(parse_subject(subject), "/models/m", runtime, "127.0.0.1", 8000)
    return command.env["PYTHONPATH"].split(os.pathsep)


@pytest.mark.parametrize(("version", "said"), [("0.32.0", "0.32.0+cpu"), ("0.32.0+cpu", "0.32.0+cpu")])
def test_what_vllm_asks_of_its_distribution_is_answered(version: str, said: str) -> None:
    for _ in range(2):
        (path,) = path_of("vllm-cpu", version=version)
    command = [sys.executable, "-c", CODE]
    answer = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == said


def test_only_the_one_for_gpus_has_an_image() -> None:
    assert Vllm().image("0.24.0") == "vllm/vllm-openai:v0.24.0"
    assert VllmCpu().image("0.24.0") is None


def test_what_is_on_the_path_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/of/the/tests")
    assert path_of("vllm-cpu")[1:] == []
    assert path_of("vllm-cpu", python=sys.executable)[1:] == ["/of/the/tests"]
    assert path_of("PYTHONPATH=/of/the/subject vllm-cpu")[1:] == ["/of/the/subject"]


def test_it_needs_no_gpu() -> None:
    assert VllmCpu().gpus(parse_subject("vllm-cpu -tp 2")) == 0


def test_it_is_another_distribution_under_its_own_name() -> None:
    assert (VllmCpu().name, VllmCpu().distribution) == ("vllm-cpu", "vllm-cpu")
    with pytest.raises(EngineError, match=r"^vllm-cpu needs --llmperf-model ID or folder$"):
        VllmCpu().model(None)
