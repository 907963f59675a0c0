"""What to type after a bisection: every command is one that runs as it stands."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from pytest_llmperf.bisect.account import Step
from pytest_llmperf.bisect.ends import MOST
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.kind import Kind
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.bisect.position import Axis, Unusable
from pytest_llmperf.report.culprit import is_another

_MORE_THAN_ENDS = f"{MOST + 1}..{3 * MOST}"


def next_steps(order: BisectOrder, kind: Kind, axis: Axis, finding: Finding, directory: Path) -> list[Step]:
    """In the order of their use."""
    steps: list[Step] = []
    last = len(axis.positions) - 1
    if finding.outcome is Outcome.CULPRIT:
        before, after = finding.suspects[0] - 1, finding.suspects[-1]
        steps += _compared("compare the two again", order, kind, axis, (before, after))
        if kind != "flags" and after < last and _leaves_much(finding):
            rest = order.between(_end(kind, axis, after), order.bad)
            steps.append(Step("find what else there is", rest.command(kind)))
    elif finding.outcome is Outcome.UNDECIDED and _is_spent(order, finding):
        steps.append(Step("go on with more pairs", order.longer().command(kind)))
    elif finding.outcome is Outcome.UNUSABLE:
        steps.append(Step("try again what could not be measured", order.retrying().command(kind)))
    elif finding.outcome is Outcome.BETTER:
        steps.append(Step("find what made it better", order.between(order.bad, order.good).command(kind)))
    elif finding.outcome is Outcome.ENDS_UNDECIDED and finding.launches < 2 * MOST:
        steps.append(Step("go on with more pairs", order.longer().command(kind)))
    elif finding.outcome is Outcome.ENDS_UNDECIDED:
        steps += _compared("compare the ends in more launches", order, kind, axis, (0, last), _MORE_THAN_ENDS)
    return [*steps, Step("see what was measured", ["llmperf", "bisect", "log", str(directory)])]


def _is_spent(order: BisectOrder, finding: Finding) -> bool:
    """Whether it ended for want of pairs or time. A creep, say, has no culprit however long one looks."""
    return finding.launches >= 2 * order.pairs or order.budget_s is not None


def _leaves_much(finding: Finding) -> bool:
    """Whether the culprit is not all of it: an odd history says so, or the two intervals."""
    part, question = finding.confirmation, finding.question
    if part is None or question is None or question not in finding.ends:
        return False
    whole = finding.ends[question]
    error = 0.0 if finding.oddities else math.hypot(part.error, whole.error)
    return part.worse < whole.worse and is_another(part.worse, whole.worse, error)


def _compared(
    what: str,
    order: BisectOrder,
    kind: Kind,
    axis: Axis,
    places: tuple[int, int],
    launches: str = "3..8",
) -> Iterator[Step]:
    """Two positions, measured again; not where that would be this bisection again."""
    if kind != "commits":
        with contextlib.suppress(Unusable):
            good, bad = (str(axis.subject(index)) for index in places)
            yield Step(what, order.comparison(good, bad, launches))
    elif places != (0, len(axis.positions) - 1):  # what is made of a commit is gone
        good, bad = (_end(kind, axis, index) for index in places)
        yield Step(what, order.between(good, bad).command(kind))


def _end(kind: Kind, axis: Axis, index: int) -> str:
    """What names a position on the command line."""
    return axis.positions[index].name if kind == "commits" else str(axis.subject(index))
