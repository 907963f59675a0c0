"""What the engine's own counters explain about the figures in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.report.table import load_label

# From here on hits in the cache that nobody asked for are worth a word, though the run may still be valid.
_WORTH_A_WORD = 0.01


def notes(entry: Mapping[str, Any]) -> list[str]:
    """A line for each load point where there is something to say."""
    points = [point for point in entry["points"] if point["runs"]]
    return [
        f"{load_label(point, points)}: {said}"
        for point in points
        for said in (_preempted(point["runs"]), _drafted(point["runs"]), _cached(point["runs"]))
        if said
    ]


def _preempted(runs: Sequence[Mapping[str, Any]]) -> str:
    count = _sum(runs, "preemptions")
    if not count:
        return ""
    times = f"{count:.0f} times" if count > 1 else "once"
    return f"{times} the engine ran out of KV cache and made a request wait and begin again (preemption)"


def _drafted(runs: Sequence[Mapping[str, Any]]) -> str:
    drafted, accepted = _sum(runs, "draft_tokens"), _sum(runs, "accepted_tokens")
    return f"{accepted / drafted:.0%} of the drafted tokens were accepted" if drafted else ""


def _cached(runs: Sequence[Mapping[str, Any]]) -> str:
    was_warm = any(
        run["cache_reset"] is False and run["health"]["cached_prompt_share"] > _WORTH_A_WORD for run in runs
    )
    return "prompts were found in a prefix cache that the engine had refused to reset" if was_warm else ""


def _sum(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(float(run["counters"].get(name, 0.0)) for run in runs)
