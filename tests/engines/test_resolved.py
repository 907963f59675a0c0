from __future__ import annotations

import pytest

from pytest_llmperf.engines.resolved import flat, info_labels


def test_a_tree_becomes_flat_without_what_says_nothing() -> None:
    tree = {
        "scheduler_config": {"max_num_seqs": 128, "policy": "fcfs", "watermark": 0.0, "_resolved": True},
        "compilation_config": {"pass_config": {"fuse": False}, "sizes": [], "backend": "", "level": None},
    }
    assert flat(tree) == {
        "scheduler.max_num_seqs": "128",
        "scheduler.policy": "fcfs",
        "scheduler.watermark": "0.0",
        "compilation.pass.fuse": "False",
    }


@pytest.mark.parametrize(
    "name",
    [
        *("port", "nccl_port", "parallel.master_port", "data_parallel_rpc_port", "host", "model_path"),
        *(
            "random_seed",
            "model.seed",
            "instance_id",
            "compilation_time",
            "torch_profiler_dir",
            "master_addr",
        ),
        *("api_key", "admin_api_key", "hf_token", "ssl_keyfile_password", "launch_command", "node_rank"),
        *("model.model", "model.tokenizer", "tokenizer_path", "compilation.debug_dump_path"),
    ],
)
def test_what_always_differs_and_what_is_secret_is_left_out(name: str) -> None:
    assert flat({name: "x"}) == {}


@pytest.mark.parametrize("name", ["import_format", "timeout", "pathological", "max_model_len", "model.dtype"])
def test_names_that_only_look_alike_are_kept(name: str) -> None:
    assert flat({name: "x"}) == {name: "x"}


def test_what_a_pattern_names_is_left_out() -> None:
    assert flat({"a_config": {"x": 1}, "b": {"x": 1}}, without=r"^a\.") == {"b.x": "1"}


def test_long_values_are_shortened() -> None:
    sizes = flat({"cudagraph_capture_sizes": list(range(1, 200))})["cudagraph_capture_sizes"]
    assert sizes == "1, 2, 3, 4, … 199 (199)"
    assert len(flat({"text": "x" * 500})["text"]) == 100


def test_what_memory_allowed_is_marked_as_measured() -> None:
    assert flat({"cache_config": {"num_gpu_blocks": 27_443}}) == {"cache.num_gpu_blocks": "about 27443"}


@pytest.mark.parametrize(
    "name", ["speculative_draft_model_path", "speculative.model", "lora_paths", "quantization_param_path"]
)
def test_a_path_or_a_model_that_a_person_chose_is_a_setting(name: str) -> None:
    assert flat({name: "x"}) == {name: "x"}


def test_labels_of_an_info_metric_are_settings() -> None:
    page = """# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="16",engine="0",cpu_offload="None",note="a \\"b\\", c"} 1.0
vllm:cache_config_info_more{other="1"} 1.0
"""
    assert info_labels(page, "vllm:cache_config_info") == {
        "block_size": "16",
        "engine": "0",
        "note": 'a \\"b\\", c',
    }
    assert info_labels("", "vllm:cache_config_info") == {}
