"""How long the engines took to start, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_PHASES = {"spawned": "process", "port": "port", "healthy": "ready", "first_token": "first token"}


def startup_lines(launches: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each subject that was started, from the record's launches."""
    times: dict[str, list[Mapping[str, float]]] = {}
    for launch in launches:
        if launch["startup_s"]:
            times.setdefault(launch["text"], []).append(launch["startup_s"])
    return [_line(text, of_one) for text, of_one in times.items()]


def _line(text: str, times: Sequence[Mapping[str, float]]) -> str:
    totals = [max(phases.values()) for phases in times]
    last = ", ".join(
        f"{word} {_seconds(times[-1][name])}" for name, word in _PHASES.items() if name in times[-1]
    )
    if len(totals) == 1:
        return f"{text} started in {_seconds(totals[0])} s: {last}"
    return (
        f"{text} started {len(totals)} times, in {_seconds(min(totals))} to {_seconds(max(totals))} s; "
        f"the last: {last}"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 9.95 else f"{seconds:.1f}"
