"""Launches of real engines, recorded, are judged again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.judge.evidence import KIND, VERSION, replay
from pytest_llmperf.judge.verdict import Verdict

RESULTS = Path(__file__).resolve().parents[2] / "bench" / "judge" / "results"
SAME = ("llamacpp-same.json", "vllm-same.json")


def recorded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((RESULTS / name).read_text())
    assert content[KIND] == VERSION
    return content


def sessions(*names: str) -> list[Any]:
    return [
        pytest.param(content, session, id=f"{name.removesuffix('.json')}-{number}")
        for name in names
        for content in [recorded(name)]
        for number, session in enumerate(content["sessions"], 1)
        if session["metrics"]
    ]


def judged(content: dict[str, Any], session: dict[str, Any]) -> dict[str, Verdict]:
    least, most = map(int, content["launches"].split(".."))
    changes = replay(session, least, most)
    return {
        metric["metric"]: change.verdict for metric, change in zip(session["metrics"], changes, strict=True)
    }


@pytest.mark.parametrize(("content", "session"), sessions(*SAME))
def test_a_version_is_never_worse_than_itself(content: dict[str, Any], session: dict[str, Any]) -> None:
    assert content["candidate"] == content["base"]
    assert Verdict.REGRESSED not in judged(content, session).values()


@pytest.mark.parametrize(("content", "session"), sessions("llamacpp-upgrade.json"))
def test_the_slower_release_of_llamacpp_is_found_every_time(
    content: dict[str, Any], session: dict[str, Any]
) -> None:
    assert "version: 2026.4.8672 → 2026.10.11549" in content["differences"]
    assert judged(content, session)["tpot_p50_ms"] is Verdict.REGRESSED


def test_what_a_small_batch_does_to_vllm_is_found() -> None:
    content = recorded("vllm-max-num-batched-tokens-512.json")
    (session,) = content["sessions"]
    assert judged(content, session)["tpot_p50_ms"] is Verdict.IMPROVED
