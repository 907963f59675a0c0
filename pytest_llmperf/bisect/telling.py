"""What a person is told while a bisection lasts."""

from __future__ import annotations

import math

from pytest_llmperf.bisect.diary import Replay
from pytest_llmperf.bisect.measuring import Standing
from pytest_llmperf.bisect.position import Axis
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.table import percent

_LINE = 80
_HARDLY = 1.01


def say(text: str) -> None:
    """A line of progress."""
    print(f"llmperf: {printable(text)}", flush=True)


class Telling:
    """Tells before each pair that is measured what is believed, and why the pair is asked for."""

    def __init__(self, axis: Axis, kept: int) -> None:
        """``kept`` pairs were measured before."""
        is_flags = axis.kind == "flags"
        self._names = [one.change if is_flags else one.name for one in axis.positions]
        self._kept = kept
        self._last = ""

    def hear(self, standing: Standing, replay: Replay) -> None:
        if not self._is_first(standing):  # before anything was measured between the ends all are alike
            replay.suspected(standing.question, standing.suspects, standing.confidence)
        if replay.knows(standing.left, standing.right):
            return
        if self._kept:
            say(f"going on after {self._kept} pair{'' if self._kept == 1 else 's'}")
            self._kept = 0
        told = self._words(standing)
        if replay.last is not None and standing.question in replay.last.figures:
            assert standing.question is not None
            left, right = replay.last.figures[standing.question]
            told = f"{percent(right / left - 1)}; {told}"
        if told != self._last:
            say(told)
        self._last = told

    def _words(self, standing: Standing) -> str:
        if standing.stage == "ends":
            return "do the ends differ?"
        names = [self._names[one] for one in standing.suspects]
        shown = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        effect = ""
        if standing.effect is not None and standing.question is not None:
            sign = 1 if standing.question.better == "lower" else -1
            effect = f", {percent(math.expm1(sign * standing.effect.mean))}"
        believed = f"{_cut(shown)} ({standing.confidence:.0%}{effect})"
        if standing.stage == "confirmation":
            return f"suspected: {believed}; beside what comes before it, in fresh launches"
        if standing.stage == "behind":
            return f"suspected: {believed}; has it been bad ever since?"
        if self._is_first(standing):
            return f"the ends differ{effect}; which of {standing.bad} changes did it?"
        return f"most likely: {believed}"

    def _is_first(self, standing: Standing) -> bool:
        """Whether nothing was measured but the ends."""
        return standing.stage == "search" and standing.confidence * standing.bad < _HARDLY * len(
            standing.suspects
        )


def _cut(text: str) -> str:
    return printable(text, _LINE)
