"""An OpenAI-compatible server that already runs, whatever it is."""

from __future__ import annotations

import os
from collections.abc import Mapping

import httpx

from pytest_llmperf.declare.settings import API_KEY_VARIABLE
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import llamacpp, sglang, vllm
from pytest_llmperf.engines.flags import sendable
from pytest_llmperf.engines.openai import aliased_counters, ask, ordinary_ids, served_models, version_of
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.startup import Startup
from pytest_llmperf.errors import EngineError

# Whatever it is, it counts under names of its own.
_COUNTERS = llamacpp.COUNTERS | vllm.COUNTERS | sglang.COUNTERS


class OpenAiServer:
    """See :class:`~pytest_llmperf.engines.protocol.Engine`; it is neither started nor stopped."""

    name = "url"
    distribution: str | None = None
    stop_grace_s = 0.0

    def model(self, model: str | None) -> str:
        return model or ""

    def model_identity(self, subject: Subject, model: str) -> str:
        return model or "as served"

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        raise EngineError(f"{subject} runs already; it is not started from here")

    def image(self, version: str) -> str | None:
        return None

    def gpus(self, subject: Subject) -> int:
        return 0

    def api_key(self, subject: Subject) -> str | None:
        return sendable(os.environ.get(API_KEY_VARIABLE, ""), API_KEY_VARIABLE)

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        """Whether anything answers HTTP there; what it answers, :meth:`describe` judges."""
        try:
            ask(client, "GET", "/v1/models", timeout_s=10.0)
        except httpx.HTTPError:
            return False
        return True

    def describe(self, client: httpx.Client, model: str) -> Description:
        served = served_models(client)
        names = [str(entry["id"]) for entry in served]
        if model and model not in names:
            raise EngineError(f"--llmperf-model {model}: the server has {', '.join(names)}")
        entry = served[names.index(model)] if model else served[0]
        meta = entry.get("meta")
        vocabulary = meta.get("n_vocab") if isinstance(meta, dict) else None
        return Description(
            model=str(entry["id"]),
            version=version_of(client),
            settings={
                name: str(entry[name])
                for name in ("owned_by", "max_model_len")
                if entry.get(name) is not None
            },
            token_ids=ordinary_ids(vocabulary),
        )

    def startup(self, log: str) -> Startup:
        return Startup()

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        return {"max_tokens": output_tokens, "min_tokens": output_tokens, "ignore_eos": True}

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, _COUNTERS)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        return None
