"""The real llama.cpp."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.local import LocalProcess


def launch(tmp_path: Path, subject: str) -> Launch:
    return Launch(
        parse_subject(subject),
        LlamaCpp(),
        None,
        place=LocalProcess(),
        log=tmp_path / "log",
        startup_timeout_s=60,
        request_timeout_s=60,
        waiting=lambda elapsed_s, line: None,
        watch=lambda sent, ended: None,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launch]:
    started = launch(tmp_path_factory.mktemp("engine"), "llamacpp --parallel 3 --ctx-size 6144")
    yield started
    started.stop()


def test_it_describes_itself(running: Launch) -> None:
    description = running.description
    assert description.version == importlib.metadata.version("xllamacpp")
    assert description.settings == {"total_slots": "3", "n_ctx_per_slot": "6144"}
    assert description.token_ids is not None
    assert description.token_ids.stop == 2048


def test_it_tells_how_long_its_start_took_phase_by_phase(running: Launch) -> None:
    assert running.startup_s is not None
    assert list(running.startup_s) == ["spawned", "port", "healthy", "first_token", "first_answer"]
    times = list(running.startup_s.values())
    assert times[0] > 0
    assert times == sorted(times)


def test_every_word_of_the_list_is_one_token(running: Launch) -> None:
    text = " " + " ".join(WORDS)
    answer = httpx.post(f"{running.server.url}/tokenize", content=json.dumps({"content": text}))
    assert len(answer.json()["tokens"]) == len(WORDS)


@pytest.mark.parametrize("ending", [True, False])
def test_greedy_decoding_never_ends_early_and_is_whole_text(running: Launch, ending: bool) -> None:
    body = {"prompt": [500, 600, 700], "max_tokens": 300, "temperature": 0, "ignore_eos": not ending}
    answer = httpx.post(f"{running.server.url}/v1/completions", json=body, timeout=60).json()
    assert answer["usage"]["completion_tokens"] == 300
    assert answer["choices"][0]["text"].isprintable()


def test_its_counters_have_common_names_and_grow(running: Launch) -> None:
    before = running.engine.counters(running.control)
    httpx.post(f"{running.server.url}/v1/completions", json={"prompt": [500] * 40, "max_tokens": 1})
    after = running.engine.counters(running.control)
    assert set(after) == {
        *("running", "waiting", "prompt_tokens", "cached_prompt_tokens", "draft_tokens", "accepted_tokens"),
        *("prefill_s", "decode_s"),
    }
    assert after["prompt_tokens"] - before["prompt_tokens"] == 40
    assert 0 < after["prefill_s"] - before["prefill_s"] < 5


def cached_of(running: Launch, prompts: list[list[int]]) -> list[int]:
    """How much of each prompt came from a cache; they are asked one after the other."""
    cached = []
    for prompt in prompts:
        body = {"prompt": prompt, "max_tokens": 1}
        answer = httpx.post(f"{running.server.url}/v1/completions", json=body).json()
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    return cached


def test_a_reset_makes_every_slot_forget_its_prompt(running: Launch) -> None:
    prompts = [[first, *range(400, 480)] for first in (500, 600, 700)]
    assert running.engine.reset_cache(running.control) is True
    assert cached_of(running, prompts) == [0, 0, 0]
    assert cached_of(running, prompts) == [80, 80, 80]
    assert running.engine.reset_cache(running.control) is True
    assert cached_of(running, prompts) == [0, 0, 0]


def test_with_a_cache_beside_the_slots_it_cannot_be_reset(tmp_path: Path) -> None:
    started = launch(tmp_path, "llamacpp --parallel 1 --cache-ram 64")
    answer = started.engine.reset_cache(started.control)
    started.stop()
    assert answer is None
    with httpx.Client(base_url=started.server.url, trust_env=False) as gone:
        assert started.engine.reset_cache(gone) is False


def test_settings_and_flags_reach_it(tmp_path: Path) -> None:
    started = launch(tmp_path, "llamacpp -np 2 -c 1024 --threads 2 -b 64 -ub 32 --no-cache-prompt")
    assert started.description.settings["total_slots"] == "2"
    started.stop()


def test_it_stops_when_asked_politely(tmp_path: Path) -> None:
    started = launch(tmp_path, "llamacpp")
    started.stop()
    assert "exited with code 0" in started.server.account().tell("it", "ended")


@pytest.mark.parametrize(("flags", "gpus"), [("", 0), ("-ngl 0", 0), ("-ngl 99", 1), ("--n-gpu-layers=1", 1)])
def test_layers_on_a_gpu_need_one(flags: str, gpus: int) -> None:
    assert LlamaCpp().gpus(parse_subject(f"llamacpp {flags}")) == gpus


def test_nothing_is_started_for_flags_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="--port is not for a subject to choose"):
        launch(tmp_path, "llamacpp --port 8080")
    assert not (tmp_path / "log").exists()
