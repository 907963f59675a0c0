"""Models as Hugging Face has them: an id of the hub, or a folder with a ``config.json``."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.flags import values
from pytest_llmperf.engines.openai import TOKEN_IDS, ordinary_ids
from pytest_llmperf.errors import EngineError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".engine")


def id_or_folder(engine: str, model: str | None) -> str:
    """The absolute path of a folder, or an id as it is. Raises :class:`EngineError` if it is neither."""
    if not model:
        raise EngineError(f"{engine} needs --llmperf-model ID or folder")
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EngineError(f"--llmperf-model {model}: the folder has no config.json")
        return str(path.resolve())
    if path.exists():
        raise EngineError(f"--llmperf-model {model}: {engine} needs a folder with a config.json, not a file")
    if not _ID.fullmatch(model):
        raise EngineError(
            f"--llmperf-model {model}: no such folder, and no id as the Hugging Face hub has them"
        )
    return model


def served_name(model: str) -> str:
    """What requests call it: the folder's own name, or the id."""
    return Path(model).name if Path(model).is_absolute() else model


def identity(subject: Subject, model: str) -> str:
    """What makes two models the same: a file's name with a hash of it; a folder's with a hash of its
    ``config.json`` and of the names and sizes of its weights; an id with its commit, as far as the local
    cache of the hub knows it."""
    if Path(model).is_absolute():
        return by_digest(model, _digest(Path(model)))
    commit = _commit(subject, model)
    return f"{model}@{commit}" if commit else model


def by_digest(model: str, digest: str) -> str:
    """What a file or folder is called in a comparison."""
    return f"{Path(model).name} sha256:{digest[:16]}"


def revision_of(subject: Subject) -> str:
    """The branch, tag or commit of a model of the hub that the subject serves."""
    return (values(subject.args, "--revision") or ["main"])[-1]


def is_commit(revision: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def token_ids(model: str) -> range:
    """Ids that every prompt may contain, by the vocabulary in the model's ``config.json``, if it is here."""
    folders = [Path(model)] if Path(model).is_absolute() else _in_cache(model, os.environ).glob("snapshots/*")
    config = _config(next(iter(folders), None)) or {}
    text = config.get("text_config")
    vocabulary = config.get("vocab_size") or (text.get("vocab_size") if isinstance(text, dict) else None)
    # Of a large one, not its end: tokens that stand for images and the like lie there.
    ids = ordinary_ids(vocabulary)
    return ids if ids.stop < TOKEN_IDS.stop else TOKEN_IDS


def config_of(subject: Subject, model: str | None) -> Mapping[str, Any] | None:
    """The ``config.json`` of a folder, or of an id in the local cache of the hub, at the revision that the
    subject serves; None where there is none here. ``model`` is what ``--llmperf-model`` says."""
    if not model:
        return None
    folder = Path(model).expanduser()
    if not folder.is_dir() and _ID.fullmatch(model):
        commit = _commit(subject, model)
        return (
            _config(_in_cache(model, os.environ | dict(subject.env)) / "snapshots" / commit)
            if commit
            else None
        )
    return _config(folder)


def _config(folder: Path | None) -> dict[str, Any] | None:
    try:
        config = json.loads((folder / "config.json").read_text()) if folder else None
    except (OSError, ValueError):
        return None
    return config if isinstance(config, dict) else None


def _digest(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    config = path / "config.json"
    sizes = {
        part.name: part.stat().st_size
        for part in path.iterdir()
        if part.name == config.name or part.suffix in _WEIGHTS
    }
    return folder_digest(sizes, config.read_bytes() if config.name in sizes else b"")


def folder_digest(sizes: Mapping[str, int], config: bytes) -> str:
    """A hash of a model's ``config.json`` and of the names and sizes of its weights, among ``sizes``."""
    found = hashlib.sha256()
    for name, size in sorted(sizes.items()):
        if name == "config.json":
            found.update(config)
        elif Path(name).suffix in _WEIGHTS:
            found.update(f"{name} {size}\n".encode())
    return found.hexdigest()


def _commit(subject: Subject, model: str) -> str | None:
    """The commit of the revision that is served, from the reference that a download leaves."""
    revision = revision_of(subject)
    if is_commit(revision):
        return revision
    try:
        return (
            _in_cache(model, os.environ | dict(subject.env)) / "refs" / revision
        ).read_text().strip() or None
    except OSError:
        return None


def _in_cache(model: str, env: Mapping[str, str]) -> Path:
    """Where the hub's client keeps a model: https://huggingface.co/docs/huggingface_hub/guides/manage-cache."""
    home = env.get("HF_HOME") or Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface"
    hub = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(hub).expanduser() / f"models--{model.replace('/', '--')}"
