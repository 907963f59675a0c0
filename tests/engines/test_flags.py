from __future__ import annotations

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines import flags
from pytest_llmperf.errors import EngineError

OWNED = ("--host", "--port", "-m", "--served-model-name")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("--port 8080", "--port"),
        ("--host=0.0.0.0", "--host=0.0.0.0"),
        ("-m other.gguf", "-m"),
        ("--served_model_name=m --port 1", "--served_model_name=m, --port"),
    ],
)
def test_what_the_run_chooses_is_not_for_a_subject_to_choose(given: str, named: str) -> None:
    with pytest.raises(EngineError) as caught:
        flags.refuse_owned(parse_subject(f"vllm {given}"), *OWNED)
    assert str(caught.value) == (
        f"vllm {given}: {named} is not for a subject to choose; a model is --llmperf-model, and a server "
        "at an address of your own is a subject by its URL"
    )


@pytest.mark.parametrize("given", ["", "-mg 0 --model-draft d.gguf", "--porter 1 --hosts"])
def test_flags_that_only_begin_alike_are_a_subjects_to_choose(given: str) -> None:
    flags.refuse_owned(parse_subject(f"vllm {given}"), *OWNED)


def test_a_subject_that_is_written_as_a_command_line_is_told_how_to_write_it() -> None:
    with pytest.raises(EngineError) as caught:
        flags.refuse_owned(parse_subject("vllm serve meta-llama/Llama-3.1-8B --api-key sk-hidden"), *OWNED)
    assert "'serve' is no flag; a subject is the engine and its flags" in str(caught.value)
    assert "sk-hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ("--tp-size 2", ["2"]),
        ("--tp-size=2", ["2"]),
        ("--tp_size=2", ["2"]),
        ("-tp 2", ["2"]),
        ("-tp=2", ["2"]),
        ("-tp 2 --tp-size 4", ["2", "4"]),
        ("--tp-size", [""]),
        ("--tp-size --other 2", [""]),
        ("--tp-size-too 2 -tpx 3 tp-size 4", []),
        ("", []),
    ],
)
def test_a_flag_is_found_in_every_spelling(args: str, found: list[str]) -> None:
    assert flags.values(args.split(), "--tp-size", "-tp") == found


@pytest.mark.parametrize(
    ("args", "size"),
    [("", 1), ("-tp 8", 8), ("-tp 8 -tp 2", 2), ("-tp auto", 1), ("-tp 0", 1), ("-tp -4", 1)],
)
def test_a_size_is_the_last_that_was_given(args: str, size: int) -> None:
    assert flags.size(parse_subject(f"vllm {args}"), "-tp") == size


@pytest.mark.parametrize(
    ("subject", "exported", "key"),
    [
        ("vllm", None, None),
        ("vllm --api-key sk-1", None, "sk-1"),
        ("vllm --api-key=sk-1", None, "sk-1"),
        ("vllm --api_key sk-1 sk-2", None, "sk-1"),
        ("vllm", "sk-3", "sk-3"),
        ("VLLM_API_KEY=sk-4 vllm", "sk-3", "sk-4"),
        ("VLLM_API_KEY= vllm", "sk-3", None),
        ("VLLM_API_KEY=sk-4 vllm --api-key sk-1", "sk-3", "sk-1"),
    ],
)
def test_the_key_that_the_server_was_started_with_is_the_one_to_send(
    subject: str, exported: str | None, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    if exported is not None:
        monkeypatch.setenv("VLLM_API_KEY", exported)
    assert flags.api_key(parse_subject(subject), "VLLM_API_KEY") == key


def test_a_key_that_no_header_can_carry_is_refused_and_not_shown() -> None:
    with pytest.raises(EngineError) as caught:
        flags.api_key(parse_subject("vllm --api-key 'sk hidden'"))
    assert str(caught.value) == "--api-key has blanks or odd characters in it; it is not shown here"
