"""Contract: as vLLM's versions document and answer it, not run here."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import MOMENTS, TOTALS, Runtime
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.errors import EngineError
from tests.engines.contract import MODELS, answering, tiny_model
from tests.servers import Wire, json_answer, scripted_server

INFO = "GET /server_info?config_format=json"
RUNTIME = Runtime("/envs/0.24.0/bin/python", "0.24.0")
CONFIGURATION = {
    "model_config": {"model": "/tmp/tiny", "dtype": "torch.bfloat16", "seed": 0, "max_model_len": 4096},
    "scheduler_config": {"max_num_batched_tokens": 512, "max_num_seqs": 256},
    "parallel_config": {"tensor_parallel_size": 1, "master_port": 29501, "_coord_store_port": 0},
    "observability_config": {"kv_cache_metrics": False},
    "instance_id": "1795312852296458455",
}
OLD_PAGE = """# HELP vllm:num_requests_running Number of requests in model execution batches.
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:gpu_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prompt_tokens_total{engine="0",model_name="m"} 1000.0
vllm:gpu_prefix_cache_queries_total{engine="0",model_name="m"} 1000.0
vllm:gpu_prefix_cache_hits_total{engine="0",model_name="m"} 64.0
vllm:num_preemptions_total{engine="0",model_name="m"} 1.0
vllm:cache_config_info{block_size="16",cpu_offload_gb="0",engine="0",num_gpu_blocks="27443"} 1.0
"""
NEW_PAGE = """vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 1.0
vllm:num_requests_waiting{engine="0",model_name="m"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 2.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.75
vllm:prompt_tokens_total{engine="0",model_name="m"} 600.0
vllm:prompt_tokens_total{engine="1",model_name="m"} 400.0
vllm:prompt_tokens_created{engine="0",model_name="m"} 1.7953128651730134e+09
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 600.0
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 64.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 9.0
vllm:num_preemptions_total{engine="0",model_name="m"} 1.0
vllm:request_num_preemptions_sum{engine="0",model_name="m"} 5.0
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 20.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 60.0
vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 45.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 18.0
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="m"} 90.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="m"} 100.0
vllm:iteration_tokens_total_count{engine="0",model_name="m"} 100.0
vllm:iteration_tokens_total_sum{engine="0",model_name="m"} 5200.0
vllm:request_queue_time_seconds_bucket{engine="0",le="0.3",model_name="m"} 4.0
vllm:request_queue_time_seconds_bucket{engine="0",le="+Inf",model_name="m"} 4.0
vllm:request_queue_time_seconds_count{engine="0",model_name="m"} 4.0
vllm:request_queue_time_seconds_count{engine="1",model_name="m"} 2.0
vllm:request_queue_time_seconds_sum{engine="0",model_name="m"} 0.25
vllm:request_queue_time_seconds_sum{engine="1",model_name="m"} 0.5
vllm:request_queue_time_seconds_created{engine="0",model_name="m"} 1.7953128651730134e+09
vllm:request_inference_time_seconds_sum{engine="0",model_name="m"} 9.5
vllm:request_prefill_time_seconds_count{engine="0",model_name="m"} 4.0
vllm:request_prefill_time_seconds_sum{engine="0",model_name="m"} 1.5
vllm:request_decode_time_seconds_count{engine="0",model_name="m"} 4.0
vllm:request_decode_time_seconds_sum{engine="0",model_name="m"} 8.0
"""


def command(subject: str, host: str = "127.0.0.1", model: str = "/models/tiny") -> tuple[str, dict[str, str]]:
    built = Vllm().command(parse_subject(subject), model, RUNTIME, host, 8123)
    return " ".join(built.argv), dict(built.env)


def test_it_is_started_by_the_interpreter_of_its_environment_with_the_flags_as_they_are() -> None:
    line, env = command("vllm --max-num-seqs 256 -cc '{\"mode\":3}' -tp=2")
    assert line == (
        "/envs/0.24.0/bin/python -m vllm.entrypoints.cli.main serve /models/tiny --host 127.0.0.1 "
        '--port 8123 --served-model-name tiny --max-num-seqs 256 -cc {"mode":3} -tp=2'
    )
    assert env == {"PYTHONSAFEPATH": "1", "VLLM_SERVER_DEV_MODE": "1"}
    assert "--served-model-name meta/l " in command("vllm", model="meta/l")[0] + " "


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_development_mode_is_for_this_machine_alone(host: str) -> None:
    assert command("vllm", host)[1]["VLLM_SERVER_DEV_MODE"] == "1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "engine.internal"])
def test_who_could_be_reached_by_others_has_no_development_mode(host: str) -> None:
    assert "VLLM_SERVER_DEV_MODE" not in command("vllm", host)[1]


def test_the_subjects_own_variables_win() -> None:
    env = command("VLLM_SERVER_DEV_MODE=0 OMP_NUM_THREADS=2 vllm")[1]
    assert env == {"PYTHONSAFEPATH": "1", "VLLM_SERVER_DEV_MODE": "0", "OMP_NUM_THREADS": "2"}


@pytest.mark.parametrize("flag", ["--host ::", "--port=1", "--uds /s", "--model m", "--served_model_name m"])
def test_what_the_run_chooses_is_refused(flag: str) -> None:
    with pytest.raises(EngineError, match="is not for a subject to choose"):
        command(f"vllm {flag}")


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ("", 1),
        ("-tp 2", 2),
        ("--tensor-parallel-size=4", 4),
        ("--tensor_parallel_size 4 --pipeline-parallel-size 2", 8),
        ("-tp 2 -pp 2 -dp 2", 8),
        ("-tp 2 -pcp 2 -dcp 2", 4),
        ("-tp 2 --data-parallel-size 16 --data-parallel-size-local 2", 4),
        ("--device cpu", 0),
    ],
)
def test_it_takes_as_many_gpus_as_its_ranks(flags: str, gpus: int) -> None:
    assert Vllm().gpus(parse_subject(f"vllm {flags}")) == gpus


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False), (404, False)])
def test_it_is_ready_when_it_says_that_it_is_healthy(status: int, ready: bool) -> None:
    with answering({"GET /health": status}) as client:
        assert Vllm().is_ready(client, parse_subject("vllm")) is ready


def test_it_describes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_ATTENTION_BACKEND", "TRITON_ATTN")
    answers = {
        "GET /v1/models": MODELS,
        "GET /version": {"version": "0.24.1.dev7+g0a1b2c3d4.cu129"},
        INFO: {
            "vllm_config": CONFIGURATION,
            "vllm_env": {"VLLM_ATTENTION_BACKEND": "TRITON_ATTN", "VLLM_USE_AOT_COMPILE": True},
            "system_env": {"env_vars": "HF_TOKEN=hf_hidden"},
        },
    }
    with answering(answers) as client:
        described = Vllm().describe(client, tiny_model(tmp_path / "tiny"))
    assert (described.model, described.version) == ("tiny", "0.24.1.dev7+g0a1b2c3d4.cu129")
    assert described.commit == "0a1b2c3d4"
    assert described.token_ids == range(300, 2048)
    assert described.settings == {
        "model.dtype": "torch.bfloat16",
        "model.max_model_len": "4096",
        "scheduler.max_num_batched_tokens": "512",
        "scheduler.max_num_seqs": "256",
        "parallel.tensor_parallel_size": "1",
        "VLLM_ATTENTION_BACKEND": "TRITON_ATTN",
    }


@pytest.mark.parametrize("info", [404, {"vllm_config": "model='/tmp/tiny', speculative_config=None"}])
def test_without_its_whole_configuration_there_is_that_of_its_cache(info: object) -> None:
    answers = {
        "GET /v1/models": MODELS,
        "GET /version": {"version": "0.10.2"},
        INFO: info,
        "GET /metrics": OLD_PAGE,
    }
    with answering(answers) as client:
        described = Vllm().describe(client, "meta/l")
    assert described.commit is None
    assert described.settings == {
        "cache.block_size": "16",
        "cache.cpu_offload_gb": "0",
        "cache.num_gpu_blocks": "about 27443",
    }


@pytest.mark.parametrize("page", [OLD_PAGE, NEW_PAGE], ids=["0.10", "0.32"])
def test_counters_have_the_same_names_and_values_in_all_versions(page: str) -> None:
    with answering({"GET /metrics": page}) as client:
        counted = Vllm().counters(client)
    assert set(counted) <= {*TOTALS, *MOMENTS}
    assert counted["prompt_tokens"] == 1000
    assert counted["cached_prompt_tokens"] == 64
    assert counted["preemptions"] == 1
    assert counted["waiting"] == 2


def test_counters_of_replicas_add_up_and_their_shares_do_not() -> None:
    with answering({"GET /metrics": NEW_PAGE}) as client:
        counted = Vllm().counters(client)
    assert (counted["running"], counted["cache_use"]) == (4, 0.5)
    assert (counted["draft_tokens"], counted["accepted_tokens"]) == (60, 45)


def test_phases_of_requests_are_sums_and_a_step_is_known_by_its_tokens() -> None:
    with answering({"GET /metrics": NEW_PAGE}) as client:
        counted = Vllm().counters(client)
    assert (counted["queue_s"], counted["prefill_s"], counted["decode_s"]) == (0.75, 1.5, 8)
    assert (counted["timed_requests"], counted["steps"], counted["step_tokens"]) == (6, 100, 5200)


@pytest.mark.parametrize(
    ("answer", "worked"),
    [
        ({"success": True}, True),
        ({"success": False}, False),  # blocks are still held
        (200, None),  # until 0.24 it did not say
        (404, None),  # not in development mode
        (500, False),
        ("<html>", False),
        ([True], False),
    ],
)
def test_whether_a_reset_worked_is_what_it_says(answer: object, worked: bool | None) -> None:
    with answering({"POST /reset_prefix_cache": answer}) as client:
        assert Vllm().reset_cache(client) is worked


def test_nobody_was_reset_who_does_not_answer() -> None:
    with answering({}) as client:
        url = client.base_url
    with httpx.Client(base_url=url, trust_env=False) as gone:
        assert Vllm().reset_cache(gone) is False
        assert Vllm().counters(gone) == {}


def test_settings_that_break_off_are_an_error_or_they_would_seem_to_have_changed() -> None:
    def answer(wire: Wire) -> None:
        if wire.request.path.startswith("/server_info"):
            wire.reset()
        else:
            wire.send(json_answer("200 OK", {**MODELS, "version": "0.32.0"}, "Connection: close"))

    with (
        scripted_server(answer, everything=True) as url,
        httpx.Client(base_url=url, trust_env=False) as client,
        pytest.raises(EngineError, match=r"GET /server_info\?config_format=json: ReadError"),
    ):
        Vllm().describe(client, "tiny")


def test_its_key_is_that_of_the_flag_or_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    assert Vllm().api_key(parse_subject("vllm")) is None
    assert Vllm().api_key(parse_subject("VLLM_API_KEY=sk-1 vllm")) == "sk-1"
    assert Vllm().api_key(parse_subject("VLLM_API_KEY=sk-1 vllm --api-key sk-2")) == "sk-2"
