"""llama.cpp on the CPU: the embedded default, from the ``xllamacpp`` wheel.

Facts: ``/health`` answers 200 once the model is loaded; ``/props`` has the resolved settings; its build
is ``b0-unknown`` in the wheel, so the version is the wheel's; ``/metrics`` needs a flag that is set here.
The server closes the connection after every stream although it advertises keep-alive.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import llamacpp_server
from pytest_llmperf.engines.openai import aliased_counters, answers_200, get_json, ordinary_ids, served_models
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.tiny_gguf import TinyModel
from pytest_llmperf.errors import EngineError

_COUNTERS = {
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    "llamacpp:prompt_tokens_total": "prompt_tokens",
    "llamacpp:prompt_tokens_cached_total": "cached_prompt_tokens",
}


class LlamaCpp:
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "llamacpp"
    distribution: str | None = "xllamacpp"
    stop_grace_s = 5.0

    def model(self, model: str | None) -> str:
        if model is None:
            return str(TinyModel().write(_cache_directory()))
        path = Path(model).expanduser()
        if not path.is_file():
            raise EngineError(f"--llmperf-model {model}: no such file; llamacpp needs a GGUF file")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise EngineError(f"--llmperf-model {model}: not a GGUF file")
        return str(path.resolve())

    def model_identity(self, model: str) -> str:
        path = Path(model)
        with path.open("rb") as file:
            return f"{path.name} sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        if owned := [
            arg for arg in subject.args if arg.partition("=")[0] in ("--port", "--host", "-m", "--model")
        ]:
            raise EngineError(
                f"{subject}: {', '.join(owned)} is not for a subject to choose; a model is --llmperf-model, "
                "and a server at an address of your own is a subject by its URL"
            )
        argv = (
            # By path and with -P: the package, and pytest with it, would only make the start slower.
            *(runtime.python, "-P", str(Path(llamacpp_server.__file__))),
            *("--model", model, "--host", host, "--port", str(port)),
            *subject.args,
        )
        return Command(argv, dict(subject.env))

    def image(self, version: str) -> str | None:
        return None

    def api_key(self, subject: Subject) -> str | None:
        for arg, following in itertools.pairwise((*subject.args, "")):
            if arg.partition("=")[0] == "--api-key":
                return arg.partition("=")[2] or following or None
        return None

    def gpus(self, subject: Subject) -> int:
        return 0

    def is_ready(self, client: httpx.Client) -> bool:
        return answers_200(client, "/health")

    def describe(self, client: httpx.Client, model: str | None) -> Description:
        served = served_models(client)[0]
        props = get_json(client, "/props")
        generation = props.get("default_generation_settings", {})
        settings = {
            "total_slots": props.get("total_slots"),
            "n_ctx_per_slot": generation.get("n_ctx"),
        }
        vocabulary = served.get("meta", {}).get("n_vocab", 512)
        return Description(
            model=str(served["id"]),
            version=None,
            settings={name: str(value) for name, value in settings.items() if value is not None},
            token_ids=ordinary_ids(vocabulary),
        )

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        return {"max_tokens": output_tokens, "ignore_eos": True}

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, _COUNTERS)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        return None


def _cache_directory() -> Path:
    """Where generated models are kept; where the home cannot be written to, a directory for this process."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmperf" / "models"
    with contextlib.suppress(OSError):
        base.mkdir(parents=True, exist_ok=True)
    return base if os.access(base, os.W_OK) else _temporary_directory()


@functools.cache
def _temporary_directory() -> Path:
    path = Path(tempfile.mkdtemp(prefix="llmperf-models-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
