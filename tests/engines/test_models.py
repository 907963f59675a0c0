from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines import models
from pytest_llmperf.engines.openai import TOKEN_IDS
from pytest_llmperf.errors import EngineError

ID = "meta-llama/Llama-3.1-8B"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VLLM = parse_subject("vllm")


def folder(path: Path, config: object = None, **weights: int) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config or {"vocab_size": 2048}))
    for name, size in weights.items():
        (path / f"{name}.safetensors").write_bytes(b"\0" * size)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The local cache of the hub with one model, as its client leaves it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    kept = tmp_path / "hf" / "hub" / "models--meta-llama--Llama-3.1-8B"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text(COMMIT)
    (kept / "refs" / "v2").write_text("f" * 40)
    (kept / "snapshots").mkdir()
    folder(kept / "snapshots" / COMMIT, {"text_config": {"vocab_size": 500}})
    return kept


@pytest.mark.parametrize("model", [None, ""])
def test_there_is_no_default(model: str | None) -> None:
    with pytest.raises(EngineError) as caught:
        models.id_or_folder("vllm", model)
    assert str(caught.value) == "vllm needs --llmperf-model ID or folder"


def test_a_folder_is_named_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert models.id_or_folder("vllm", "tiny") == str(path)
    assert models.served_name(str(path)) == "tiny"


@pytest.mark.parametrize("model", [ID, "gpt2", "Qwen/Qwen3-0.6B"])
def test_an_id_stays_as_it_is(model: str) -> None:
    assert models.id_or_folder("vllm", model) == models.served_name(model) == model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("empty", "the folder has no config.json"),
        ("file", "vllm needs a folder with a config.json, not a file"),
        ("/no/such", "no such folder, and no id as the Hugging Face hub has them"),
        ("./tiny", "no such folder, and no id as the Hugging Face hub has them"),
        ("a/b/c", "no such folder, and no id as the Hugging Face hub has them"),
        ("a b", "no such folder, and no id as the Hugging Face hub has them"),
    ],
)
def test_what_is_no_model_is_an_error(
    model: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(EngineError) as caught:
        models.id_or_folder("vllm", model)
    assert str(caught.value) == f"--llmperf-model {model}: {message}"


def test_a_folder_is_known_by_its_configuration_and_its_weights(tmp_path: Path) -> None:
    def identity(**changes: int) -> str:
        return models.identity(VLLM, str(folder(tmp_path / "tiny", {"a": changes.pop("a", 1)}, **changes)))

    first = identity(w=10)
    assert first.startswith("tiny sha256:")
    assert identity(w=10) == first
    others = {identity(a=2, w=10), identity(w=11), identity(w=10, x=1)}
    assert len(others | {first}) == 4


@pytest.mark.parametrize(
    ("subject", "identity"),
    [
        ("vllm", f"{ID}@{COMMIT}"),
        ("vllm --revision v2", f"{ID}@{'f' * 40}"),
        (f"vllm --revision={'a' * 40}", f"{ID}@{'a' * 40}"),
        ("vllm --revision v3", ID),
        ("HF_HUB_CACHE=/elsewhere vllm", ID),
        ("HF_HOME=/elsewhere vllm", ID),
    ],
)
def test_an_id_is_known_by_the_commit_in_the_local_cache(cache: Path, subject: str, identity: str) -> None:
    assert models.identity(parse_subject(subject), ID) == identity


def test_an_id_that_is_not_in_the_cache_is_known_by_its_name(cache: Path) -> None:
    assert models.identity(VLLM, "gpt2") == "gpt2"


def test_a_small_vocabulary_limits_what_a_prompt_may_contain(tmp_path: Path, cache: Path) -> None:
    assert models.token_ids(str(folder(tmp_path / "tiny", {"vocab_size": 2048}))) == range(300, 2048)
    assert models.token_ids(ID) == range(250, 500)


@pytest.mark.parametrize("config", [{"vocab_size": 128_256}, {"vocab_size": "many"}, {"other": 1}, [1]])
def test_of_any_other_vocabulary_the_ids_are_those_of_nearly_any(tmp_path: Path, config: object) -> None:
    assert models.token_ids(str(folder(tmp_path / "model", config))) == TOKEN_IDS


def test_the_vocabulary_of_a_model_that_is_not_here_is_unknown(cache: Path) -> None:
    assert models.token_ids("gpt2") == TOKEN_IDS


def test_the_configuration_is_that_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "tiny", {"hidden_size": 8})
    monkeypatch.chdir(tmp_path)
    for model in ("tiny", str(path)):
        assert models.config_of(VLLM, model) == {"hidden_size": 8}


def test_the_configuration_of_an_id_is_that_of_the_revision_that_is_served(cache: Path) -> None:
    folder(cache / "snapshots" / ("f" * 40), {"hidden_size": 8})
    assert models.config_of(VLLM, ID) == {"text_config": {"vocab_size": 500}}
    assert models.config_of(parse_subject("vllm --revision v2"), ID) == {"hidden_size": 8}


@pytest.mark.parametrize("subject", ["vllm --revision v3", f"vllm --revision {'a' * 40}", "HF_HOME=/no vllm"])
def test_a_revision_that_is_not_here_has_no_configuration(cache: Path, subject: str) -> None:
    assert models.config_of(parse_subject(subject), ID) is None


@pytest.mark.parametrize("model", [None, "", "gpt2", "/no/such", "file", "empty", "broken", "list"])
def test_what_has_no_configuration_here_is_no_error(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    folder(tmp_path / "list", [1])
    (folder(tmp_path / "broken") / "config.json").write_text("{")
    assert models.config_of(VLLM, model) is None
