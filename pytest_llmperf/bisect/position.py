"""Where in a history one can measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_llmperf.declare.subject import Subject


@dataclass(frozen=True)
class Position:
    """One place of a history.

    ``name`` is how a person knows it: a version, a commit's short hash, what the flags are there. ``about``
    is what else there is to say of it: the subject line, the author and the date of a commit, the date of a
    release. ``change`` is what came with it, in words: ``release 0.23.1``, ``commit 3f2a91c``,
    ``--max-num-seqs 64``.
    """

    name: str
    change: str
    about: Mapping[str, str] = field(default_factory=dict)


class Unusable(Exception):
    """Nothing can be measured at a position: it does not build, does not start, or is not there any more.

    ``seconds`` is what it took to learn that, as far as whoever raises it knows.
    """

    def __init__(self, position: int, why: str, seconds: float = 0.0) -> None:
        super().__init__(why)
        self.position, self.why, self.seconds = position, why, seconds


class Axis(Protocol):
    """What lies between the good end, position 0, and the bad end, the last one."""

    kind: str
    """``releases``, ``commits`` or ``flags``."""

    @property
    def positions(self) -> Sequence[Position]: ...

    def subject(self, index: int) -> Subject:
        """What is started there; what takes building is built first. Raises :class:`Unusable`."""
        ...
