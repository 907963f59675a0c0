"""What the probes of a test came to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.progress import duration

_ANSWERS = {
    "met": "met the limits",
    "broken": "broke them",
    "undecided": "undecided",
    "invalid": "invalid",
    "assumed": "not measured",
    "engine failed": "with an engine that failed",
}


def probe_lines(entry: Mapping[str, Any]) -> list[str]:
    """How many there were and what they said, and the last that broke a limit, or the engine."""
    probed = entry.get("probed")
    if not probed:
        return []
    answers = [f"{count} {_ANSWERS.get(answer, answer)}" for answer, count in probed["answers"].items()]
    lines = [f"{_several(probed['probes'], 'probe')} in {duration(probed['seconds'])}: {', '.join(answers)}"]
    if broken := probed["last_broken"]:
        what = "broke a limit" if broken["values"] else "the engine failed at"
        lines.append(f"the last that {what}: {printable(broken['text'])}")
    return lines


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"
