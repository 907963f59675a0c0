"""What ``llmperf step`` does: one commit, as good as the good one or as bad as the bad one, for
``git bisect run``.

The ends of the history are measured once, in the first step, so that it is known what is to be told apart;
then the commit at hand is measured beside the good one until it is like either of them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_llmperf.bisect.arguments import check_arguments, keeping_sessions, telling_variables
from pytest_llmperf.bisect.commits import Commits
from pytest_llmperf.bisect.diary import Replay, keeping
from pytest_llmperf.bisect.ends import documented, judge_ends
from pytest_llmperf.bisect.events import Asked
from pytest_llmperf.bisect.lineage import Named
from pytest_llmperf.bisect.oracle import PytestOracle
from pytest_llmperf.bisect.order import StepOrder
from pytest_llmperf.bisect.pair import Oracle, Pair, Question
from pytest_llmperf.bisect.position import Unusable
from pytest_llmperf.bisect.telling import say
from pytest_llmperf.bisect.told import first_told, is_last
from pytest_llmperf.declare.bisection import CONFIDENCE
from pytest_llmperf.declare.order import StepCode
from pytest_llmperf.errors import DeclarationError, EngineError, InvalidRun, StoreError
from pytest_llmperf.judge.culprit import Culprit, Sight
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.pytest_process import interrupted_by_signals
from pytest_llmperf.report.table import percent

FEWEST = 2
"""One in either order of launches."""
_GOOD, _HERE, _BAD = 0, 1, 2


def run_step(order: StepOrder) -> int:
    """Judge the commit that is checked out; the exit code for git."""
    try:
        with interrupted_by_signals():
            return _Step(order).run()
    except InvalidRun as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return StepCode.SKIP
    except (DeclarationError, StoreError, EngineError, OSError) as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return StepCode.STOP
    except KeyboardInterrupt:
        print("\nllmperf: interrupted", file=sys.stderr)
        return StepCode.INTERRUPTED


class _Step:
    """One step of a bisection that git is in charge of."""

    def __init__(self, order: StepOrder) -> None:
        """Raises :class:`DeclarationError` where it is not known what is good and bad."""
        check_arguments(order.arguments, order.metric)
        self._order, self._repository = order, Repository(order.repository)
        told = first_told(self._repository)
        self._good, self._bad = (
            self._commit(side, name or told.get(side))
            for side, name in (("good", order.good), ("bad", order.bad))
        )
        self._here = self._commit("HEAD", "HEAD")

    def _commit(self, side: str, name: str | None) -> str:
        if name is None:
            raise DeclarationError(
                f"no {side} commit: begin with git bisect start BAD GOOD, or give --good and --bad"
            )
        if (found := self._repository.commit(name)) is None:
            raise DeclarationError(f"{side} {name}: no commit of {self._repository.root}")
        return found

    def run(self) -> StepCode:
        """Measure as long as it takes."""
        if self._here in (self._good, self._bad):
            return self._say(StepCode.GOOD if self._here == self._good else StepCode.BAD, "it is that end")
        order, recipe = self._order, self._order.recipe
        asked = Asked(
            "step",
            self._good[:12],
            self._bad[:12],
            order.pytest_arguments,
            telling_variables(os.environ),
            recipe.words,
        )
        directory = (order.out / asked.name).absolute()
        axis = Commits(
            Named(self._repository, (self._good, self._here, self._bad)),
            self._repository,
            recipe,
            directory,
            distribution=recipe.distribution,
            progress=say,
        )
        try:
            code = self._measured(axis, asked, directory)
        except BaseException:
            axis.forget(_HERE)
            if axis.has_made:
                say(
                    f"what was made of the ends stays in {axis.trees}, for the next step; to give it up, "
                    f"remove that directory, then git worktree prune in {self._repository.root}"
                )
            raise
        axis.forget(_HERE)
        if is_last(self._repository, self._here, code.name.lower()):
            axis.close()
        return code

    def _measured(self, axis: Commits, asked: Asked, directory: Path) -> StepCode:
        first, here, last = axis.positions
        arguments = keeping_sessions(directory, self._order.pytest_arguments)
        with keeping(directory, asked, [first, last], say) as ends:
            kept = [replace(pair, right=_BAD) for pair in ends.pairs]
            oracle = PytestOracle(axis, arguments, directory, kept, say)
            try:
                # Git stops where an end cannot be measured, and the person tries again.
                replay = Replay(_Ends(oracle), ends, retries_unusable=True)
                question, between = _followed(replay)
            except Unusable as unusable:
                raise DeclarationError(f"an end cannot be measured: {unusable.why}") from None
            axis.forget(_BAD)
            with keeping(directory / here.name, asked, [first, here, last], say) as diary:
                try:
                    return self._judge(Replay(oracle, diary), question, between)
                except Unusable as unusable:
                    if unusable.position == _GOOD:
                        raise DeclarationError(f"the good commit failed: {unusable.why}") from None
                    return self._say(StepCode.SKIP, unusable.why)
                except DeclarationError as error:
                    # The ends were measured with the same words: it is what is checked out here.
                    return self._say(StepCode.SKIP, str(error))

    def _judge(self, oracle: Oracle, question: Question, between: Sequence[Pair]) -> StepCode:
        """Is it like the good or like the bad end?"""
        sights = [_sight(pair, question) for pair in between]
        own: list[Sight] = []
        while len(own) < self._order.pairs:
            pair = oracle.compare(_GOOD, _HERE)
            if question not in pair.figures:
                return self._say(StepCode.SKIP, f"it has no figure for {question.metric} at {question.load}")
            own.append(_sight(pair, question))
            culprit = Culprit(_GOOD, _BAD, [*sights, *own], documented(question))
            is_bad = culprit.between(_GOOD, _HERE)
            changes = f"the bad end is {percent(_change(sights))}, this one {percent(_change(own))}"
            told = f"bad with a probability of {is_bad:.0%}; {changes}"
            if len(own) >= FEWEST and not 1 - CONFIDENCE < is_bad < CONFIDENCE:
                return self._say(StepCode.BAD if is_bad > 0.5 else StepCode.GOOD, told)
        pairs = f"{len(own)} pair{'' if len(own) == 1 else 's'}"
        return self._say(StepCode.SKIP, f"{told}: not told apart in {pairs}")

    def _say(self, code: StepCode, why: str) -> StepCode:
        say(f"{self._here[:12]} is {code.name.lower()} (exit code {code.value}): {why}")
        return code


class _Ends:
    """The oracle, asked for the ends alone: position 1 is the bad one."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def compare(self, left: int, right: int) -> Pair:
        try:
            return replace(self._oracle.compare(_GOOD, _BAD), left=left, right=right)
        except Unusable as unusable:
            raise Unusable(left if unusable.position == _GOOD else right, unusable.why) from None


def _followed(oracle: Oracle) -> tuple[Question, list[Pair]]:
    """What the ends differ in beyond doubt, and their pairs."""
    pairs: list[Pair] = []
    while True:
        pairs.append(oracle.compare(0, 1))
        ends = judge_ends(pairs)
        if ends.question is not None:
            return ends.question, [replace(pair, right=_BAD) for pair in pairs]
        if ends.outcome is not None:
            raise DeclarationError(
                f"the good and the bad commit: {ends.outcome} after {len(pairs)} pairs of launches; "
                "there is nothing that git could bisect by"
            )


def _sight(pair: Pair, question: Question) -> Sight:
    return Sight(pair.left, pair.right, question.worse(*pair.figures[question]))


def _change(sights: Sequence[Sight]) -> float:
    """For the worse, as a share."""
    return math.expm1(sum(one.worse for one in sights) / len(sights))
