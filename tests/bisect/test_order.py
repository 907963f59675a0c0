"""What is typed, and typed again."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest

from pytest_llmperf import cli
from pytest_llmperf.bisect import run
from pytest_llmperf.bisect.order import BisectOrder

COMMITS = (
    "--repository ../vllm --subject 'vllm@{checkout} --seed 1' --build 'make -j' --wheel '{checkout}/dist/'"
)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[BisectOrder]:
    """What the command would do."""
    found: list[BisectOrder] = []

    def note(order: BisectOrder) -> int:
        found.append(order)
        return 0

    monkeypatch.setattr(run, "run_bisection", note)
    return found


@pytest.mark.parametrize(
    "words",
    [
        "--good vllm==0.22.1 --bad vllm==0.24.0 releases -- tests",
        "--good vllm==0.22.1 --bad vllm==0.24.0 releases --pre --yanked --out elsewhere -- tests -k 'a b'",
        "--good 'A=1 vllm' --bad 'vllm --x \"a b\"' flags --metric ttft_p50_ms --confidence 99.5% -- tests",
        f"--good v1 --bad main commits {COMMITS} --paths a --paths b --build-timeout 60 -- tests",
    ],
)
def test_the_command_that_is_told_does_the_same(orders: list[BisectOrder], words: str) -> None:
    assert cli.main(["bisect", *shlex.split(words)]) == 0
    (first,) = orders
    assert first.kind is not None
    program, *again = first.command(first.kind)
    assert program == "llmperf"
    assert cli.main(again) == 0
    assert orders == [first, first]


def test_what_is_nothing_special_is_not_told(orders: list[BisectOrder]) -> None:
    words = "bisect --good vllm==1 --bad vllm==2 releases -- tests"
    assert cli.main(words.split()) == 0
    assert orders[0].command("releases") == ["llmperf", *words.split()]
    other = dataclasses.replace(orders[0], out=Path("elsewhere"))
    assert "--out" in other.command("releases")


def test_no_command_shows_a_secret(orders: list[BisectOrder]) -> None:
    words = (
        "bisect --good v1 --bad 'A_TOKEN=s3cret vllm --api-key s3cret' commits "
        "--subject 'A_TOKEN=s3cret vllm@{wheel} --api-key s3cret' --build 'get https://me:s3cret@host' "
        "--wheel 'https://me:s3cret@host/{commit}' -- tests --llmperf-header-key s3cret"
    )
    assert cli.main(shlex.split(words)) == 0
    told = " ".join(orders[0].command("commits"))
    assert "s3cret" not in told
    assert told.count("[redacted]") == 5
