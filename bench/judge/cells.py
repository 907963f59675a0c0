"""What is simulated: each world with nothing changed and with one change, and one world with many."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.judge.ours import judge_session
from bench.judge.rules import RULES, Rule
from bench.judge.worlds import CHANGED, NORMAL, PROMISED, USUAL, WORLDS, Logs, Shape, World, changed, draw

OURS = "pytest-llmperf"
FEW = 3
BATCH = 25
REQUEST_SESSIONS = 100
CURVE = (0.02, 0.04, 0.05, 0.06, 0.08, 0.10, 0.12, 0.15, 0.20)


@dataclass(frozen=True)
class Cell:
    """Sessions of one kind; ``effect`` is the true change of one item, 0 where nothing changed."""

    world: World
    effect: float
    sessions: int

    def batches(self) -> Iterator[tuple[int, int]]:
        """Number and size of each batch."""
        for number, start in enumerate(range(0, self.sessions, BATCH)):
            yield number, min(BATCH, self.sessions - start)


@dataclass(frozen=True)
class Tally:
    """How one rule did. Of ``sessions``, ``alarmed`` called an item worse that had not changed, and ``found``
    called the changed one worse. None: not looked at.

    ``tests_share`` is the mean number of launches of a test, and ``starts_share`` that of the test with the
    most, both as a share of those of the fixed design; ``undecided`` is the number of items, of ``judged``.
    """

    world: str
    effect: float
    rule: str
    launches: int
    sessions: int
    alarmed: int | None = None
    found: int | None = None
    tests_share: float = 1.0
    starts_share: float = 1.0
    undecided: int = 0
    judged: int = 0

    @property
    def kind(self) -> tuple[str, float, str, int]:
        return self.world, self.effect, self.rule, self.launches

    def __add__(self, other: Tally) -> Tally:
        """Both of them together."""
        assert self.kind == other.kind
        sessions = self.sessions + other.sessions
        ours, theirs = self.sessions / sessions, other.sessions / sessions
        return replace(
            self,
            sessions=sessions,
            alarmed=_sum(self.alarmed, other.alarmed),
            found=_sum(self.found, other.found),
            tests_share=ours * self.tests_share + theirs * other.tests_share,
            starts_share=ours * self.starts_share + theirs * other.starts_share,
            undecided=self.undecided + other.undecided,
            judged=self.judged + other.judged,
        )


def _sum(ours: int | None, theirs: int | None) -> int | None:
    return None if ours is None or theirs is None else ours + theirs


def cells(sessions: int) -> list[Cell]:
    """``sessions`` where nothing changed and half as many where something did, in the worlds for which the
    project promises figures; half of that in the others; a quarter for each change of the curve."""
    found = []
    for world in WORLDS:
        here = sessions if world in PROMISED else sessions // 2
        found += [Cell(world, 0.0, here), Cell(world, world.effect, here // 2)]
    return found + [Cell(NORMAL, effect, sessions // 4) for effect in CURVE if effect != NORMAL.effect]


def tally_batch(cell: Cell, number: int, size: int, shape: Shape = USUAL) -> list[Tally]:
    """All rules on one batch of a cell. The noise of a batch is the same whatever the effect."""
    logs = draw(cell.world, size, _seed(cell.world, number), shape)
    if cell.effect:
        logs = changed(logs, cell.effect)
    tallies = [tally_ours(logs, cell, shape)]
    for rule in RULES:
        if rule.per_request and number * BATCH >= REQUEST_SESSIONS:
            continue
        for launches in dict.fromkeys((FEW, shape.launches)):
            tallies.append(_tally_rule(rule, logs[:, :, :, :launches], cell, shape))
    return tallies


def tally_ours(logs: Logs, cell: Cell, shape: Shape) -> Tally:
    """Our judge, session by session."""
    outcomes = [judge_session(session, cell.world, shape) for session in logs]
    worse = np.array([[outcome.is_worse(item) for item in range(shape.items)] for outcome in outcomes])
    others = np.delete(worse, CHANGED, axis=1) if cell.effect else worse
    return Tally(
        cell.world.name,
        cell.effect,
        OURS,
        shape.launches,
        len(logs),
        alarmed=int(others.any(axis=1).sum()),
        found=int(worse[:, CHANGED].sum()) if cell.effect else None,
        tests_share=float(np.mean([outcome.launches for outcome in outcomes])) / shape.launches,
        starts_share=float(np.mean([max(outcome.launches) for outcome in outcomes])) / shape.launches,
        undecided=sum(outcome.undecided for outcome in outcomes),
        judged=len(logs) * shape.items,
    )


def _tally_rule(rule: Rule, logs: Logs, cell: Cell, shape: Shape) -> Tally:
    """Rules of others judge every item for itself, so where one has changed it is the only one looked at."""
    looked_at = logs[:, CHANGED : CHANGED + 1] if cell.effect else logs
    worse = int(rule.judge(looked_at, cell.world, shape.items).any(axis=1).sum())
    alarmed, found = (None, worse) if cell.effect else (worse, None)
    launches = logs.shape[3]
    return Tally(cell.world.name, cell.effect, rule.name, launches, len(logs), alarmed, found)


def _seed(world: World, number: int) -> Sequence[int]:
    return [zlib.crc32(world.name.encode()), number]
