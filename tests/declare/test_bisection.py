from __future__ import annotations

import pytest

from pytest_llmperf.declare.bisection import REFUSED, refusal, without_refused
from pytest_llmperf.declare.options import OPTIONS, Option


@pytest.mark.parametrize(
    "word", [*REFUSED, "-qx", "-xvs", "-n4", "-nauto", "--llmperf-json=a", "--maxfail=2"]
)
def test_what_a_bisection_refuses_has_a_reason(word: str) -> None:
    assert refusal(word)


@pytest.mark.parametrize(
    "word", ["-q", "-k", "-m", "-vv", "t.py::test_x", "--llmperf-rates=1", "--no-header", "-"]
)
def test_other_arguments_are_taken(word: str) -> None:
    assert refusal(word) is None


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_an_option_that_is_left_out_takes_its_value_with_it(option: Option) -> None:
    name = option.flag
    is_refused = name in REFUSED
    words = [name] if option.metavar is None else [name, "value"]
    assert without_refused(["a", *words, "b"]) == (["a", "b"] if is_refused else ["a", *words, "b"])
    assert without_refused(["a", f"{name}=value", "b"]) == (
        ["a", "b"] if is_refused else ["a", f"{name}=value", "b"]
    )
