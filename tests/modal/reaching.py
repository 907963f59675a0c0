"""Fixtures that lead Modal's client to the stand-in."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Iterator
from pathlib import Path

import modal
import pytest

from tests.leftovers import MARK, gone
from tests.modal.cloud import Cloud

ENGINE = f"llamacpp=={importlib.metadata.version('xllamacpp')}"
# What a container has to say of its GPU, in the order in which it is asked.
_NVIDIA_SMI = """#!/usr/bin/env python3
import sys
KNOWN = {"index": "0", "uuid": "GPU-1", "name": "NVIDIA H100 80GB HBM3", "driver_version": "580.95.05"}
query = next((arg for arg in sys.argv if arg.startswith("--query-")), None)
if query is None:
    print("CUDA Version: 13.0")
elif query.startswith("--query-gpu="):
    print(", ".join(KNOWN.get(field, "[N/A]") for field in query.partition("=")[2].split(",")))
"""


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A cloud of the test's own; in the end everything in it has to be gone, and nothing asked in vain."""
    (directory := tmp_path / "cloud").mkdir()
    with Cloud(directory) as made:
        for name in [name for name in os.environ if name.startswith("MODAL_")]:
            monkeypatch.delenv(name)
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        smi = made.plane.programs / "nvidia-smi"
        smi.write_text(_NVIDIA_SMI)
        smi.chmod(0o755)
        yield made
        assert MARK not in os.environ or gone(os.environ[MARK])
        with contextlib.suppress(modal.exception.AuthError):  # a test may have had no credentials
            modal.Client.from_env().close()  # or this process would go on with a cloud that is gone
        assert made.running() == []
        assert made.plane.unimplemented + made.worker.unimplemented == {}
