"""What a person may say of pairs, and what is said to pytest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pytest_llmperf.bisect.arguments import check_arguments, pair_arguments, telling_variables
from pytest_llmperf.declare.options import OPTIONS
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    "argument",
    [
        *(
            "--llmperf-engine=vllm",
            "--llmperf-against",
            "--llmperf-launches=3",
            "--llmperf-json",
            "--llmperf-update",
        ),
        *(
            "--llmperf-exit-codes=bisect",
            "--llmperf-baseline=main",
            "-n",
            "-n2",
            "-nauto",
            "--dist=load",
            "-x",
            "-qx",
        ),
        *("--maxfail=1", "--lf", "--stepwise", "--collect-only", "--pdb", "--trace", "--"),
    ],
)
def test_what_a_bisection_decides_itself_is_refused_with_a_way_out(argument: str) -> None:
    with pytest.raises(DeclarationError, match=r"^--?\S+: .*(leave it out|without it)"):
        check_arguments(["test_it.py", argument])


def test_what_else_pytest_takes_is_taken() -> None:
    check_arguments(
        ["t.py::test_x", "-k", "chat", "-m", "not slow", "-q", "-v", "-vv", "-s", "--llmperf-rates=1", "-rA"]
    )


def test_what_is_typed_outranks_variables_and_files(tmp_path: Path) -> None:
    engine = parse_subject("A=b llamacpp --api-key 'x y'")
    theirs = ("t.py",)
    arguments = pair_arguments(engine, parse_subject("llamacpp"), tmp_path / "r.json", None, theirs)
    assert "--llmperf-engine=A=b llamacpp --api-key 'x y'" in arguments
    assert arguments[-1] == "t.py"
    said = Counter(argument.partition("=")[0] for argument in arguments)
    refused = [
        option.flag
        for option in OPTIONS
        if option.name in ("engine", "against", "launches", "json", "exit-codes")
    ]
    assert [said[flag] for flag in refused] == [1] * 5
    assert not [argument for argument in arguments if argument.startswith("--bisect-explored")]


def test_variables_that_change_what_is_measured_are_part_of_the_question() -> None:
    said = {
        "LLMPERF_RATES": "1",
        "LLMPERF_MODEL": "https://me:pw@host/m",
        "PYTEST_ADDOPTS": "-q --hub-token s3cret",
        "LLMPERF_ENGINE": "vllm",
        "LLMPERF_GPUS": "1",
        "LLMPERF_API_KEY": "sk-1",
        "LLMPERF_SLO": "",
        "PATH": "/bin",
    }
    assert telling_variables(said) == {
        "LLMPERF_MODEL": "https://…@host/m",
        "LLMPERF_RATES": "1",
        "PYTEST_ADDOPTS": "-q --hub-token [redacted]",
    }
