"""A process on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
from pathlib import Path

from pytest_llmperf.declare.subject import REDACTED, Subject, is_secret
from pytest_llmperf.engines.protocol import Command, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.environments import runtime_of
from pytest_llmperf.places.process import EngineProcess, describe_exit
from pytest_llmperf.places.protocol import Vantage


class LocalProcess:
    """See :class:`~pytest_llmperf.places.protocol.Place`."""

    name = "local process"

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        return runtime_of(engine, subject)

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> LocalServer:
        port = free_port()
        command = engine.command(subject, model, runtime, "127.0.0.1", port)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLMPERF_")}
        try:
            process = EngineProcess(command.argv, inherited | dict(command.env), log, engine.stop_grace_s)
        except EngineError as error:
            raise EngineError(f"{subject} cannot be started: {error}\n{_command_line(command)}") from None
        return LocalServer(f"http://127.0.0.1:{port}", process, command)


class LocalServer:
    """See :class:`~pytest_llmperf.places.protocol.Server`."""

    api_key: str | None = None

    def __init__(self, url: str, process: EngineProcess, command: Command) -> None:
        self.url = url
        self.process = process
        self._command = command

    def vantage(self) -> Vantage | None:
        return None

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def stop(self) -> None:
        self.process.stop()
        self._redact_log()

    def account(self) -> str:
        alive = self.process.is_alive()
        state = "still runs" if alive else describe_exit(self.process.exit_code)
        tail = [self._without_secrets(line) for line in self.process.log_tail()]
        return "\n".join(
            (
                _command_line(self._command),
                f"process: {self.process.pid} {state}",
                f"log: {self.process.log}",
                *(f"  | {line}" for line in tail or ["(empty)"]),
            )
        )

    def last_line(self) -> str:
        return "".join(map(self._without_secrets, self.process.log_tail(1)))

    def port_was_taken(self) -> bool:
        text = "\n".join(self.process.log_tail(40)).lower()
        return not self.is_alive() and any(
            sign in text for sign in ("address already in use", "couldn't bind", "could not bind")
        )

    def _redact_log(self) -> None:
        """Engines print their arguments; what is kept is not to hold secrets."""
        if self._secrets():
            with contextlib.suppress(OSError):
                text = self.process.log.read_text(errors="replace")
                self.process.log.write_text(self._without_secrets(text))

    def _secrets(self) -> list[str]:
        secrets = [value for name, value in self._command.env.items() if is_secret(name)]
        shown = zip(self._command.argv, self._command.shown, strict=True)
        secrets += [real.partition("=")[2] or real for real, public in shown if real != public]
        # What is shorter is no secret, and would be found in every other word.
        return [secret for secret in secrets if len(secret) >= 6]

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets():
            text = text.replace(secret, REDACTED)
        return text


def _command_line(command: Command) -> str:
    env = [f"{name}={REDACTED if is_secret(name) else value}" for name, value in command.env.items()]
    return f"command: {shlex.join([*env, *command.shown])}"


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; whoever binds it must be ready to find it taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
