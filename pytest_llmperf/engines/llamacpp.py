"""llama.cpp on the CPU: the embedded default, from the ``xllamacpp`` wheel.

Facts: ``/health`` answers 200 once the model is loaded; ``/props`` has the resolved settings; its build
is ``b0-unknown`` in the wheel, so the version is the wheel's; ``/metrics`` needs a flag that is set here.
The server closes the connection after every stream although it advertises keep-alive.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import flags, llamacpp_server, models
from pytest_llmperf.engines.cache import cache_directory
from pytest_llmperf.engines.openai import (
    aliased_counters,
    answers_200,
    ask,
    get_json,
    ordinary_ids,
    served_models,
)
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.startup import Startup
from pytest_llmperf.engines.tiny_gguf import TinyModel
from pytest_llmperf.errors import EngineError

COUNTERS = {
    "llamacpp:requests_processing": "running",
    "llamacpp:requests_deferred": "waiting",
    "llamacpp:prompt_tokens_total": "prompt_tokens",
    "llamacpp:prompt_tokens_cached_total": "cached_prompt_tokens",
    "llamacpp:spec_decode_num_draft_tokens_total": "draft_tokens",
    "llamacpp:spec_decode_num_accepted_tokens_total": "accepted_tokens",
    "llamacpp:prompt_seconds_total": "prefill_s",
    "llamacpp:tokens_predicted_seconds_total": "decode_s",
}


class LlamaCpp:
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "llamacpp"
    distribution: str | None = "xllamacpp"
    stop_grace_s = 5.0

    def model(self, model: str | None) -> str:
        if model is None:
            return str(TinyModel().write(cache_directory("models")))
        path = Path(model).expanduser()
        if not path.is_file():
            raise EngineError(f"--llmperf-model {model}: no such file; llamacpp needs a GGUF file")
        with path.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise EngineError(f"--llmperf-model {model}: not a GGUF file")
        return str(path.resolve())

    def model_identity(self, subject: Subject, model: str) -> str:
        return models.identity(subject, model)

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        flags.refuse_owned(subject, "--host", "--port", "--model", "-m")
        argv = (
            # By path and with -P: the package, and pytest with it, would only make the start slower.
            *(runtime.python, "-P", str(Path(llamacpp_server.__file__))),
            *("--model", model, "--host", host, "--port", str(port)),
            *subject.args,
        )
        # Else a failed assertion starts a debugger, which halts the process and buries what it said.
        return Command(argv, {"GGML_NO_BACKTRACE": "1"} | dict(subject.env))

    def image(self, version: str) -> str | None:
        return None

    def gpus(self, subject: Subject) -> int:
        layers = (flags.values(subject.args, "--n-gpu-layers", "-ngl") or ["0"])[-1]
        return 0 if layers == "0" else 1

    def api_key(self, subject: Subject) -> str | None:
        return flags.api_key(subject)

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        return answers_200(client, "/health")

    def describe(self, client: httpx.Client, model: str) -> Description:
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

    def startup(self, log: str) -> Startup:
        return Startup()

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        return {"max_tokens": output_tokens, "ignore_eos": True}

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, COUNTERS)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        try:
            slots = ask(client, "GET", "/slots").json()
            answers = [ask(client, "POST", f"/slots/{slot['id']}?action=erase") for slot in slots]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        if any(answer.status_code == 501 for answer in answers):
            return None  # prompts are kept elsewhere as well, see llamacpp_server
        return all(answer.status_code == 200 for answer in answers)
