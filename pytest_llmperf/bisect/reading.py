"""What the record of a session says about a pair of positions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from pytest_llmperf.bisect.pair import Question
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.errors import DeclarationError, InvalidRun
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.turn import Side

_LONG = 300
_RUNS: Mapping[Side, str] = {"base": "base_runs", "candidate": "runs"}
Found = Mapping[str, Any]


class Late(Exception):
    """The load generator was late, which another try may not be."""


@dataclass(frozen=True)
class Reading:
    """The record of a session in which the position ``base`` was launched before ``candidate``."""

    record: Found
    base: int
    candidate: int

    def check(self) -> None:
        """Raises :class:`Unusable` for the position whose engine did not start, or failed; :class:`Late` for
        what may be better next time, and :class:`InvalidRun` for what will not."""
        if self.record["failures"]:
            self._blame(self.record["failures"][0])
        runs = [
            (side, run)
            for entry in self.record["tests"]
            for point in entry["points"]
            for side, name in _RUNS.items()
            for run in point[name]
            if run["health"]["problems"]
        ]
        late = [run["health"]["problems"][0] for _, run in runs if run["health"]["is_late"]]
        if late:
            raise Late(late[0])
        if runs:
            sides = {side for side, _ in runs}
            problem = shorten(runs[0][1]["health"]["problems"][0], _LONG, placeholder=" …")
            if len(sides) == 1:
                raise Unusable(self._position(*sides), f"what is measured there is invalid: {problem}")
            raise InvalidRun(f"the measurement is invalid at both positions: {problem}")
        if self.record["status"] != "complete":
            raise InvalidRun(f"the test session ended before all was measured: {self.record['status']}")

    def _position(self, side: Side) -> int:
        return self.base if side == "base" else self.candidate

    def _blame(self, failure: Found) -> None:
        if failure["is_hindered"]:
            raise InvalidRun(f"{first_line(failure['error'])}; the same command goes on where it was")
        subject = f"{failure['text']}: "
        raise Unusable(self._position(failure["side"]), cause(failure["error"]).removeprefix(subject))

    def figures(self) -> dict[Question, tuple[tuple[float, float], tuple[float, float]]]:
        """For every metric of the gate that was compared, the values of base and candidate, and how badly
        their requests know each.

        Raises :class:`DeclarationError` where there is none.
        """
        found = {}
        for entry in self.record["tests"]:
            labels = Counter((point["workload"], point["load"]) for point in entry["points"])
            for point in entry["points"]:
                is_alone = labels[point["workload"], point["load"]] == 1
                load = point["load"] if is_alone else str(point["key"]).removeprefix(f"{point['workload']}, ")
                for change in point["changes"]:
                    name = change["metric"]
                    question = Question(
                        *(entry["test"], point["workload"], load, name),
                        *(change["better"], change["tolerance"]),
                    )
                    known = _uncertainty(point["base_runs"], name), _uncertainty(point["runs"], name)
                    found[question] = (change["base"], change["candidate"]), known
        if not found:
            raise DeclarationError(self._nothing())
        return found

    def _nothing(self) -> str:
        """Why there is nothing to compare, in words."""
        said = [
            f"{entry['test']}: {first_line(entry['error'] or entry['baseline'] or str(entry['verdict']))}"
            for entry in self.record["tests"]
        ]
        return (
            "no metric of the gate (--llmperf-gate) has values on both sides, so nothing can be followed: "
            + shorten("; ".join(said) or "no test measured anything", _LONG, placeholder=" …")
        )

    def notes(self) -> Iterator[str]:
        """What is worth knowing of it beside the figures."""
        for entry in self.record["tests"]:
            if entry["verdict"] in (Verdict.INVALID, Verdict.ERROR):
                yield f"{entry['test']}: {entry['verdict']}: {first_line(entry['error'])}"
        for launch in self.record["launches"]:
            yield from (f"{launch['text']}: {text}" for text in launch["disturbances"])

    @property
    def environments(self) -> dict[str, Mapping[str, str]]:
        """That of each test."""
        return {entry["test"]: entry["environment"] for entry in self.record["tests"] if entry["points"]}

    @property
    def explores(self) -> bool:
        """Whether a sweep has found its own rates."""
        return any(point["explored"] for entry in self.record["tests"] for point in entry["points"])


def cause(error: str) -> str:
    """The cause of an engine's failure, and the line of its log that decided it."""
    first, *rest = error.splitlines() or [""]
    said = next((line for line in rest if line.startswith("it said: ")), "")
    return shorten("; ".join(filter(None, (first, said))), _LONG, placeholder=" …")


def first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")


def _uncertainty(runs: Sequence[Found], metric: str) -> float:
    """As a standard deviation of the logarithm; 0 for what is not over requests."""
    known = [run["uncertainty"].get(metric, 0.0) for run in runs if metric in run["values"]]
    return math.hypot(*known) / len(known) if known else 0.0
