from __future__ import annotations

import re

import pytest

from pytest_llmperf.declare.place import ModalPlace, parse_place
from pytest_llmperf.errors import DeclarationError


def test_this_machine_is_the_place_called_local() -> None:
    assert parse_place("local") is None


def test_modal_alone_has_the_documented_defaults() -> None:
    assert parse_place("modal") == ModalPlace(
        gpu=None, timeout_s=3600, load="there", app="pytest-llmperf", cpu=8, memory_mib=32768
    )


def test_every_word_is_read() -> None:
    text = (
        "modal gpu=H100!:2 region=us-east image=vllm/vllm-openai:v0.24.0 volume=hf-cache:/cache "
        "volume=models:/models/ secrets=hf-token,other timeout=7200 load=here app=mine cpu=16 memory=65536"
    )
    assert parse_place(text) == ModalPlace(
        gpu="H100!:2",
        region="us-east",
        image="vllm/vllm-openai:v0.24.0",
        volumes=(("hf-cache", "/cache"), ("models", "/models")),
        secrets=("hf-token", "other"),
        timeout_s=7200,
        load="here",
        app="mine",
        cpu=16,
        memory_mib=65536,
    )


@pytest.mark.parametrize(
    ("written", "meant", "count"),
    [("H100", "H100!", 1), ("h100!", "H100!", 1), ("H100:4", "H100!:4", 4), ("L40S:1", "L40S", 1)],
)
def test_the_gpu_is_pinned_to_the_type_that_was_named(written: str, meant: str, count: int) -> None:
    place = parse_place(f"modal gpu={written}")
    assert place is not None
    assert (place.gpu, place.gpus) == (meant, count)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("modl", "'modl': valid: local, modal gpu=H100! …"),
        ("", "'': valid: local, modal gpu=H100! …"),
        ("local gpu=H100", "'gpu=H100': local takes no words"),
        ("modal 'gpu", "No closing quotation"),
        ("modal gpus=H100", "'gpus=H100': not a word of modal (did you mean gpu=?); valid: gpu=, region=, "),
        ("modal H100", "'H100': not a word of modal; valid: gpu="),
        ("modal gpu", "'gpu': expected gpu=VALUE"),
        ("modal gpu=", "'gpu=': expected gpu=VALUE"),
        ("modal gpu=A100", "'gpu=A100': Modal may give several types for it; name A100-40GB or A100-80GB"),
        ("modal gpu=B200+", "'gpu=B200+': Modal may give several types for it; name B200 without the +"),
        ("modal gpu=H100:x", "'gpu=H100:x': expected a type and a count"),
        ("modal gpu=L4 gpu=T4", "'gpu=T4': a second gpu="),
        ("modal volume=x", "'volume=x': expected NAME:/PATH"),
        ("modal volume=x:/", "'volume=x:/': expected NAME:/PATH"),
        ("modal timeout=10", "'timeout=10': a whole number from 60 to 86400"),
        ("modal timeout=1e3", "'timeout=1e3': a whole number from 60 to 86400"),
        ("modal load=everywhere", "'load=everywhere': there (in the engine's container) or here"),
        ("modal app=my/app", "'app=my/app': not a name"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_can(text: str, why: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(why)):
        parse_place(text)
