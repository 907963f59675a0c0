"""TensorRT-LLM, by what it documents: not run on a real GPU yet.

Facts: ``trtllm-serve`` lies beside the interpreter of its environment; it binds its port at once, but listens
only when the model is loaded. A YAML file of options is ``--config``, ``--extra_llm_api_options`` in older
versions: it goes through as any flag. The served name cannot be chosen: it is the folder's, or the id.
``/metrics`` is JSON; Prometheus is at ``/prometheus/metrics``, and only with ``return_perf_metrics: true`` in
that YAML file. There is no way to reset the prefix cache. It runs a tree of processes under MPI, which takes
its time to end.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import flags
from pytest_llmperf.engines.hugging_face import HuggingFaceEngine, description_of
from pytest_llmperf.engines.openai import (
    aliased_counters,
    answers_200,
    get_answer,
    get_object,
)
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.resolved import flat, info_labels

COUNTERS = {
    "trtllm_num_requests_running": "running",
    "trtllm_num_requests_waiting": "waiting",
    "trtllm_kv_cache_utilization": "cache_use",
    "trtllm_prompt_tokens_total": "prompt_tokens",
    "trtllm_prompt_cached_tokens_total": "cached_prompt_tokens",
    "trtllm_spec_decode_num_draft_tokens_total": "draft_tokens",
    "trtllm_spec_decode_num_accepted_tokens_total": "accepted_tokens",
    "trtllm_request_queue_time_seconds_sum": "queue_s",
    "trtllm_request_prefill_time_seconds_sum": "prefill_s",
    "trtllm_request_decode_time_seconds_sum": "decode_s",
    "trtllm_request_queue_time_seconds_count": "timed_requests",
}
_PAGE = "/prometheus/metrics"
_CONFIGURATIONS = ("model", "parallel", "speculative", "cache", "kv_cache")


class TensorRtLlm(HuggingFaceEngine):
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "tensorrt-llm"
    distribution: str | None = "tensorrt-llm"
    stop_grace_s = 30.0

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        flags.refuse_owned(subject, "--host", "--port")
        program = str(Path(runtime.python).parent / "trtllm-serve")
        argv = (program, model, "--host", host, "--port", str(port), *subject.args)
        return Command(argv, dict(subject.env))

    def image(self, version: str) -> str | None:
        return f"nvcr.io/nvidia/tensorrt-llm/release:{version}"

    def gpus(self, subject: Subject) -> int:
        tensor = flags.size(subject, "--tensor-parallel-size", "--tp-size")
        pipeline = flags.size(subject, "--pipeline-parallel-size", "--pp-size")
        context = flags.size(subject, "--context-parallel-size", "--cp-size")
        return tensor * pipeline * context

    def api_key(self, subject: Subject) -> str | None:
        return None

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        return answers_200(client, "/health")

    def describe(self, client: httpx.Client, model: str) -> Description:
        return description_of(client, model, _settings)

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, COUNTERS, _PAGE)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        return None


def _settings(client: httpx.Client) -> dict[str, str]:
    """What ``/server_info`` has, which is little, and the configurations among the counters."""
    settings = flat(get_object(client, "/server_info") or {})
    if (page := get_answer(client, _PAGE)) is not None:
        for part in _CONFIGURATIONS:
            labels = info_labels(page.text, f"trtllm_{part}_config_info")
            settings |= {f"{part}.{name}": value for name, value in labels.items() if name != "engine_type"}
    return settings
