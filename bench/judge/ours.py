"""This project's judge on a simulated session, launch by launch, as a session of tests would go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.judge.worlds import USUAL, Logs, Shape, World
from pytest_llmperf.judge.change import Change, Comparison, judge_changes
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict

LEAST = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a session: a verdict for each item, launches a side for each test."""

    verdicts: tuple[Verdict, ...]
    launches: tuple[int, ...]

    def is_worse(self, item: int) -> bool:
        return self.verdicts[item] is Verdict.REGRESSED

    @property
    def alarms(self) -> int:
        return sum(verdict is Verdict.REGRESSED for verdict in self.verdicts)

    @property
    def undecided(self) -> int:
        return sum(verdict is Verdict.INCONCLUSIVE for verdict in self.verdicts)


def judge_session(logs: Logs, world: World, shape: Shape = USUAL, least: int = LEAST) -> Outcome:
    """Three launches a side for every test, then one more a round for each test that wants it, up to all that
    ``logs[item, side, launch, run]`` has. A test that is decided, or in which something is worse, is over."""
    values = np.exp(logs.mean(axis=-1)).tolist()
    launches = [least] * shape.tests
    over: dict[int, list[Verdict]] = {}
    while len(over) < shape.tests:
        changes = _judged(values, launches, world, shape, least)
        for test in set(range(shape.tests)) - set(over):
            own = [change for item, change in enumerate(changes) if shape.test_of(item) == test]
            is_worse = any(change.verdict is Verdict.REGRESSED for change in own)
            if launches[test] < shape.launches and not is_worse and any(one.wants_launch for one in own):
                launches[test] += 1
            else:
                over[test] = [change.verdict for change in own]
    verdicts = [verdict for test in range(shape.tests) for verdict in over[test]]
    return Outcome(tuple(verdicts), tuple(launches))


def _judged(
    values: list[list[list[float]]], launches: Sequence[int], world: World, shape: Shape, least: int
) -> list[Change]:
    prior = Prior(world.prior_spread)
    return judge_changes(
        [
            Comparison(
                group=f"metric {item % shape.metrics}",
                base=base[: launches[shape.test_of(item)]],
                candidate=candidate[: launches[shape.test_of(item)]],
                better="lower",
                tolerance=world.tolerance,
                prior=prior,
                least=least,
                most=shape.launches,
            )
            for item, (base, candidate) in enumerate(values)
        ]
    )
