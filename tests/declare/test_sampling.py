from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_llmperf.declare.sampling import check_sampling
from pytest_llmperf.errors import DeclarationError


def test_fields_are_kept_by_name_and_can_be_hashed() -> None:
    found = check_sampling({"top_p": 0.9, "temperature": 0.7, "bad_words": ["a", "b"], "seed": None})
    assert found == (("bad_words", ("a", "b")), ("seed", None), ("temperature", 0.7), ("top_p", 0.9))
    hash(found)
    assert check_sampling(found) == found
    assert json.loads(json.dumps(dict(found)))["bad_words"] == ["a", "b"]


@pytest.mark.parametrize(
    "name",
    ["model", "prompt", "messages", "stream", "stream_options", "max_tokens", "ignore_eos", "n", "stop"],
)
def test_a_field_that_the_generator_decides_on_is_refused_with_all_of_them(name: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        check_sampling({"temperature": 1, name: 1})
    assert str(caught.value) == (
        f"{name}: what is asked and how long an answer is follow from the rest of the workload, so these "
        "cannot be given: model, prompt, messages, stream, stream_options, max_tokens, "
        "max_completion_tokens, min_tokens, ignore_eos, n, best_of, echo, stop, stop_token_ids"
    )


@pytest.mark.parametrize("fields", ["temperature", None, 5, {1: 2}, {"": 2}])
def test_what_is_no_mapping_of_names_is_refused(fields: Any) -> None:
    with pytest.raises(DeclarationError, match="names and values, as in"):
        check_sampling(fields)


@pytest.mark.parametrize(
    "value", [{"a": 1}, pytest.param(object(), id="object"), float("nan"), [1, {}], 1j], ids=repr
)
def test_a_value_that_is_none_of_json_s_plain_ones_is_named(value: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^x=.*: a number, a text, True, False, None, or a list"):
        check_sampling({"x": value})
