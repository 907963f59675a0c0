"""Where a server runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.places.postmortem import Postmortem


class Process(Protocol):
    """A process with byte streams, as far as :class:`subprocess.Popen` and a process elsewhere are alike.

    ``stdout`` has a file descriptor that can be waited for.
    """

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    def kill(self) -> None: ...
    def wait(self) -> int: ...


@dataclass(frozen=True)
class Vantage:
    """Where the load of a server is driven, if not by this process on this machine.

    ``url`` is the server's from there, ``cores`` are what there is to drive it with; ``run`` starts a Python
    program, given as text, that can import this package.
    """

    url: str
    cores: int
    run: Callable[[str], Process]


class Listener(Protocol):
    """Who is told what is going on, and that something has to be waited for."""

    def phase(self, text: str) -> None: ...
    def waiting(self, elapsed_s: float, line: str) -> None: ...


class Server(Protocol):
    """A server that was started, or found, at :attr:`url`.

    ``api_key`` is the bearer token that the place gave it; None if the subject alone decides.
    """

    url: str
    api_key: str | None

    def model_identity(self, engine: Engine, subject: Subject, model: str) -> str:
        """What of the model has to be equal in a comparison, read where it is; asked once it is ready.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it cannot be read there.
        """
        ...

    def vantage(self) -> Vantage | None:
        """From where its load is to be driven; None for this machine.

        Raises :class:`~pytest_llmperf.errors.EngineError` if that is impossible there.
        """
        ...

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

    def environment(self) -> Mapping[str, str]:
        """What of the machine it runs on has to be equal in a comparison, read from that machine.

        See :func:`~pytest_llmperf.places.machine.facts`; empty where nothing can be known.
        """
        ...

    def disturbances(self) -> list[str]:
        """What disturbs its measurements now, or did since the last call: a throttled GPU, a shared one.

        Looks at the machine, which takes it some time: not to be called during a run.
        """
        ...

    def hardware(self) -> Mapping[str, Any]:
        """What a record keeps of the machine, as JSON has it; after :meth:`stop`, also what came of that."""
        ...

    def stop(self) -> None:
        """End it and leave nothing behind. May be called again."""
        ...


class Place(Protocol):
    """A way to get a server of a subject."""

    name: str

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Have everything there that a start needs, so that the start alone is timed; may take minutes.

        That includes the right to use the place, which may have to be waited for and is kept from one server
        to the next, until :meth:`close`. Raises :class:`~pytest_llmperf.errors.EngineError` if that is
        impossible.
        """
        ...

    def model(self, engine: Engine, model: str | None) -> str:
        """What to pass to the engine for ``--llmperf-model``.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it cannot be had.
        """
        ...

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> Server:
        """Start one; it need not be ready yet.

        Raises :class:`~pytest_llmperf.errors.EngineError` if that is impossible.
        """
        ...

    def close(self) -> None:
        """Give back what is held from one server to the next. May be called again."""
        ...
