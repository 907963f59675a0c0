"""vLLM.

Facts: the server listens only when its engine is loaded, so ``/health`` means that it can generate.
``/server_info`` and ``/reset_prefix_cache`` are there with ``VLLM_SERVER_DEV_MODE=1``, which is set where
only this machine can reach the server: whoever can, may use them. Whether a reset worked is told by versions
after 0.24 only; the configuration is JSON in versions after 0.10 only. A SIGTERM to the server ends its
workers too, which have 5 s. Whether compiled graphs came from its cache only the log tells; CUDA graphs are
captured at every start.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Literal

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import flags, models
from pytest_llmperf.engines.hugging_face import HuggingFaceEngine, description_of
from pytest_llmperf.engines.openai import (
    aliased_counters,
    answers_200,
    ask,
    get_answer,
    get_object,
)
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.resolved import flat, info_labels
from pytest_llmperf.engines.startup import Startup, phases_in

COUNTERS = {
    "vllm:num_requests_running": "running",
    "vllm:num_requests_waiting": "waiting",
    "vllm:gpu_cache_usage_perc": "cache_use",  # until 0.10
    "vllm:kv_cache_usage_perc": "cache_use",
    "vllm:prompt_tokens_total": "prompt_tokens",
    "vllm:gpu_prefix_cache_hits_total": "cached_prompt_tokens",  # until 0.10
    "vllm:prefix_cache_hits_total": "cached_prompt_tokens",
    "vllm:num_preemptions_total": "preemptions",
    "vllm:spec_decode_num_draft_tokens_total": "draft_tokens",
    "vllm:spec_decode_num_accepted_tokens_total": "accepted_tokens",
    "vllm:request_queue_time_seconds_sum": "queue_s",
    "vllm:request_prefill_time_seconds_sum": "prefill_s",
    "vllm:request_decode_time_seconds_sum": "decode_s",
    "vllm:request_queue_time_seconds_count": "timed_requests",
    "vllm:iteration_tokens_total_count": "steps",
    "vllm:iteration_tokens_total_sum": "step_tokens",
}
PHASES = {
    "weights": (r"Model loading took .* SECONDS seconds", r"Loading weights took SECONDS seconds"),
    "compile": (
        r"torch\.compile took SECONDS s in total",
        r"torch\.compile takes SECONDS s in total",  # until 0.16
        # Where it is not compiled ahead of time: timed together with the first run of the model.
        r"torch\.compile and initial profiling.* took SECONDS s in total",
    ),
    "profile": (r"Initial profiling/warmup run took SECONDS s",),
    "graph_capture": (r"Graph capturing finished in SECONDS secs",),
    "init_engine": (r"init engine \(.*?\) took SECONDS s",),  # all of these but the weights
}
_DEV_MODE = "VLLM_SERVER_DEV_MODE"
_NO_SETTINGS = r"^(observability|logging|profiler|structured_outputs|kv_events|aux_output|reasoning)\."


class Vllm(HuggingFaceEngine):
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "vllm"
    distribution: str | None = "vllm"
    stop_grace_s = 20.0

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        flags.refuse_owned(subject, "--host", "--port", "--uds", "--model", "--served-model-name")
        argv = (
            # As the console script `vllm` does it, which not every kind of installation has.
            *(runtime.python, "-m", "vllm.entrypoints.cli.main", "serve", model),
            *("--host", host, "--port", str(port), "--served-model-name", models.served_name(model)),
            *subject.args,
        )
        env = {"PYTHONSAFEPATH": "1"}  # or a folder `vllm` in the working directory would be imported
        if _is_loopback(host):
            env[_DEV_MODE] = "1"
        return Command(argv, env | dict(subject.env))

    def image(self, version: str) -> str | None:
        return f"vllm/vllm-openai:v{version}"

    def gpus(self, subject: Subject) -> int:
        if flags.values(subject.args, "--device")[-1:] == ["cpu"]:
            return 0
        tensor = flags.size(subject, "--tensor-parallel-size", "-tp")
        pipeline = flags.size(subject, "--pipeline-parallel-size", "-pp")
        context = flags.size(subject, "--prefill-context-parallel-size", "-pcp")
        local = ("--data-parallel-size-local", "-dpl")
        everywhere = ("--data-parallel-size", "-dp")
        data = flags.size(subject, *(local if flags.values(subject.args, *local) else everywhere))
        return tensor * pipeline * context * data

    def api_key(self, subject: Subject) -> str | None:
        return flags.api_key(subject, "VLLM_API_KEY")

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        return answers_200(client, "/health")

    def describe(self, client: httpx.Client, model: str) -> Description:
        return description_of(client, model, _settings)

    def startup(self, log: str) -> Startup:
        return startup(log)

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, COUNTERS)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        try:
            answer = ask(client, "POST", "/reset_prefix_cache")
            if answer.status_code == 404:
                return None  # not in development mode
            told = answer.json() if answer.content else {}
        except (httpx.HTTPError, ValueError):
            return False
        if answer.status_code != 200 or not isinstance(told, dict):
            return False
        return told.get("success")  # versions until 0.24 do not say


def startup(log: str) -> Startup:
    """See :meth:`~pytest_llmperf.engines.protocol.Engine.startup`; of a log that is vLLM's."""
    return Startup(_cache(log), phases_in(log, PHASES))


def _cache(log: str) -> Literal["cold", "warm"] | None:
    if "torch.compile cache is disabled" in log:
        return None  # every start compiles
    if "Compiling a graph for " in log:
        return "cold"  # also where other graphs came from the cache
    if "Directly load the compiled graph" in log or "Directly load AOT compilation" in log:
        return "warm"
    if "Compiling model again due to a load failure" in log:
        return None  # what it saves it cannot load (0.32 on a CPU): every start compiles
    # Without a graph of its own that it could name, as on a CPU.
    return "cold" if "saved AOT compiled function to " in log else None


def _settings(client: httpx.Client) -> dict[str, str]:
    """The whole configuration, and the variables that were exported; without development mode the cache's."""
    # It describes the machine, too, which takes seconds.
    info = get_object(client, "/server_info?config_format=json", timeout_s=120.0) or {}
    config, exported = info.get("vllm_config"), info.get("vllm_env")
    if not isinstance(config, dict):
        return _cache_settings(client)
    known = exported if isinstance(exported, dict) else {}
    variables = {name: value for name, value in known.items() if name in os.environ}
    return flat(config, without=_NO_SETTINGS) | flat(variables, without=_DEV_MODE)


def _cache_settings(client: httpx.Client) -> dict[str, str]:
    page = get_answer(client, "/metrics")
    labels = info_labels(page.text, "vllm:cache_config_info") if page is not None else {}
    return {f"cache.{name}": value for name, value in labels.items() if name != "engine"}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
