"""The adapter against the real vLLM."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.openai import ask
from pytest_llmperf.engines.protocol import MOMENTS, TOTALS
from pytest_llmperf.engines.vllm_cpu import VllmCpu
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.environments import Environments
from pytest_llmperf.places.local import LocalProcess
from tests.vllm.conftest import NEW, lock, subject


def launch(directory: Path, model: Path, flags: str = "") -> Launch:
    (logs := directory / "logs").mkdir(parents=True, exist_ok=True)
    lock(NEW, directory / "locks")
    return Launch(
        parse_subject(subject(NEW, flags)),
        VllmCpu(),
        str(model),
        place=LocalProcess(Environments(directory / "locks", lambda: logs)),
        log=logs / "vllm.log",
        startup_timeout_s=300,
        request_timeout_s=60,
        waiting=lambda elapsed_s, line: None,
        watch=lambda sent, ended: None,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, installers: None, model: Path) -> Iterator[Launch]:
    started = launch(tmp_path_factory.mktemp("vllm"), model)
    yield started
    started.stop()


def complete(running: Launch, prompt: list[int], output_tokens: int) -> dict[str, object]:
    """One answer of exactly that length, greedy; what the engine says of its size."""
    request = {
        "model": running.description.model,
        "prompt": prompt,
        "temperature": 0,
        **running.engine.exact_length(output_tokens),
    }
    answer = running.control.post("/v1/completions", json=request)
    assert answer.status_code == 200, answer.text
    usage: dict[str, object] = answer.json()["usage"]
    return usage


def test_it_describes_itself_by_what_it_is_and_not_by_what_was_asked(running: Launch) -> None:
    assert running.description.version == NEW
    assert running.description.packages == running.runtime.packages
    assert running.description.packages is not None
    settings = running.description.settings
    assert settings["model.max_model_len"] == "2048"
    assert settings["model.enforce_eager"] == "True"
    assert running.description.token_ids is not None
    assert running.description.token_ids.stop <= 2048


def test_start_up_is_timed_phase_by_phase(running: Launch) -> None:
    assert running.startup_s is not None
    assert list(running.startup_s) == ["spawned", "port", "healthy", "first_token", "first_answer"]
    times = list(running.startup_s.values())
    assert times == sorted(times)


@pytest.mark.parametrize("length", [1, 7, 64])
def test_an_answer_has_exactly_the_length_that_was_asked_for(running: Launch, length: int) -> None:
    usage = complete(running, list(range(10, 74)), length)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (64, length)


def test_its_counters_count(running: Launch) -> None:
    before = running.engine.counters(running.control)
    assert {"prompt_tokens", "cached_prompt_tokens", "preemptions"} <= set(before)
    assert set(MOMENTS) <= set(before)
    complete(running, list(range(500, 628)), 4)
    after = running.engine.counters(running.control)
    assert after["prompt_tokens"] - before["prompt_tokens"] == 128
    assert after["running"] == after["waiting"] == 0
    grown = {name: after[name] - before[name] for name in TOTALS if name in before}
    assert grown["timed_requests"] == 1
    assert grown["queue_s"] >= 0
    assert grown["prefill_s"] > 0
    assert grown["decode_s"] > 0
    # The prompt and, of the four tokens, all but the last went through the model.
    assert 128 + 3 <= grown["step_tokens"] <= 128 + 4
    assert 4 <= grown["steps"] <= 6


def test_its_cache_is_used_and_a_reset_empties_it(running: Launch) -> None:
    prompt = list(range(900, 1156))

    def cached() -> float:
        before = running.engine.counters(running.control)["cached_prompt_tokens"]
        complete(running, prompt, 2)
        return running.engine.counters(running.control)["cached_prompt_tokens"] - before

    assert cached() == 0
    assert cached() > 0
    assert running.engine.reset_cache(running.control) is True
    assert cached() == 0


def test_a_wrong_flag_is_said_by_its_name(tmp_path: Path, installers: None, model: Path) -> None:
    with pytest.raises(EngineError) as caught:
        launch(tmp_path, model, "--no-such-flag 1")
    assert "unrecognized arguments: --no-such-flag 1" in str(caught.value)
    assert "exited with code 2" in str(caught.value)


def test_stopped_it_leaves_no_process_and_no_port(running: Launch) -> None:
    """Last, since it ends what the others use."""
    parts = urlsplit(running.server.url)
    assert ask(running.control, "GET", "/health").status_code == 200
    running.stop()
    assert not running.server.is_alive()
    with contextlib.closing(socket.socket()) as probe:
        assert probe.connect_ex((parts.hostname or "", parts.port or 0)) != 0
