"""A history of flags, and pairs of it, for tests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from pytest_llmperf.bisect.events import Asked
from pytest_llmperf.bisect.pair import Pair, Question
from pytest_llmperf.bisect.position import Position, Unusable
from pytest_llmperf.declare.subject import Subject, parse_subject

TTFT = Question("test_it.py::test_it", "64 in / 8 out", "4/s", "ttft_p50_ms", "lower", 0.05)
TOKENS = Question("test_it.py::test_it", "64 in / 8 out", "4/s", "output_tokens_per_s", "higher", 0.05)
ASKED = Asked("flags", "llamacpp", "llamacpp --parallel 1", ("test_it.py", "-k", "chat"), {})


class Flags:
    """See :class:`~pytest_llmperf.bisect.position.Axis`: subjects, one after the other."""

    kind = "flags"

    def __init__(self, *subjects: str) -> None:
        self._subjects = subjects

    @property
    def positions(self) -> Sequence[Position]:
        return [Position(text, text, {"n": str(i)}) for i, text in enumerate(self._subjects)]

    def subject(self, index: int) -> Subject:
        if self._subjects[index] == "broken":
            raise Unusable(index, "it does not build")
        return parse_subject(self._subjects[index])


POSITIONS = Flags("llamacpp", "llamacpp --parallel 4", "llamacpp --parallel 1").positions


def pair(left: int, right: int, number: int = 1, change: float = 1.1, **more: Any) -> Pair:
    figures = {TTFT: (10.0, 10.0 * change), TOKENS: (100.0, 100.0 / change)}
    uncertainty = {TTFT: (0.01, 0.02), TOKENS: (0.0, 0.0)}
    return Pair(left, right, figures, number, 60.5, **{"uncertainty": uncertainty, **more})


class Scripted:
    """An oracle that knows what it was asked; the last position cannot be measured."""

    def __init__(self, change: float = 1.1, seconds: float = 0.0) -> None:
        self.asked: list[tuple[int, int]] = []
        self._change, self._seconds = change, seconds

    def compare(self, left: int, right: int) -> Pair:
        self.asked.append((left, right))
        if right == len(POSITIONS) - 1:
            time.sleep(self._seconds)
            raise Unusable(right, "it does not start")
        return pair(left, right, len(self.asked), self._change)


class Working:
    """An oracle that can measure everything."""

    def compare(self, left: int, right: int) -> Pair:
        return pair(left, right)
