from __future__ import annotations

from typing import Any

import pytest

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.0, 128.5, True, "128", None], ids=repr)
def test_a_length_that_is_no_number_of_tokens_is_named(name: str, value: Any) -> None:
    lengths: dict[str, Any] = {"input_tokens": 16, "output_tokens": 8, name: value}
    with pytest.raises(DeclarationError) as caught:
        Workload(**lengths)
    assert str(caught.value) == f"Workload({name}={value!r}): a whole number of tokens, at least 1"


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_a_length_that_no_engine_has_is_named(name: str) -> None:
    lengths: dict[str, Any] = {"input_tokens": 16, "output_tokens": 8}
    Workload(**lengths | {name: 10_000_000})
    with pytest.raises(DeclarationError) as caught:
        Workload(**lengths | {name: 10_000_001})
    assert str(caught.value) == f"Workload({name}=10000001): at most 10000000 tokens"


@pytest.mark.parametrize("value", [1, 0, "yes", None], ids=repr)
def test_chat_is_true_or_false(value: Any) -> None:
    with pytest.raises(DeclarationError, match=r"Workload\(chat=.*\): True or False"):
        Workload(input_tokens=16, output_tokens=8, chat=value)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        (Workload(input_tokens=1024, output_tokens=128), "1024 in / 128 out"),
        (Workload(input_tokens=1, output_tokens=1, chat=True), "1 in / 1 out chat"),
    ],
)
def test_a_workload_is_shown_in_a_few_words(workload: Workload, text: str) -> None:
    assert str(workload) == text


def test_lengths_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Workload(1024, 128)  # type: ignore[call-arg]
