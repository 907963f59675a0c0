"""What makes two models the same, where they are in a Modal sandbox and not here."""

from __future__ import annotations

from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import models
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.machine import ProgramError
from pytest_llmperf.places.modal_sandbox import Sandbox

_HASH_S = 600.0
# Where the hub's client keeps the commit of a revision, by the container's own environment.
_REFERENCE = (
    "home=${HF_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/huggingface}; "
    'cat "${HF_HUB_CACHE:-${HUGGINGFACE_HUB_CACHE:-$home/hub}}/models--$1/refs/$2"'
)


def identity(sandbox: Sandbox, subject: Subject, model: str) -> str:
    """As :func:`pytest_llmperf.engines.models.identity`, of what the container has.

    Raises :class:`EngineError` if a path cannot be read there.
    """
    if not Path(model).is_absolute():
        commit = _commit(sandbox, subject, model)
        return f"{model}@{commit}" if commit else model
    try:
        if sandbox.run("stat", "-L", "-c", "%F", model).strip() != "directory":
            return models.by_digest(model, sandbox.run("sha256sum", model, timeout_s=_HASH_S).split()[0])
        listed = sandbox.run("find", "-L", model, "-mindepth", "1", "-maxdepth", "1", "-printf", "%s %f\\n")
    except ProgramError as error:
        raise EngineError(f"which model {model} is cannot be read in the sandbox: {error}") from None
    sizes = {name: int(size) for size, _, name in (line.partition(" ") for line in listed.splitlines())}
    config = sandbox.read(f"{model}/config.json").encode()
    return models.by_digest(model, models.folder_digest(sizes, config))


def _commit(sandbox: Sandbox, subject: Subject, model: str) -> str | None:
    revision = models.revision_of(subject)
    if models.is_commit(revision):
        return revision
    own = [f"{name}={value}" for name, value in subject.env if name.startswith("HF_") and "TOKEN" not in name]
    try:
        return (
            sandbox.run("env", *own, "sh", "-c", _REFERENCE, "sh", model.replace("/", "--"), revision).strip()
            or None
        )
    except ProgramError:
        return None  # it lies elsewhere, or nobody keeps it
