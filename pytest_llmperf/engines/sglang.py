"""SGLang.

Facts: ``python -m sglang.launch_server`` starts old and new versions (new ones say that they prefer ``sglang
serve``). The server listens before it can generate. New versions have ``/ready``; ``/health_generate``
generates a token, which takes a second and up to 20; ``/health`` is either of these or nothing at all,
by version. ``/server_info`` was ``/get_server_info``, and both warn of each other. Counters need
``--enable-metrics``, which is set here. ``/flush_cache`` answers 400 while requests run. A SIGTERM lets
requests end first, without a bound; sent to the children as well, the parent would report a crash.
Graphs are compiled and captured at every start. Kernels (DeepGEMM, FlashInfer, Triton) are kept on disk, but
the log is the same whether they were found there: it announces a compilation either way.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import flags, models
from pytest_llmperf.engines.hugging_face import HuggingFaceEngine
from pytest_llmperf.engines.openai import (
    aliased_counters,
    ask,
    commit_in,
    get_object,
    served_models,
)
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.resolved import flat
from pytest_llmperf.engines.startup import Startup, phases_in
from pytest_llmperf.errors import EngineError

# Acceptance of drafts is told as a mean length only, which is no total.
COUNTERS = {
    "sglang:num_running_reqs": "running",
    "sglang:num_queue_reqs": "waiting",
    "sglang:token_usage": "cache_use",
    "sglang:prompt_tokens_total": "prompt_tokens",
    "sglang:cached_tokens_total": "cached_prompt_tokens",
    "sglang:num_retracted_requests_total": "preemptions",
    "sglang:queue_time_seconds_sum": "queue_s",
    "sglang:queue_time_seconds_count": "timed_requests",
}
PHASES = {
    "weights": (r"Load weight end\. elapsed=SECONDS s",),  # not told by versions before some 0.5
    # Until 0.5.10 "Time elapsed: 22.74 s", then "elapsed=16.40 s"; one line for each kind of graph.
    "graph_capture": (r"Capture .*(?:cuda|CUDA) graph end\. (?:Time elapsed: |elapsed=)SECONDS s",),
}
_NO_SETTINGS = r"^(startup|kv_events|decode_log|log_|show_time|crash_dump|watchdog|version$|frontend$)"


class Sglang(HuggingFaceEngine):
    """See :class:`~pytest_llmperf.engines.protocol.Engine`."""

    name = "sglang"
    distribution: str | None = "sglang"
    stop_grace_s = 15.0

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        flags.refuse_owned(subject, "--host", "--port", "--model-path", "--model", "--served-model-name")
        argv = (
            *(runtime.python, "-m", "sglang.launch_server", "--model-path", model),
            *("--host", host, "--port", str(port), "--served-model-name", models.served_name(model)),
            *("--enable-metrics", *subject.args),
        )
        # Or a folder `sglang` in the working directory would be imported.
        return Command(argv, {"PYTHONSAFEPATH": "1"} | dict(subject.env))

    def image(self, version: str) -> str | None:
        return f"lmsysorg/sglang:v{version}"

    def gpus(self, subject: Subject) -> int:
        if flags.values(subject.args, "--device")[-1:] == ["cpu"]:
            return 0
        tensor = flags.size(subject, "--tensor-parallel-size", "--tp-size", "--tp")
        pipeline = flags.size(subject, "--pipeline-parallel-size", "--pp-size", "--pp")
        data = flags.size(subject, "--data-parallel-size", "--dp-size", "--dp")
        # The replicas of its attention share the GPUs of tensor parallelism.
        is_inside = flags.values(subject.args, "--enable-dp-attention")
        nodes = flags.size(subject, "--nnodes")
        return max(1, tensor * pipeline * (1 if is_inside else data) // nodes)

    def api_key(self, subject: Subject) -> str | None:
        return flags.api_key(subject)

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        try:
            answer = ask(client, "GET", "/ready", timeout_s=5.0)
            if answer.status_code == 404:
                answer = ask(client, "GET", "/health_generate", timeout_s=30.0)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    def describe(self, client: httpx.Client, model: str) -> Description:
        name = str(served_models(client)[0]["id"])
        info = get_object(client, "/server_info")
        if info is None and (info := get_object(client, "/get_server_info")) is None:
            raise EngineError("neither /server_info nor /get_server_info is there, as SGLang has them")
        version = str(info["version"]) if info.get("version") else None
        return Description(
            model=name,
            version=version,
            commit=commit_in(version),
            settings=flat(info, without=_NO_SETTINGS),
            token_ids=models.token_ids(model),
        )

    def startup(self, log: str) -> Startup:
        return startup(log)

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return aliased_counters(client, COUNTERS)

    def reset_cache(self, client: httpx.Client) -> bool | None:
        try:
            return ask(client, "POST", "/flush_cache").status_code == 200
        except httpx.HTTPError:
            return False


def startup(log: str) -> Startup:
    """See :meth:`~pytest_llmperf.engines.protocol.Engine.startup`; of a log that is SGLang's."""
    return Startup(None, phases_in(log, PHASES))
