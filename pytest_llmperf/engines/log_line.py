"""A line of an engine's log: what it says, without who said it when."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_LINE = 4000
"""Characters of a line that are looked at."""

# CSI and OSC sequences, and single escapes; one that is cut off has its beginning taken away.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")
_LEVELS = {
    "debug": "debug",
    "d": "debug",
    "trace": "debug",
    "verbose": "debug",
    "v": "debug",
    "info": "info",
    "i": "info",
    "warning": "warning",
    "warn": "warning",
    "w": "warning",
    "error": "error",
    "err": "error",
    "e": "error",
    "critical": "error",
    "fatal": "error",
    "f": "error",
}
# Each takes away one piece from the beginning of a line; they are tried until none of them fits.
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # (EngineCore_DP0 pid=7), (VllmWorker rank=0 pid=7)
        r"\((?P<who>[\w.-]+(?: rank=\d+)? pid=\d+(?:, ip=[\d.]+)?)\)\s?",
        # vLLM: INFO 11-22 01:00:00 [core.py:718]
        r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d \[?[^\]\s]*:\d+\]\s?",
        # glog and torch: W1122 01:58:17.501000 13569 torch/_library/triton.py:53]
        r"(?P<level>[DIWEF])\d{4} \d\d:\d\d:\d\d\.\d+\s+\d+ [^\]\s]+:\d+\]\s?",
        # llama.cpp: 0.00.022.508 E
        r"\d+\.\d\d\.\d{3}\.\d{3} (?P<level>[DIWEF]) ",
        # TensorRT-LLM: [07/08/2025-19:47:15] [TRT-LLM] [RANK 1] [E], and its C++ part: [TensorRT-LLM][ERROR]
        r"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\]\s?",
        r"\[TRT-LLM\]\s(?:\[RANK (?P<who>\d+)\]\s)?\[(?P<level>[VDIWEF])\]\s?",
        r"\[TensorRT-LLM\]\s?\[(?P<level>[A-Z]+)\]\s?",
        # SGLang: [2025-03-29 18:18:34 TP0]
        r"\[\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,\d]*Z?(?: (?P<who>(?:(?:DP|TP|PP|EP)\d+ ?)+))?\]\s?",
        # torchrun and mpirun: [rank0]: and [1,0]<stderr>:
        r"\[rank(?P<who>\d+)\]:\s?",
        r"\[(?P<who>\d+,\d+)\]<(?:stdout|stderr)>:\s?",
        # logging's default, with a date: 2026-11-22 01:00:00,123 - name - ERROR -
        r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?Z?(?: - [\w.]+ - (?P<level>[A-Z]+) -)?\s+",
        # uvicorn: INFO:     Started server process
        r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):\s+",
    )
)


def without_escapes(raw: str) -> str:
    """What a terminal would show of a line in the end: after its carriage returns, without colours."""
    raw = raw[-MAX_LINE:] if "\r" in raw else raw[:MAX_LINE]
    shown = [part for part in raw.split("\r") if part.strip()]
    return _ESCAPES.sub("", shown[-1] if shown else "").rstrip()


@dataclass(frozen=True)
class LogLine:
    """``text`` without time stamps and the like; ``level`` is debug, info, warning, error or empty, ``who``
    the process among several that share a log, or empty."""

    text: str
    level: str = ""
    who: str = ""

    @classmethod
    def read(cls, raw: str) -> LogLine:
        """Take a raw line apart."""
        rest = without_escapes(raw)
        level = who = ""
        found = True
        while found:
            found = False
            for prefix in _PREFIXES:
                if match := prefix.match(rest):
                    groups = match.groupdict()
                    level = _LEVELS.get((groups.get("level") or "").lower(), level)
                    who = who or groups.get("who") or ""
                    rest = rest[match.end() :]
                    found = True
        return cls(rest, level, who)


def what_it_says(raw: str) -> str:
    """The text alone, on one line and without what would move the cursor."""
    return printable(LogLine.read(raw).text)


def printable(text: str) -> str:
    """``text`` on one line, blanks and what would move the cursor as single blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
