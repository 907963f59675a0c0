"""Contract: as SGLang's versions document and answer it, not run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.engines.sglang import Sglang
from pytest_llmperf.errors import EngineError
from tests.engines.contract import MODELS, answering, tiny_model

SGLANG = parse_subject("sglang")
INFO = {
    "model_path": "/models/tiny",
    "tp_size": 1,
    "chunked_prefill_size": 8192,
    "attention_backend": "triton",
    "speculative_algorithm": None,
    "mem_fraction_static": 0.88,
    "random_seed": 410923,
    "port": 8123,
    "nccl_port": 29013,
    "api_key": "sk-hidden",
    "log_level": "info",
    "launch_command": "python -m sglang.launch_server --api-key sk-hidden",
    "max_total_num_tokens": 457_213,
    "internal_states": [{"last_gen_throughput": 31.4, "avg_spec_accept_length": None}],
    "startup_time": 41.2,
    "version": "0.5.16.post1.dev3+gabcdef012",
}
PAGE = """# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="tiny",tp_rank="0"} 3.0
sglang:num_queue_reqs{model_name="tiny",tp_rank="0"} 2.0
sglang:token_usage{model_name="tiny",tp_rank="0"} 0.25
sglang:cache_hit_rate{model_name="tiny",tp_rank="0"} 0.5
sglang:prompt_tokens_total{model_name="tiny"} 1000.0
sglang:cached_tokens_total{cache_source="device",model_name="tiny"} 60.0
sglang:cached_tokens_total{cache_source="host",model_name="tiny"} 4.0
sglang:num_retracted_reqs{model_name="tiny"} 0.0
sglang:num_retracted_requests_total{model_name="tiny"} 7.0
sglang:spec_accept_length{model_name="tiny"} 2.5
sglang:queue_time_seconds_bucket{le="0.1",model_name="tiny",tp_rank="0"} 4.0
sglang:queue_time_seconds_sum{model_name="tiny",tp_rank="0"} 1.25
sglang:queue_time_seconds_count{model_name="tiny",tp_rank="0"} 5.0
"""


def test_it_is_started_by_the_module_that_all_versions_have() -> None:
    subject = parse_subject("FOO=1 sglang --mem-fraction-static 0.8 --attention-backend triton")
    built = Sglang().command(subject, "/models/tiny", Runtime("/e/bin/python"), "127.0.0.1", 8123)
    assert " ".join(built.argv) == (
        "/e/bin/python -m sglang.launch_server --model-path /models/tiny --host 127.0.0.1 --port 8123 "
        "--served-model-name tiny --enable-metrics --mem-fraction-static 0.8 --attention-backend triton"
    )
    assert built.env == {"PYTHONSAFEPATH": "1", "FOO": "1"}


@pytest.mark.parametrize("flag", ["--host ::", "--port=1", "--model-path m", "--model m", "--model_path=m"])
def test_what_the_run_chooses_is_refused(flag: str) -> None:
    with pytest.raises(EngineError, match="is not for a subject to choose"):
        Sglang().command(parse_subject(f"sglang {flag}"), "m", Runtime("python"), "127.0.0.1", 1)


@pytest.mark.parametrize(
    ("flags", "gpus"),
    [
        ("", 1),
        ("--tp 2", 2),
        ("--tp-size=4 --pp-size 2", 8),
        ("--tensor-parallel-size 2 --data-parallel-size 2", 4),
        ("--tp 4 --dp 4 --enable-dp-attention", 4),
        ("--tp 16 --nnodes 2", 8),
        ("--device cpu --tp 2", 0),
    ],
)
def test_it_takes_as_many_gpus_as_its_ranks(flags: str, gpus: int) -> None:
    assert Sglang().gpus(parse_subject(f"sglang {flags}")) == gpus


@pytest.mark.parametrize(
    ("answers", "ready"),
    [
        ({"GET /ready": 200, "GET /health_generate": 503}, True),
        ({"GET /ready": 503, "GET /health": 200}, False),
        ({"GET /health_generate": 200}, True),
        ({"GET /health_generate": 503, "GET /health": 200}, False),
        ({"GET /health": 200}, False),
    ],
    ids=["0.5.23", "0.5.23 starts", "0.5.16", "0.4.6 warms up", "not SGLang"],
)
def test_it_is_ready_when_it_can_generate(answers: dict[str, int], ready: bool) -> None:
    with answering(answers) as client:
        assert Sglang().is_ready(client, SGLANG) is ready


@pytest.mark.parametrize("path", ["/server_info", "/get_server_info"])
def test_it_describes_itself_in_old_and_new_versions(path: str, tmp_path: Path) -> None:
    with answering({"GET /v1/models": MODELS, f"GET {path}": INFO}) as client:
        described = Sglang().describe(client, tiny_model(tmp_path / "tiny"))
    assert (described.model, described.version) == ("tiny", "0.5.16.post1.dev3+gabcdef012")
    assert described.commit == "abcdef012"
    assert described.token_ids == range(300, 2048)
    assert described.settings == {
        "tp_size": "1",
        "chunked_prefill_size": "8192",
        "attention_backend": "triton",
        "mem_fraction_static": "0.88",
        "max_total_num_tokens": "about 457213",
    }


def test_the_name_of_a_page_that_is_deprecated_is_not_asked_for_in_vain() -> None:
    seen: list[str] = []
    with answering({"GET /v1/models": MODELS, "GET /server_info": INFO}, seen) as client:
        Sglang().describe(client, "tiny")
    assert sorted(seen) == ["GET /server_info", "GET /v1/models"]


def test_what_is_not_sglang_is_an_error() -> None:
    with (
        answering({"GET /v1/models": MODELS}) as client,
        pytest.raises(EngineError, match="neither /server_info"),
    ):
        Sglang().describe(client, "tiny")


def test_counters_have_the_common_names() -> None:
    with answering({"GET /metrics": PAGE}) as client:
        assert Sglang().counters(client) == {
            "running": 3,
            "waiting": 2,
            "cache_use": 0.25,
            "prompt_tokens": 1000,
            "cached_prompt_tokens": 64,
            "preemptions": 7,
            "queue_s": 1.25,
            "timed_requests": 5,
        }


@pytest.mark.parametrize(("status", "worked"), [(200, True), (400, False), (401, False)])
def test_a_flush_that_is_refused_did_not_work(status: int, worked: bool) -> None:
    with answering({"POST /flush_cache": status}) as client:
        assert Sglang().reset_cache(client) is worked


def test_its_key_is_that_of_the_flag() -> None:
    assert Sglang().api_key(parse_subject("sglang --api-key sk-1")) == "sk-1"
    assert Sglang().api_key(SGLANG) is None
