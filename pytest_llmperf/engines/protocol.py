"""What has to be known about an engine to test it; one file beside this one for each engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pytest_llmperf.declare.subject import Subject, redact_args

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True)
class Command:
    """How an engine process is started; never through a shell."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> tuple[str, ...]:
        """The argument vector without secrets."""
        return redact_args(self.argv)


@dataclass(frozen=True)
class Description:
    """What a running engine says of itself.

    ``settings`` are its resolved ones, as far as it tells them: two subjects are compared by them.
    ``token_ids`` are ids that every prompt may contain; None where the engine takes no token ids.
    """

    model: str
    version: str | None
    settings: Mapping[str, str] = field(default_factory=dict)
    token_ids: range | None = None


class Engine(Protocol):
    """The particulars of one engine. An implementation holds no state of a launch."""

    name: str
    stop_grace_s: float
    """Seconds between SIGTERM and SIGKILL."""

    def model(self, model: str | None) -> tuple[str, str]:
        """What ``--llmperf-model`` means here: what to pass to the engine, and its identity in records.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it cannot be had.
        """
        ...

    def command(self, subject: Subject, model: str, port: int) -> Command:
        """The process that serves ``model`` on 127.0.0.1:``port`` with the subject's flags.

        Raises :class:`~pytest_llmperf.errors.EngineError` if the engine, or the version asked for, is
        not installed.
        """
        ...

    def is_ready(self, client: httpx.Client) -> bool:
        """Whether the server says that it is ready; connection errors count as no."""
        ...

    def describe(self, client: httpx.Client, model: str | None) -> Description:
        """Ask a ready server for its model, version and resolved settings.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it does not answer as this engine does.
        """
        ...

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        """The request fields that make an answer exactly ``output_tokens`` long.

        The number has to be in them as it is: they are asked for once, for requests of many lengths.
        """
        ...

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        """The engine's own counters, by their common names; empty where it has none.

        Common names: ``running``, ``waiting``, ``prompt_tokens``, ``cached_prompt_tokens``.
        """
        ...
