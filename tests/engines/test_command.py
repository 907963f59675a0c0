"""Any command; the one that runs here is llama.cpp's server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines import llamacpp_server
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Command, Runtime
from pytest_llmperf.engines.tiny_gguf import TinyModel
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.places.local import LocalProcess
from tests.engines.contract import MODELS, answering


def built(subject: str, model: str = "m.gguf") -> Command:
    return AnyCommand().command(parse_subject(subject), model, Runtime(sys.executable), "127.0.0.1", 8123)


def test_it_is_run_as_it_is_with_host_port_and_model_filled_in() -> None:
    command = built(
        "PORT={port} NAME={model} command --ready /up -- ./serve --at={host}:{port} '{\"a\": {}}' '$HOME; rm'"
    )
    assert command.argv == ("./serve", "--at=127.0.0.1:8123", '{"a": {}}', "$HOME; rm")
    assert command.env == {"PORT": "8123", "NAME": "m.gguf"}


def test_what_is_filled_in_is_not_filled_in_again() -> None:
    assert built("command -- s {port} {model}", model="{port}").argv == ("s", "8123", "{port}")


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        ("command", "expected the command after --, as in: command [--ready /PATH]"),
        ("command ./serve {port}", "expected the command after --"),
        ("command --ready /health --", "expected the command after --"),
        ("command -- ./serve", "nothing tells the server its port; put {port} where it belongs"),
        ("command --port 1 -- ./serve {port}", "--port is not known here"),
        ("command --ready health -- ./serve {port}", "--ready health: expected a path"),
        ("command==2 -- ./serve {port}", "a command has no version or path of its own"),
        ("command@src -- ./serve {port}", "a command has no version or path of its own"),
    ],
)
def test_what_cannot_be_run_is_told(subject: str, message: str) -> None:
    with pytest.raises(EngineError) as caught:
        built(subject)
    assert message in str(caught.value)


def test_a_model_that_is_not_given_cannot_be_filled_in() -> None:
    assert built("command -- ./serve {port}", model="").argv == ("./serve", "8123")
    with pytest.raises(EngineError, match=r"\{model\} stands for --llmperf-model, which is not given"):
        built("command -- ./serve {port} {model}", model="")


def test_gpus_are_as_many_as_are_said() -> None:
    assert AnyCommand().gpus(parse_subject("command -- ./serve {port} --gpus 8")) == 0
    assert AnyCommand().gpus(parse_subject("command --gpus 2 -- ./serve {port}")) == 2
    with pytest.raises(EngineError, match="--gpus two: expected a number"):
        AnyCommand().gpus(parse_subject("command --gpus two -- ./serve {port}"))


def test_a_key_in_the_command_is_sent_and_not_shown() -> None:
    subject = parse_subject("command -- ./serve {port} --api-key sk-hidden")
    assert AnyCommand().api_key(subject) == "sk-hidden"
    assert "sk-hidden" not in str(subject)


def test_a_model_is_known_by_what_it_is(tmp_path: Path) -> None:
    subject = parse_subject("command -- ./serve {port}")
    (folder := tmp_path / "tiny").mkdir()
    assert AnyCommand().model_identity(subject, "") == "as the command says"
    assert AnyCommand().model_identity(subject, "a-name") == "a-name"
    assert AnyCommand().model_identity(subject, str(folder)).startswith("tiny sha256:")


@pytest.mark.parametrize(
    ("subject", "ready"),
    [
        ("command --ready /up -- s {port}", False),
        ("command --ready=/health -- s {port}", True),
        ("command -- s {port}", True),
    ],
)
def test_it_is_ready_when_the_page_that_was_named_answers(subject: str, ready: bool) -> None:
    with answering({"GET /health": 200, "GET /v1/models": MODELS, "GET /up": 503}) as client:
        assert AnyCommand().is_ready(client, parse_subject(subject)) is ready


def launch(subject: str, model: str, log: Path) -> Launch:
    return Launch(
        parse_subject(subject),
        AnyCommand(),
        model,
        place=LocalProcess(),
        log=log,
        startup_timeout_s=60,
        request_timeout_s=60,
        waiting=lambda elapsed_s, line: None,
        watch=lambda sent, ended: None,
    )


def test_a_real_server_is_started_asked_and_stopped(tmp_path: Path) -> None:
    model = str(TinyModel().write(tmp_path))
    server = f"{sys.executable} -P {llamacpp_server.__file__}"
    subject = f"command --ready /health -- {server} --host {{host}} --port {{port}} --model {{model}} -a tiny"
    started = launch(subject, model, tmp_path / "log")
    try:
        assert started.description.model == "tiny"
        assert started.startup_s is not None
        assert started.model == LlamaCpp().model_identity(started.subject, model)
        assert started.engine.counters(started.control)["prompt_tokens"] > 0
    finally:
        started.stop()
    assert "exited with code 0" in started.server.account().tell("it", "ended")


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"\./no-such-server: No such file or directory"):
        launch("command -- ./no-such-server {port}", "m", tmp_path / "log")


def test_a_command_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    code = "import sys; sys.exit('no weights at ' + sys.argv[1])"
    subject = f'command -- {sys.executable} -c "{code}" {{model}} {{port}}'
    with pytest.raises(EngineError) as caught:
        launch(subject, "/w", tmp_path / "log")
    assert "the engine ended before it was ready" in str(caught.value)
    assert "| no weights at /w" in str(caught.value)
