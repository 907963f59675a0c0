from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines import models
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.modal_server import ModalServer
from tests.modal.cloud import Cloud
from tests.modal.reaching import cloud
from tests.places.test_modal import place

__all__ = ["cloud"]

ID = "meta-llama/Llama-3.1-8B"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """What a volume has; as the container is this machine, its path is the same here."""
    model = tmp_path / "volume" / "llama"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"vocab_size": 2048, "by": "Grüße"}')
    (model / "tokenizer.json").write_text("{}")
    (model / "a.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "blob").write_bytes(b"y" * 2000)
    (model / "b c.safetensors").symlink_to(tmp_path / "blob")
    return model


@pytest.fixture
def server(tmp_path: Path, cloud: Cloud, volume: Path) -> Iterator[ModalServer]:
    where = place(f"modal image=mine:1 volume=models:{volume.parent}")
    subject = parse_subject("command -- sleep 600 {port}")
    served = where.start(AnyCommand(), subject, Runtime("python3"), str(volume), tmp_path / "engine.log")
    yield served
    served.stop()
    assert not any(str(volume) in path for path in cloud.plane.uploaded)


def test_a_folder_on_a_volume_is_known_by_what_is_in_it(server: ModalServer, volume: Path) -> None:
    subject = parse_subject("vllm==0.24.0")
    before = server.model_identity(Vllm(), subject, str(volume))
    assert before == models.identity(subject, str(volume))
    (volume / "config.json").write_text('{"vocab_size": 2049}')
    configured = server.model_identity(Vllm(), subject, str(volume))
    (volume / "a.safetensors").write_bytes(b"x" * 1001)
    assert len({before, configured, server.model_identity(Vllm(), subject, str(volume))}) == 3


def test_a_file_on_a_volume_is_known_by_its_hash(server: ModalServer, volume: Path) -> None:
    (file := volume / "tiny.gguf").write_bytes(b"GGUF")
    subject = parse_subject("llamacpp==1.0")
    assert server.model_identity(Vllm(), subject, str(file)) == models.identity(subject, str(file))


def test_a_path_that_is_not_there_is_an_error(server: ModalServer, volume: Path) -> None:
    with pytest.raises(
        EngineError, match=r"which model .*/none is cannot be read in the sandbox: stat failed"
    ):
        server.model_identity(Vllm(), parse_subject("vllm==0.24.0"), str(volume / "none"))


def test_an_id_has_the_commit_that_the_container_has_and_not_this_machine(
    server: ModalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for home, commit in ((here, "f" * 40), (there, COMMIT)):
        references = home / "hub" / "models--meta-llama--Llama-3.1-8B" / "refs"
        references.mkdir(parents=True)
        (references / "main").write_text(commit)
    monkeypatch.setenv("HF_HOME", str(here))
    ours = parse_subject("vllm==0.24.0")
    assert models.identity(ours, ID) == f"{ID}@{'f' * 40}"
    assert server.model_identity(Vllm(), ours, ID) == ID
    assert (
        server.model_identity(Vllm(), parse_subject(f"HF_HOME={there} vllm==0.24.0"), ID) == f"{ID}@{COMMIT}"
    )
    pinned = parse_subject(f"vllm==0.24.0 --revision {'a' * 40}")
    assert server.model_identity(Vllm(), pinned, ID) == f"{ID}@{'a' * 40}"
