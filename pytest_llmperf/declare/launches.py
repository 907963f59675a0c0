"""How many launches a side a decision may take."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.declare.number import read_whole
from pytest_llmperf.errors import DeclarationError

COMPARED, MOST = 3, 8


@dataclass(frozen=True)
class Launches:
    """At least ``least`` and at most ``most`` launches of the engine for every test.

    ``least`` is None where nobody said: 3 where something is compared or accepted, else 1.
    """

    least: int | None = None
    most: int = MOST

    @property
    def are_fixed(self) -> bool:
        """Whether every test has the same number of launches, however it comes out."""
        return self.least == self.most

    def first(self, *, compares: bool) -> int:
        """The launches that every test has before more are asked for; ``compares`` says whether it is
        compared with anything, or accepted."""
        return self.least if self.least is not None else COMPARED if compares else 1

    def __str__(self) -> str:
        return str(self.most) if self.are_fixed else f"{self.first(compares=True)}..{self.most}"


def parse_launches(text: str) -> Launches:
    """Read ``3`` or ``3..8``. Raises :class:`DeclarationError`."""
    least, dots, most = text.partition("..")
    if not dots:
        return Launches(read_whole(text), read_whole(text))
    launches = Launches(read_whole(least.strip()), read_whole(most.strip()))
    if launches.first(compares=True) > launches.most:
        raise DeclarationError(f"{text!r}: from the fewest to the most, as in 3..8")
    return launches
