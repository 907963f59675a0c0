"""What has to be known about an engine to test it; one file beside this one for each engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from pytest_llmperf.declare.subject import Subject, redact_args
from pytest_llmperf.engines.startup import Startup

if TYPE_CHECKING:
    import httpx

TOTALS = (
    *("prompt_tokens", "cached_prompt_tokens", "preemptions", "draft_tokens", "accepted_tokens"),
    *("queue_s", "prefill_s", "decode_s", "timed_requests", "steps", "step_tokens"),
)
"""Counters since the engine's start; preemptions are requests that lost their cache and began again.

``queue_s``, ``prefill_s`` and ``decode_s`` are sums over requests: waiting to be scheduled, from then to the
first token, and from there to the last; ``timed_requests`` how many were counted in them (missing where the
engine does not tell). ``step_tokens`` are tokens that went through the model in ``steps``.
"""
MOMENTS = ("running", "waiting", "cache_use")
"""Requests that generate and that wait now, and the share of the KV cache that is taken, of 1."""


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
class Runtime:
    """The Python environment that an engine is run in.

    ``python`` is its interpreter, ``version`` that of the engine's distribution in it, ``commit`` that of the
    source it was built from, if it was. ``packages`` is a short name of the set of packages that the
    distribution needs: where two differ, so do the packages.
    """

    python: str
    version: str | None = None
    commit: str | None = None
    packages: str | None = None


@dataclass(frozen=True)
class Description:
    """What a running engine says of itself.

    ``settings`` are its resolved ones, as far as it tells them: two subjects are compared by them.
    ``packages`` is that of the :class:`Runtime`, for an engine that was started from one.
    ``token_ids`` are ids that every prompt may contain; None where the engine takes no token ids.
    """

    model: str
    version: str | None
    commit: str | None = None
    packages: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    token_ids: range | None = None


class Engine(Protocol):
    """The particulars of one engine. An implementation holds no state of a launch."""

    name: str
    distribution: str | None
    """The Python distribution that ``NAME==VERSION`` stands for; None where it is not installed from here."""
    stop_grace_s: float
    """Seconds between SIGTERM and SIGKILL."""

    def model(self, model: str | None) -> str:
        """What ``--llmperf-model`` means here: what to pass to the engine.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it cannot be had.
        """
        ...

    def model_identity(self, subject: Subject, model: str) -> str:
        """What of :meth:`model`'s answer has to be equal in a comparison; asked once the engine is ready."""
        ...

    def command(self, subject: Subject, model: str, runtime: Runtime, host: str, port: int) -> Command:
        """The process that serves ``model`` on ``host``:``port`` with the subject's flags.

        Raises :class:`~pytest_llmperf.errors.EngineError` for flags that are not a subject's to choose.
        """
        ...

    def image(self, version: str) -> str | None:
        """The public container image of a version; None where there is none with this engine's Python."""
        ...

    def gpus(self, subject: Subject) -> int:
        """How many GPUs the subject's flags ask for; 0 for a CPU engine."""
        ...

    def api_key(self, subject: Subject) -> str | None:
        """The bearer token that a server of the subject wants; None for none.

        Raises :class:`~pytest_llmperf.errors.EngineError`, which does not show it, for one that no
        header can carry.
        """
        ...

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        """Whether the server says that it can generate; connection errors count as no."""
        ...

    def describe(self, client: httpx.Client, model: str) -> Description:
        """Ask a ready server for its model's name, version and resolved settings; ``model`` is
        :meth:`model`'s answer. The time that this takes is not counted.

        Raises :class:`~pytest_llmperf.errors.EngineError` if it does not answer as this engine does.
        """
        ...

    def startup(self, log: str) -> Startup:
        """What the log of a start, up to its first answer, tells of it; without anything if it does not."""
        ...

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        """The request fields that make an answer exactly ``output_tokens`` long.

        The number has to be in them as it is: they are asked for once, for requests of many lengths.
        """
        ...

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        """The engine's own counters, by their common names (:data:`TOTALS`, :data:`MOMENTS`); those that it
        does not have are missing."""
        ...

    def reset_cache(self, client: httpx.Client) -> bool | None:
        """Forget all cached prompts; whether that worked, None where the engine cannot or does not tell."""
        ...
