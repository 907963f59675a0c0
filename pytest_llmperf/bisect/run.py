"""What ``llmperf bisect`` does: bisect, tell the person what goes on, and keep the answer."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.activate import BUILTIN
from pytest_llmperf.bisect.account import account, oddities, skipped
from pytest_llmperf.bisect.arguments import check_arguments, keeping_sessions, telling_variables
from pytest_llmperf.bisect.commits import Commits
from pytest_llmperf.bisect.diary import Diary, Replay, keeping, newest, parts, read_diary
from pytest_llmperf.bisect.events import Asked
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.flags import Explanation, Flags, smallest_set
from pytest_llmperf.bisect.kind import Kind, kind_of
from pytest_llmperf.bisect.lineage import Lineage
from pytest_llmperf.bisect.next_steps import next_steps
from pytest_llmperf.bisect.oracle import PytestOracle
from pytest_llmperf.bisect.order import BisectOrder
from pytest_llmperf.bisect.position import Axis
from pytest_llmperf.bisect.releases import Releases
from pytest_llmperf.bisect.search import bisect
from pytest_llmperf.bisect.telling import Telling, say
from pytest_llmperf.declare.order import Bisected
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.errors import DeclarationError, EngineError, InvalidRun, StoreError
from pytest_llmperf.keep.files import check_writable, replacing, rounded, write_json
from pytest_llmperf.keep.repository import Repository
from pytest_llmperf.pytest_process import interrupted_by_signals
from pytest_llmperf.report.culprit import culprit_lines, culprit_markdown
from pytest_llmperf.report.diary import diary_lines
from pytest_llmperf.report.plain import show_plainly
from pytest_llmperf.report.printable import printable

_LISTED = ("date", "author", "subject", "with it")


def run_bisection(order: BisectOrder) -> int:
    """Do as ordered, and tell the person; the exit code."""
    show_plainly(sys.stdout)
    try:
        errand = _Errand(order)
        if order.lists:
            return errand.show()
        with interrupted_by_signals():
            return errand.run()
    except InvalidRun as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Bisected.INVALID
    except (DeclarationError, StoreError, EngineError) as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Bisected.USAGE
    except KeyboardInterrupt:
        print("\nllmperf: interrupted; the same command goes on where it was", file=sys.stderr)
        return Bisected.INTERRUPTED


def show_log(directory: Path | None, out: Path) -> int:
    """What was measured until now, in the bisection that was written last, or in the one at a path."""
    try:
        top = directory or newest(out)
        for part in (top, *parts(top)):
            print("\n".join([str(part), *diary_lines(read_diary(part))]))
        return Bisected.FOUND
    except StoreError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Bisected.USAGE


class _Errand:
    """A bisection on its way."""

    def __init__(self, order: BisectOrder) -> None:
        """Raises :class:`DeclarationError` for what cannot be bisected, before anything is measured."""
        self._order = order
        template = order.recipe.subject if order.recipe else None
        self.kind: Kind = kind_of(order.good, order.bad, template)
        if order.kind not in (None, self.kind):
            raise DeclarationError(
                f"between --good {order.shown_ends[0]} and --bad {order.shown_ends[1]} lie {self.kind}, not "
                f"{order.kind}; leave {order.kind} out"
            )
        if not order.lists:
            check_arguments(order.arguments, order.metric)
        self._lineage = self._lineage_of() if self.kind == "commits" else None
        variables = telling_variables(os.environ)
        asked = Asked(self.kind, *order.shown_ends, order.pytest_arguments, variables, self._made())
        for path in filter(None, (order.json, order.markdown)):
            check_writable(path)
        self._asked, self.directory = asked, order.out / asked.name
        self._axis = self._axis_of()
        self._lines: list[Axis] = []

    def show(self) -> int:
        """The positions, by what came with each where its name would say another thing."""
        is_flags = self.kind == "flags"
        for index, position in enumerate(self._axis.positions):
            is_change = is_flags or position.change.endswith("taken back")
            name = position.change if is_change and index else position.name
            about = [position.about[key] for key in _LISTED if key in position.about]
            print(printable("  ".join([name, *about])))
        return Bisected.FOUND

    def run(self) -> int:
        say(f"{_between(self._axis)}; kept in {self.directory}")
        if isinstance(self._axis, Flags):
            good, bad = (parse_subject(one) for one in (self._order.good, self._order.bad))
            explained = smallest_set(good, bad, self._line)
            told = self._account_of_flags(explained)
        else:
            told = self._account_of(self._line(self._axis))
        code = self._tell(told)
        if isinstance(self._axis, Commits):  # last: whatever comes of it, the answer is told
            self._axis.close()
        return code

    def _line(self, axis: Axis) -> Finding:
        """Bisect one line of positions."""
        self._lines.append(axis)
        number = len(self._lines)
        if isinstance(axis, Flags) and axis.given:
            say(f"{axis.given}: {axis.purpose}")
        directory = self.directory if number == 1 else self.directory / f"line-{number}"
        with keeping(directory, self._asked, axis.positions, say) as diary, _told(diary):
            telling = Telling(axis, len(diary.pairs))
            oracle = PytestOracle(axis, self._arguments(directory), diary.directory, diary.pairs, say)
            replay = Replay(oracle, diary, retries_unusable=self._order.retries_unusable)
            finding = bisect(
                len(axis.positions) - 1,
                replay,
                confidence=self._order.confidence,
                most_pairs=self._order.pairs,
                budget_s=self._order.budget_s,
                listener=lambda standing: telling.hear(standing, replay),
            )
            replay.found(finding)
            return finding

    def _arguments(self, directory: Path) -> list[str]:
        words = self._order.pytest_arguments
        return keeping_sessions(directory, words) if self.kind == "commits" else words

    def _lineage_of(self) -> Lineage:
        order = self._order
        return Lineage(Repository(order.repository), order.good, order.bad, order.paths)

    def _made(self) -> Sequence[str]:
        """How commits are made into subjects, and which."""
        order, lineage = self._order, self._lineage
        if order.recipe is None or lineage is None:
            return ()
        ends = (lineage.commits[0].hash, lineage.commits[-1].hash)
        return (str(order.repository.absolute()), *order.recipe.words, *order.paths, *ends)

    def _axis_of(self) -> Axis:
        order = self._order
        if self._lineage is not None and order.recipe is not None:
            return Commits(
                self._lineage,
                self._lineage.repository,
                order.recipe,
                self.directory,
                distribution=order.recipe.distribution,
                progress=say,
            )
        good, bad = (parse_subject(one) for one in (order.good, order.bad))
        if self.kind == "flags":
            return Flags(good, bad)
        engine = _engine(good.engine)
        return Releases(good, bad, engine, with_pre=order.with_pre, with_yanked=order.with_yanked)

    def _account_of(self, finding: Finding) -> dict[str, Any]:
        axis, order = self._axis, self._order
        steps = next_steps(order, self.kind, axis, finding, self.directory)
        return account(self.kind, axis.positions, finding, order.shown_ends, steps)

    def _account_of_flags(self, explained: Explanation) -> dict[str, Any]:
        told = self._account_of(explained.finding)
        told["launches"] = sum(one.launches for one in explained.findings)
        told["seconds"] = rounded(sum(one.seconds for one in explained.findings))
        if len(explained.members) > 1:  # all of them have to be right
            sure = [one.confidence for one in explained.findings if one.outcome is Outcome.CULPRIT]
            told["confidence"] = rounded(math.prod(sure))
        if explained.members:
            told["suspects"] = [
                {"name": str(one), "change": str(one), "about": {}, "probability": None}
                for one in explained.members
            ]
        told["open"] = explained.why
        for line, finding in list(zip(self._lines, explained.findings, strict=True))[1:]:
            if isinstance(line, Flags):
                told["oddities"] += oddities(line.positions, finding, line.given)
                told["skipped"] += skipped(line.positions, finding, line.given)
        return told

    def _tell(self, told: dict[str, Any]) -> int:
        print("\n" + "\n".join(culprit_lines(told)))
        write_json(self.directory / "answer.json", told)
        if self._order.json:
            write_json(self._order.json, told)
        if self._order.markdown:
            with replacing(self._order.markdown) as file:
                file.write(culprit_markdown(told))
        codes = {Outcome.CULPRIT: Bisected.FOUND, Outcome.UNUSABLE: Bisected.INVALID}
        return codes.get(Outcome(told["outcome"]), Bisected.NOT_FOUND)


def _engine(name: str) -> Engine:
    if name not in BUILTIN:
        raise DeclarationError(f"engine {name!r} is not known; valid: {', '.join(BUILTIN)}")
    return BUILTIN[name]


def _between(axis: Axis) -> str:
    first, last = axis.positions[0].name, axis.positions[-1].name
    count = len(axis.positions) - 1
    if axis.kind == "flags":
        return f"{count} difference{'' if count == 1 else 's'} between good and bad"
    return f"{count + 1} {axis.kind} from {first} to {last}"


@contextlib.contextmanager
def _told(diary: Diary) -> Iterator[None]:
    """What ends it early is in the diary."""
    try:
        yield
    except KeyboardInterrupt:
        diary.interrupted("by the person")
        raise
    except (InvalidRun, DeclarationError) as error:
        diary.interrupted(str(error).splitlines()[0])
        raise
