"""Contract: as TensorRT-LLM documents it; it was not run, here or anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.tensorrt_llm import TensorRtLlm
from pytest_llmperf.errors import EngineError
from tests.engines.contract import MODELS, answering, tiny_model

PAGE = """# TYPE trtllm_num_requests_running gauge
trtllm_num_requests_running{engine_type="undefined",model_name="undefined"} 3.0
trtllm_num_requests_waiting{engine_type="undefined",model_name="undefined"} 2.0
trtllm_kv_cache_utilization{engine_type="undefined",model_name="undefined"} 0.25
trtllm_kv_cache_hit_rate{engine_type="undefined",model_name="undefined"} 0.5
trtllm_prompt_tokens_total{engine_type="undefined",model_name="undefined"} 1000.0
trtllm_prompt_cached_tokens_total{engine_type="undefined",model_name="undefined"} 64.0
trtllm_prompt_cache_hit_tokens_total{cache_level="0",cache_tier="gpu"} 64.0
trtllm_spec_decode_num_draft_tokens_total{engine_type="undefined"} 60.0
trtllm_spec_decode_drafted_tokens_total{token_position="0"} 60.0
trtllm_spec_decode_num_accepted_tokens_total{engine_type="undefined"} 45.0
trtllm_request_queue_time_seconds_sum{engine_type="undefined",model_name="undefined"} 0.5
trtllm_request_queue_time_seconds_count{engine_type="undefined",model_name="undefined"} 4.0
trtllm_request_prefill_time_seconds_sum{engine_type="undefined",model_name="undefined"} 1.5
trtllm_request_decode_time_seconds_sum{engine_type="undefined",model_name="undefined"} 8.0
trtllm_model_config_info{dtype="bfloat16",engine_type="undefined",model="/m/tiny",quantization="none"} 1.0
trtllm_parallel_config_info{engine_type="undefined",gpu_count="2",tensor_parallel_size="2"} 1.0
"""


def test_it_is_started_by_the_script_beside_the_interpreter() -> None:
    subject = parse_subject("TLLM_LOG_LEVEL=ERROR tensorrt-llm --tp_size 2 --extra_llm_api_options o.yaml")
    built = TensorRtLlm().command(subject, "/models/tiny", Runtime("/e/bin/python"), "127.0.0.1", 8123)
    assert " ".join(built.argv) == (
        "/e/bin/trtllm-serve /models/tiny --host 127.0.0.1 --port 8123 "
        "--tp_size 2 --extra_llm_api_options o.yaml"
    )
    assert built.env == {"TLLM_LOG_LEVEL": "ERROR"}


def test_an_interpreter_without_a_path_has_it_on_the_path() -> None:
    built = TensorRtLlm().command(parse_subject("tensorrt-llm"), "m", Runtime("python3"), "0.0.0.0", 1)
    assert built.argv[0] == "trtllm-serve"


@pytest.mark.parametrize("flag", ["--host ::", "--port=1"])
def test_what_the_run_chooses_is_refused(flag: str) -> None:
    with pytest.raises(EngineError, match="is not for a subject to choose"):
        TensorRtLlm().command(parse_subject(f"tensorrt-llm {flag}"), "m", Runtime("python"), "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ("", 1),
        ("--tp_size 2", 2),
        ("--tensor_parallel_size=4 --pp_size 2", 8),
        ("--cp_size 2 --ep_size 4", 2),
    ],
)
def test_it_takes_as_many_gpus_as_its_ranks(flags: str, gpus: int) -> None:
    assert TensorRtLlm().gpus(parse_subject(f"tensorrt-llm {flags}")) == gpus


@pytest.mark.parametrize(("status", "ready"), [(200, True), (503, False)])
def test_it_is_ready_when_it_says_that_it_is_healthy(status: int, ready: bool) -> None:
    with answering({"GET /health": status}) as client:
        assert TensorRtLlm().is_ready(client, parse_subject("tensorrt-llm")) is ready


def test_it_describes_itself(tmp_path: Path) -> None:
    answers = {
        "GET /v1/models": MODELS,
        "GET /version": {"version": "1.2.1"},
        "GET /server_info": {"disaggregated_params": {}},
        "GET /prometheus/metrics": PAGE,
    }
    with answering(answers) as client:
        described = TensorRtLlm().describe(client, tiny_model(tmp_path / "tiny"))
    assert (described.model, described.version, described.commit) == ("tiny", "1.2.1", None)
    assert described.settings == {
        "model.dtype": "bfloat16",
        "model.quantization": "none",
        "parallel.gpu_count": "2",
        "parallel.tensor_parallel_size": "2",
    }


def test_older_versions_tell_nothing_of_their_settings() -> None:
    answers = {"GET /v1/models": MODELS, "GET /version": {"version": "0.20.0"}, "GET /metrics": []}
    with answering(answers) as client:
        assert TensorRtLlm().describe(client, "meta/l").settings == {}
        assert TensorRtLlm().counters(client) == {}


def test_counters_have_the_common_names() -> None:
    with answering({"GET /prometheus/metrics": PAGE, "GET /metrics": []}) as client:
        assert TensorRtLlm().counters(client) == {
            "running": 3,
            "waiting": 2,
            "cache_use": 0.25,
            "prompt_tokens": 1000,
            "cached_prompt_tokens": 64,
            "draft_tokens": 60,
            "accepted_tokens": 45,
            "queue_s": 0.5,
            "timed_requests": 4,
            "prefill_s": 1.5,
            "decode_s": 8,
        }


def test_there_is_no_reset_and_nothing_is_asked_for_it() -> None:
    seen: list[str] = []
    with answering({}, seen) as client:
        assert TensorRtLlm().reset_cache(client) is None
    assert seen == []
