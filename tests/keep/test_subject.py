from __future__ import annotations

import json

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.keep.subject import flags, subject_fields


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ("", {}),
        ("--parallel 4 -v", {"--parallel": "4", "-v": "on"}),
        ("--parallel=4", {"--parallel": "4"}),
        ("--rope a b --x", {"--rope": "a b", "--x": "on"}),
        ("--lora a --lora b --lora=c", {"--lora": "a b c"}),
        ("--temp -0.5 --n -1 --big -1e9", {"--temp": "-0.5", "--n": "-1", "--big": "-1e9"}),
        ("model.gguf --x", {"(argument)": "model.gguf", "--x": "on"}),
        ("--set a=b --set=c=d", {"--set": "a=b c=d"}),
        ("--x --x", {"--x": "on"}),
    ],
)
def test_flags_are_told_apart_from_their_values(args: str, found: dict[str, str]) -> None:
    assert flags(tuple(args.split())) == found


def test_the_two_spellings_of_a_flag_are_one() -> None:
    assert flags(("--parallel", "4")) == flags(("--parallel=4",))


def test_a_subject_is_kept_flat_with_all_that_can_differ() -> None:
    subject = parse_subject("VLLM_USE_V1=1 vllm==0.24.0 --max-num-seqs 256 --enforce-eager")
    description = Description("m", "0.24.0", settings={"max_model_len": "4096"})
    assert subject_fields(subject, description) == {
        "engine": "vllm",
        "version": "0.24.0",
        "flag --max-num-seqs": "256",
        "flag --enforce-eager": "on",
        "variable VLLM_USE_V1": "1",
        "setting max_model_len": "4096",
    }


def test_the_version_is_the_one_that_ran_and_not_the_one_asked_for() -> None:
    assert subject_fields(parse_subject("vllm==0.24.0"), Description("m", "0.24.0+cu128"))["version"] == (
        "0.24.0+cu128"
    )


def test_a_checkout_keeps_its_path_and_a_server_its_address() -> None:
    assert subject_fields(parse_subject("vllm@src"), Description("m", None)) == {
        "engine": "vllm",
        "version": "unknown",
        "path": "src",
    }
    assert (
        subject_fields(parse_subject("http://gpu:8000/v1"), Description("m", "1"))["engine"]
        == "http://gpu:8000"
    )


def test_no_secret_is_kept_wherever_it_stood() -> None:
    subject = parse_subject(
        "FOO_TOKEN=hunter2 vllm --api-key hunter2 hunter2 --hf-token=hunter2 --port 1 --auth-key hunter2"
    )
    kept = subject_fields(
        subject, Description("m", "1", settings={"api_key": "hunter2", "ssl_password": "hunter2", "n": "1"})
    )
    assert "hunter2" not in json.dumps(kept)
    assert kept == {
        "engine": "vllm",
        "version": "1",
        "flag --api-key": "[redacted] [redacted]",
        "flag --hf-token": "[redacted]",
        "flag --port": "1",
        "flag --auth-key": "[redacted]",
        "variable FOO_TOKEN": "[redacted]",
        "setting n": "1",
    }
