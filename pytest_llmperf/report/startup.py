"""How long the engines took to start, from cold and from warm caches, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PHASES = {"spawned": "process", "port": "port", "healthy": "ready", "first_token": "first token"}
_WITHIN = {"weights": "weights", "compile": "compile", "graph_capture": "graph capture"}
_CACHES = {"cold": "cold in ", "warm": "warm in ", None: "otherwise in "}


def startup_lines(launches: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each subject that was started, from the record's launches."""
    starts: dict[str, list[Mapping[str, Any]]] = {}
    for launch in launches:
        if launch["startup_s"]:
            starts.setdefault(launch["text"], []).append(launch)
    return [_line(text, of_one) for text, of_one in starts.items()]


def _line(text: str, starts: Sequence[Mapping[str, Any]]) -> str:
    totals: dict[str | None, list[float]] = {}
    for start in starts:
        totals.setdefault(start["startup_cache"], []).append(max(start["startup_s"].values()))
    if set(totals) == {None}:
        told = f"in {_range(totals[None])}"
    else:
        told = ", ".join(
            f"{word}{_range(totals[cache])}" for cache, word in _CACHES.items() if cache in totals
        )
    if len(starts) == 1:
        return f"{text} started {told}: {_phases(starts[0])}"
    separator = ", " if set(totals) == {None} else ": "
    return f"{text} started {len(starts)} times{separator}{told}; the last: {_phases(starts[-1])}"


def _phases(start: Mapping[str, Any]) -> str:
    """When it had come how far, and what of that took how long by its own word."""
    when = _named(_PHASES, start["startup_s"])
    within = _named(_WITHIN, start["startup_phases"])
    return f"{when} ({within})" if within else when


def _named(words: Mapping[str, str], seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{word} {_seconds(seconds[name])}" for name, word in words.items() if name in seconds)


def _range(totals: Sequence[float]) -> str:
    shown = dict.fromkeys((_seconds(min(totals)), _seconds(max(totals))))
    return f"{' to '.join(shown)} s"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{seconds:.1f}"
