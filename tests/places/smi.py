"""A machine with GPUs: a program named nvidia-smi that prints what the real one prints.

:class:`Gpus` writes it into a directory of the PATH and changes what it says, by a state file that the
program (nvidia_smi.py) reads each time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

H100 = {
    "name": "NVIDIA H100 80GB HBM3",
    "driver_version": "570.86.15",
    "memory.total": "81559",
    "memory.used": "4",
    "clocks.max.sm": "1980",
    "clocks.max.memory": "2619",
    "clocks.sm": "345",
    "clocks.mem": "2619",
    "power.limit": "700.00",
    "power.default_limit": "700.00",
    "persistence_mode": "Enabled",
    "compute_mode": "Default",
    "mig.mode.current": "Disabled",
    "clocks_event_reasons.active": "0x0000000000000001",
    "clocks_event_reasons_counters.sw_thermal_slowdown": "0",
    "clocks_event_reasons_counters.hw_thermal_slowdown": "0",
    "clocks_event_reasons_counters.hw_power_brake_slowdown": "0",
}


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-34ab-a064-c37c-7a4f75601cc5"


class Gpus:
    """``count`` H100s; :meth:`say` changes what is told of one, None being what its driver does not know."""

    def __init__(self, directory: Path, count: int) -> None:
        self._state = directory / "nvidia-smi.json"
        self._program = directory / "nvidia-smi"
        self.content: dict[str, Any] = {
            "gpus": [{"index": str(index), "uuid": uuid(index), **H100} for index in range(count)],
            "processes": [],
            "listing": "",
            "cuda": "CUDA Version: 12.8",
            "error": None,
            "hangs": False,
        }
        self._write()
        program = Path(__file__).with_name("nvidia_smi.py").read_text()
        self._program.write_text(f"#!{sys.executable} -IS\n{program}")
        self._program.chmod(0o755)

    def say(self, index: int, fields: Mapping[str, str | None]) -> None:
        self.content["gpus"][index] |= fields
        self._write()

    def set(self, **content: Any) -> None:
        """``processes`` (pid, gpu_uuid, used_memory), ``listing``, ``cuda``, ``error`` (text, code), …"""
        self.content |= content
        self._write()

    def _write(self) -> None:
        part = self._state.with_suffix(".part")
        part.write_text(json.dumps(self.content))
        part.replace(self._state)


def install(directory: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> Gpus:
    """Put it first on the PATH."""
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return Gpus(directory, count)
