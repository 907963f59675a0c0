"""What an engine's log tells of its start: whether it found warm caches, and what took how long."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pytest_llmperf.engines.log_line import LogLine

Patterns = Mapping[str, Sequence[str]]
_PROCESS = re.compile(r"\bpid=\d+")
_NUMBER = r"(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class Startup:
    """``cache``: ``cold`` if the engine compiled what a later start finds in a cache, ``warm`` if it found
    it, None if it has no such cache or does not tell. ``phases``: seconds by phase (``weights``, ``compile``,
    ``graph_capture``, …); they may overlap, and need not add up to the whole start.
    """

    cache: Literal["cold", "warm"] | None = None
    phases: Mapping[str, float] = field(default_factory=dict)


def phases_in(log: str, patterns: Patterns) -> dict[str, float]:
    """Seconds by phase: ``patterns`` have, for each, regular expressions in which ``SECONDS`` stands for
    the number, the best first; the first that the log has anywhere counts.

    What one process says more than once (of a draft model, say) is added up; of several processes, which do
    the same at the same time, the slowest counts.
    """
    found = {name: _first(log, choices) for name, choices in patterns.items()}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def _first(log: str, choices: Sequence[str]) -> float | None:
    for choice in choices:
        line = re.compile(f"^(.*){choice.replace('SECONDS', _NUMBER)}", re.MULTILINE)
        by_process: dict[str, float] = {}
        for before, seconds in line.findall(log):
            process = _process(before)
            by_process[process] = by_process.get(process, 0.0) + float(seconds)
        if by_process:
            return max(by_process.values())
    return None


def _process(before: str) -> str:
    """Who says it, by the beginning of its line; the innermost, where one process passes on what another
    says."""
    named: list[str] = _PROCESS.findall(before)
    return named[-1] if named else LogLine.read(before).who
