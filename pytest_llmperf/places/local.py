"""A process on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.log_line import what_it_says
from pytest_llmperf.engines.protocol import Command, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.allotment import Allotment, Allotter
from pytest_llmperf.places.environments import Environments, engine_environment
from pytest_llmperf.places.gpus import Nvidia
from pytest_llmperf.places.leases import Lease, Leases
from pytest_llmperf.places.machine import ThisMachine, facts, uname
from pytest_llmperf.places.ports import free_port, holder_of, lease_port
from pytest_llmperf.places.postmortem import Postmortem, command_line, examine, hider
from pytest_llmperf.places.process import EngineProcess, describe_exit
from pytest_llmperf.places.protocol import Listener, Vantage
from pytest_llmperf.places.watch import GpuWatch


class LocalProcess:
    """See :class:`~pytest_llmperf.places.protocol.Place`.

    With ``leases`` an engine has its GPUs, or if it needs none the CPU, and its port to itself; ``gpus`` are
    those that may be used (None: as CUDA_VISIBLE_DEVICES has it). ``listener`` is told of waits, ``note`` of
    what a person has to know in the end.
    """

    name = "local process"

    def __init__(
        self,
        environments: Environments | None = None,
        leases: Leases | None = None,
        gpus: Sequence[str] | None = None,
        listener: Listener | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._environments = environments or Environments()
        self._nvidia = Nvidia(ThisMachine())
        self._allotter = Allotter(self._nvidia, leases, gpus, listener)
        self._leases, self._note = leases, note
        self._next: tuple[Allotment, GpuWatch] | None = None

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        runtime = self._environments.runtime_of(engine, subject)
        self._next = self._allot(engine, subject)
        return runtime

    def model(self, engine: Engine, model: str | None) -> str:
        return engine.model(model)

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> LocalServer:
        allotment, watch = self._next or self._allot(engine, subject)
        port, lease = (
            (free_port(), None) if self._leases is None else lease_port(self._leases, subject.target)
        )
        command = engine.command(subject, model, runtime, "127.0.0.1", port)
        command = dataclasses.replace(command, env=allotment.env | dict(command.env))
        inherited = engine_environment(runtime)
        try:
            process = EngineProcess(
                command.argv, inherited | dict(command.env), log, engine.stop_grace_s, allotment.held
            )
        except EngineError as error:
            raise EngineError(
                f"{subject} cannot be started: {error}\ncommand: {command_line(command)}"
            ) from None
        return LocalServer(port, process, command, allotment, watch, lease, self._note)

    def close(self) -> None:
        self._next = None
        self._allotter.close()

    def _allot(self, engine: Engine, subject: Subject) -> tuple[Allotment, GpuWatch]:
        allotment = self._allotter.allot(subject, engine.gpus(subject))
        if allotment.note:
            self._note(allotment.note)
        watch = GpuWatch(self._nvidia, allotment.gpus, subject.target)
        watch.begin()
        return allotment, watch


class LocalServer:
    """See :class:`~pytest_llmperf.places.protocol.Server`."""

    api_key: str | None = None

    def __init__(
        self,
        port: int,
        process: EngineProcess,
        command: Command,
        allotment: Allotment,
        watch: GpuWatch,
        lease: Lease | None,
        note: Callable[[str], None],
    ) -> None:
        """``lease`` is that of ``port``."""
        self.url = f"http://127.0.0.1:{port}"
        self.process = process
        self._port, self._command, self._lease = port, command, lease
        self._allotment, self._watch, self._note = allotment, watch, note
        self._public = hider(command)
        self._left = ""
        self._is_stopped = False

    def model_identity(self, engine: Engine, subject: Subject, model: str) -> str:
        # What is not here, but in a container that a command starts, is known by its path alone.
        is_elsewhere = Path(model).is_absolute() and not Path(model).exists()
        return model if is_elsewhere else engine.model_identity(subject, model)

    def vantage(self) -> Vantage | None:
        return None

    def is_alive(self) -> bool:
        return self.process.is_alive()

    def stop(self) -> None:
        self.process.stop()
        if self._is_stopped:
            return
        self._is_stopped = True
        self._redact_log()
        if self._lease is not None:
            self._lease.release()
        self._left = self._watch.end()
        if self._left:
            self._note(self._left)

    def environment(self) -> Mapping[str, str]:
        return self._facts

    @cached_property
    def _facts(self) -> Mapping[str, str]:
        return facts(ThisMachine(), self._allotment.gpus, self._watch.cuda())

    def disturbances(self) -> list[str]:
        return self._watch.disturbances()

    def hardware(self) -> Mapping[str, Any]:
        return {
            "kernel": uname(ThisMachine())[1],
            "gpus": self._watch.as_json(),
            "notes": [note for note in (self._allotment.note, self._left) if note],
        }

    def account(self) -> Postmortem:
        ended = describe_exit(self.process.exit_code)
        state = (
            f"process: {self.process.pid} {self.process.condition() if self.process.is_alive() else ended}"
        )
        if holder := self._thief():
            state += f"\nport: {self._port} is held by {holder}"
        return examine(self._command, state, self.process.exit_code_by_itself(), self.process.log)

    def last_line(self) -> str:
        return what_it_says(self._public("".join(self.process.log_tail(1))))

    def port_was_taken(self) -> bool:
        text = "\n".join(self.process.log_tail(40)).lower()
        signs = ("address already in use", "couldn't bind", "could not bind")
        return not self.is_alive() and (any(sign in text for sign in signs) or self._thief() is not None)

    def _thief(self) -> str | None:
        """Who has the port although it was ours."""
        return None if self.is_alive() else holder_of(self._port)

    def _redact_log(self) -> None:
        """Engines print their arguments; what is kept is not to hold secrets."""
        with contextlib.suppress(OSError):
            text = self.process.log.read_text(errors="replace")
            if (public := self._public(text)) != text:
                self.process.log.write_text(public)
