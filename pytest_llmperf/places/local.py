"""A process on this machine."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.log_line import what_it_says
from pytest_llmperf.engines.protocol import Command, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.environments import runtime_of
from pytest_llmperf.places.postmortem import Postmortem, command_line, examine, hider
from pytest_llmperf.places.process import EngineProcess, describe_exit


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
            raise EngineError(
                f"{subject} cannot be started: {error}\ncommand: {command_line(command)}"
            ) from None
        return LocalServer(f"http://127.0.0.1:{port}", process, command)


class LocalServer:
    """See :class:`~pytest_llmperf.places.protocol.Server`."""

    def __init__(self, url: str, process: EngineProcess, command: Command) -> None:
        self.url = url
        self.process = process
        self._command = command
        self._public = hider(command)

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def stop(self) -> None:
        self.process.stop()
        self._redact_log()

    def account(self) -> Postmortem:
        exit_code = self.process.exit_code_by_itself()
        state = "still runs" if self.process.is_alive() else describe_exit(self.process.exit_code)
        return examine(self._command, f"process: {self.process.pid} {state}", exit_code, self.process.log)

    def last_line(self) -> str:
        return what_it_says(self._public("".join(self.process.log_tail(1))))

    def port_was_taken(self) -> bool:
        text = "\n".join(self.process.log_tail(40)).lower()
        return not self.is_alive() and any(
            sign in text for sign in ("address already in use", "couldn't bind", "could not bind")
        )

    def _redact_log(self) -> None:
        """Engines print their arguments; what is kept is not to hold secrets."""
        with contextlib.suppress(OSError):
            text = self.process.log.read_text(errors="replace")
            if (public := self._public(text)) != text:
                self.process.log.write_text(public)


def free_port() -> int:
    """A port of 127.0.0.1 that is free now; whoever binds it must be ready to find it taken."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
