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
    assert Verdict.REGRESSED in judged(content, session).values()


def test_one_bad_launch_of_a_version_does_not_speak_against_it() -> None:
    """Base and candidate are one build; the base's second launch had nearly twice the TTFT."""
    (session,) = recorded("vllm-same.json")["sessions"]
    ttft = next(metric for metric in session["metrics"] if metric["metric"] == "ttft_p50_ms")
    assert max(ttft["base"]) > 1.8 * min(ttft["base"])
    turned = [
        metric | {"base": metric["candidate"], "candidate": metric["base"]} for metric in session["metrics"]
    ]
    for one in (session, session | {"metrics": turned}):
        assert Verdict.REGRESSED not in {change.verdict for change in replay(one, 3, 4)}


def test_what_a_small_batch_does_to_vllm_is_found() -> None:
    content = recorded("vllm-max-num-batched-tokens-512.json")
    (session,) = content["sessions"]
    verdicts = judged(content, session)
    assert (verdicts["ttft_p50_ms"], verdicts["ttft_p95_ms"]) == (Verdict.REGRESSED, Verdict.REGRESSED)
    assert verdicts["output_tokens_per_s"] is Verdict.PASS
