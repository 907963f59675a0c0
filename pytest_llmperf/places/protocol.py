"""Where a server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.places.postmortem import Postmortem


class Server(Protocol):
    """A server that was started, or found, at :attr:`url`."""

    url: str

    def is_alive(self) -> bool:
        """Whether its process still runs, as far as this place can know."""
        ...

    def account(self) -> Postmortem:
        """What a person needs to understand a failure: its cause, the command, exit code, last log lines."""
        ...

    def last_line(self) -> str:
        """What it last logged, without time stamps and secrets; empty if nothing or unknown."""
        ...

    def port_was_taken(self) -> bool:
        """Whether it ended because another process took its port meanwhile, so that a retry may help."""
        ...

    def stop(self) -> None:
        """End it and leave nothing behind. May be called again."""
        ...


class Place(Protocol):
    """A way to get a server of a subject."""

    name: str

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Have everything there that a start needs, so that the start alone is timed; may take minutes.

        Raises :class:`~pytest_llmperf.errors.EngineError` if that is impossible.
        """
        ...

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> Server:
        """Start one; it need not be ready yet.

        Raises :class:`~pytest_llmperf.errors.EngineError` if that is impossible.
        """
        ...
