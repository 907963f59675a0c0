"""Any command that starts an OpenAI-compatible server.

::

    command --ready /healthz --gpus 1 -- ./my-server --listen {host}:{port} --weights {model}

What is before ``--`` is for us; what is after it is run as it is, without a shell, from the working
directory. ``{host}``, ``{port}`` and ``{model}`` are filled in, in environment variables as well:
``PORT={port} command -- ./my-server``.
"""

from __future__ import annotations

import re
from pathlib import Path

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import flags, models, sglang, vllm
from pytest_llmperf.engines.openai import answers_200, served_models
from pytest_llmperf.engines.protocol import Command, Description, Runtime
from pytest_llmperf.engines.startup import Startup
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.errors import EngineError

_USAGE = "command [--ready /PATH] [--gpus N] -- ./server --port {port} --model {model}"
_PLACE = re.compile(r"\{(host|port|model)\}")


class AnyCommand(OpenAiServer):
    """See :class:`~pytest_llmperf.engines.protocol.Engine`; once it runs, it is asked as any server at a
    URL is."""

    name = "command"
    stop_grace_s = 15.0

    def model_identity(self, subject: Subject, model: str) -> str:
        if not model:
            return "as the command says"
        path = Path(model).expanduser()
        return models.identity(subject, str(path.resolve()) if path.exists() else model)

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        ours, argv = _halves(subject)
        for name, _ in flags.given(ours):
            if name not in ("--ready", "--gpus"):
                raise EngineError(f"{subject}: {name} is not known here; {_USAGE}")
        if subject.version or subject.path:
            raise EngineError(f"{subject}: a command has no version or path of its own; {_USAGE}")
        if (path := _ready(ours)) and not path.startswith("/"):
            raise EngineError(
                f"{subject}: --ready {path}: expected a path of the server, as in --ready /health"
            )
        template = [*argv, *(value for _, value in subject.env)]
        if not any("{port}" in part for part in template):
            raise EngineError(
                f"{subject}: nothing tells the server its port; put {{port}} where it belongs: {_USAGE}"
            )
        if not model and any("{model}" in part for part in template):
            raise EngineError(f"{subject}: {{model}} stands for --llmperf-model, which is not given")
        filling = {"host": host, "port": str(port), "model": model}
        return Command(
            tuple(_PLACE.sub(lambda found: filling[found[1]], arg) for arg in argv),
            {name: _PLACE.sub(lambda found: filling[found[1]], value) for name, value in subject.env},
        )

    def image(self, version: str) -> str | None:
        return None

    def gpus(self, subject: Subject) -> int:
        given = flags.values(_halves(subject)[0], "--gpus")
        if given and not given[-1].isdecimal():
            raise EngineError(f"{subject}: --gpus {given[-1]}: expected a number")
        return int(given[-1]) if given else 0

    def api_key(self, subject: Subject) -> str | None:
        return flags.api_key(subject)

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        return answers_200(client, _ready(_halves(subject)[0]) or "/v1/models")

    def startup(self, log: str) -> Startup:
        """Whatever it runs: SGLang's log has lines that only it has, and others that it took from vLLM."""
        found = sglang.startup(log)
        return found if found.phases else vllm.startup(log)

    def describe(self, client: httpx.Client, model: str) -> Description:
        """Under what name the command serves its model is the command's own business."""
        is_served = any(entry["id"] == model for entry in served_models(client))
        return super().describe(client, model if is_served else "")


def _halves(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is for us, and what is the command."""
    index = subject.args.index("--") if "--" in subject.args else len(subject.args)
    ours, command = subject.args[:index], subject.args[index + 1 :]
    if not command:
        raise EngineError(f"{subject}: expected the command after --, as in: {_USAGE}")
    return ours, command


def _ready(ours: tuple[str, ...]) -> str:
    return (flags.values(ours, "--ready") or [""])[-1]
