"""The flags and variables that two subjects differ in, taken over one after another, and the fewest that
explain what came of all.

Measurements are as expensive here as tests of a program are in delta debugging (Zeller and Hildebrandt,
*Simplifying and Isolating Failure-Inducing Input*, IEEE TSE 28(2), 2002), and a set is found one member at a
time as in QuickXplain (Junker, *QUICKXPLAIN: Preferred Explanations and Relaxations for Over-Constrained
Problems*, AAAI 2004): the difference that turns the line of all of them bad is a member, and becomes part of
what is given when the others are searched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_llmperf.bisect.differences import Difference, differences, with_taken_over
from pytest_llmperf.bisect.finding import Finding, Outcome
from pytest_llmperf.bisect.position import Position
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import DeclarationError


class Flags:
    """An :class:`~pytest_llmperf.bisect.position.Axis`: the good subject with the first differences taken
    over from the bad one, one more at each position."""

    kind = "flags"

    def __init__(
        self,
        good: Subject,
        bad: Subject,
        chain: Sequence[Difference] | None = None,
        taken: Sequence[Difference] = (),
        purpose: str = "what did it?",
    ) -> None:
        """``taken`` differences are taken over at every position, those of ``chain`` (all) one by one;
        ``purpose`` is the question that this line answers.

        Raises :class:`DeclarationError` for subjects that do not differ, or in more than flags.
        """
        if good.target != bad.target:
            raise DeclarationError(
                f"{good.target} and {bad.target} differ in more than flags: bisect one at a time"
            )
        self.chain = differences(good, bad) if chain is None else list(chain)
        if not self.chain:
            raise DeclarationError("--good and --bad have the same flags and variables")
        self._subjects = [
            with_taken_over(good, bad, (*taken, *self.chain[:count])) for count in range(len(self.chain) + 1)
        ]
        self.purpose = purpose
        self.given = f"with {', '.join(map(str, taken))} taken over" if taken else ""
        changes = ["" if not taken else ", ".join(map(str, taken)), *map(str, self.chain)]
        names = ["good", *(f"+ {change}" for change in changes[1:-1]), "bad"]
        self.positions: Sequence[Position] = [
            Position(name, change) for name, change in zip(names, changes, strict=True)
        ]

    def subject(self, index: int) -> Subject:
        return self._subjects[index]


@dataclass(frozen=True)
class Explanation:
    """``members`` are the differences that explain the bad end, in the order of the chain: none of them can
    be spared as far as that could be measured.

    ``findings`` are those of all line searches, in their order, ``finding`` is the first one, over all
    differences. ``why`` tells what is open: nothing where the members alone are as bad as
    everything.
    """

    members: tuple[Difference, ...]
    findings: tuple[Finding, ...]
    why: str = ""

    @property
    def finding(self) -> Finding:
        return self.findings[0]


def smallest_set(good: Subject, bad: Subject, search: Callable[[Flags], Finding]) -> Explanation:
    """A smallest set of differences that explains how ``bad`` is worse than ``good``.

    ``search`` bisects one line. As long as what was found does not explain all, the rest is searched with it
    taken over: that finds culprits that add up, and those that work only together. Differences that could
    not be measured apart are members together. Of several sets that explain it, the one that comes first in
    the chain is found. It takes one search more than there are members, and one for each of two or more in
    the end.
    """
    finder = _Finder(good, bad, search)
    finder.find()
    if len(finder.members) > 1:
        finder.spare()
    order = {one: number for number, one in enumerate(finder.chain)}
    return Explanation(
        tuple(sorted(finder.members, key=order.__getitem__)),
        tuple(finder.findings),
        why=finder.why,
    )


class _Finder:
    def __init__(self, good: Subject, bad: Subject, search: Callable[[Flags], Finding]) -> None:
        self._good, self._bad, self._search = good, bad, search
        self.chain = differences(good, bad)
        self.members: list[Difference] = []
        self.findings: list[Finding] = []
        self.why = ""

    def find(self) -> None:
        """Members until nothing is left to explain."""
        rest, ahead = list(self.chain), list[Difference]()
        while True:
            found = self._line(rest, self.members, "is there anything else?")
            if found.outcome is Outcome.UNUSABLE and ahead:
                # What was found does not start without what was ahead of it: that is needed as well, until
                # the end shows what of it is not.
                self.members += ahead
                rest = [one for one in rest if one not in ahead]
                ahead = []
            elif found.outcome is Outcome.CULPRIT and found.suspects:
                group = [rest[position - 1] for position in found.suspects]
                ahead = rest[: found.suspects[0] - 1]
                self.members += group
                rest = [one for one in rest if one not in group]
            else:
                self._end(found)
                return
            if not rest:
                return

    def spare(self) -> None:
        """Give up members without which it is as bad. What came last is tried last: the others were found
        without it."""
        for one in list(self.members):
            others = [member for member in self.members if member is not one]
            if not others:
                continue
            found = self._line([one], others, "is that all it takes?")
            if found.outcome in (Outcome.NO_DIFFERENCE, Outcome.BETTER):
                self.members = others

    def _line(self, chain: Sequence[Difference], taken: Sequence[Difference], purpose: str) -> Finding:
        found = self._search(Flags(self._good, self._bad, chain, taken, purpose))
        self.findings.append(found)
        return found

    def _end(self, found: Finding) -> None:
        if found.outcome in (Outcome.NO_DIFFERENCE, Outcome.BETTER):
            return
        rest = f"with {', '.join(map(str, self.members))} taken over" if self.members else "from end to end"
        self.why = f"{rest}: {found.outcome.value}"
