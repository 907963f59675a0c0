"""Running tests in rounds of launches, until enough is known of each.

The launch is the unit of replication, and its start is what costs time, so a launch serves all tests that
want one before the next begins: other tests first, then one round of the performance tests after the
other. After each round all is judged, and what wants another launch is in the next. Side by side, a round
has a launch of the base and one of the candidate, in an order that is turned around each time (ABBA), so
that a machine that gets slower over the session does so for both.

Turns are silent. What pytest is told of a test is told when it is over: once, in the order of a test that
runs alone. A test that raises is over at once.

Under pytest-xdist the order is not ours, and reports belong to the test whose turn it is: there each test
runs all its rounds when its turn comes, at the price of more starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Protocol

import pytest
from _pytest.runner import call_and_report, show_test_item

from pytest_llmperf.held import Held
from pytest_llmperf.turn import Turn


class Measuring(Protocol):
    """Who measures in these rounds, and decides how many there are."""

    def turns(self, number: int, items: Sequence[pytest.Item]) -> list[Turn]:
        """The turns of a round, which begins."""
        ...

    def begin(self, turn: Turn) -> None: ...
    def end(self, turn: Turn, *, is_over: bool) -> None: ...

    def tolerates(self, turn: Turn, error: BaseException) -> bool:
        """Whether the test goes on although its body raised this."""
        ...

    def judge(self, number: int, items: Sequence[pytest.Item]) -> Sequence[pytest.Item]:
        """Judge what is there after a round of ``items``; returns those that want another one."""
        ...

    def conclude(self, item: pytest.Item) -> None:
        """Raises what the verdict on a test means for it."""
        ...


class Rounds:
    """Hooks that run the items that ``is_measured`` picks."""

    def __init__(self, measuring: Measuring, is_measured: Callable[[pytest.Item], bool]) -> None:
        self._measuring, self._is_measured = measuring, is_measured
        self._number = 0
        self._turn: Turn | None = None
        self._turns: deque[Turn] = deque()
        self._wanting: Sequence[pytest.Item] = ()
        self._after: pytest.Item | None = None
        self._held: dict[pytest.Item, Held] = {}
        self._over: set[pytest.Item] = set()
        self._raised: BaseException | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """pytest's own loop, over a longer list; None leaves the loop to pytest, or to an xdist worker."""
        failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        measured = [item for item in session.items if self._is_measured(item)]
        if failed or session.config.option.collectonly or hasattr(session.config, "workerinput"):
            return None
        if not measured:
            return None
        others = [item for item in session.items if not self._is_measured(item)]
        for item, following in pairwise([*others, measured[0]]):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            _stop_if_asked(session)
        self._begin_round(0, measured)
        while self._turns:
            self._turn = self._turns.popleft()
            item = self._turn.item
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=self._following(item))
            self._turn = None
            _stop_if_asked(session)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self._is_measured(item):
            return None
        if self._turn is not None:
            self._take(self._turn)
            return True
        self._after = nextitem
        self._begin_round(0, [item])
        while self._turns:
            self._take(self._turns.popleft())
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        # Not by the report: an unexpected pass of a strict xfail may still fail when it is judged.
        if call.excinfo is not None:
            self._raised = call.excinfo.value
        if call.when == "call" and item in self._held and item not in self._over:
            self._held[item].spend(call)

    # -- turns --------------------------------------------------------------------------------------

    def _take(self, turn: Turn) -> None:
        """Run an item once, as :func:`_pytest.runner.runtestprotocol` does, but what it reports is held, and
        what follows it is decided before it is torn down."""
        item = turn.item
        held = self._held.setdefault(item, Held(item))
        held.clear()
        self._measuring.begin(turn)
        if not item._request:  # type: ignore[attr-defined]
            item._initrequest()  # type: ignore[attr-defined]
        try:
            counts = self._set_up_and_call(turn, held)
            following = self._what_follows(item)
            report = call_and_report(item, "teardown", log=False, nextitem=following)
        finally:
            item._request = False  # type: ignore[attr-defined]
            item.funcargs = None  # type: ignore[attr-defined]
            # A method has an instance of its own in every turn, as it has in every test.
            for bound in ("_instance", "_obj"):
                item.__dict__.pop(bound, None)
        held.keep_teardown(report, counts=counts)
        if item in self._over or (_is_to_stop(item.session) and held.is_torn_down_badly):
            held.close()
        elif held.is_torn_down_badly and turn.number != self._number:
            self._wanting = [one for one in self._wanting if one is not item]
            self._end([item])

    def _set_up_and_call(self, turn: Turn, held: Held) -> bool:
        """Returns whether this is a turn whose reports are kept."""
        item, options = turn.item, turn.item.config.option
        self._raised = None
        setup, call = call_and_report(item, "setup", log=False), None
        if setup.passed:
            if options.setupshow:
                show_test_item(item, add_space=not options.setuponly)
            if not options.setuponly:
                call = call_and_report(item, "call", log=False)
        raised = self._raised
        goes_on = raised is None or (call is not None and self._measuring.tolerates(turn, raised))
        if counts := turn.side == "candidate" or not goes_on:
            held.keep(setup, call)
        self._measuring.end(turn, is_over=not goes_on)
        if not goes_on:
            self._over.add(item)
            held.open()
        return counts

    def _what_follows(self, item: pytest.Item) -> pytest.Item | None:
        """End the round if its turns have been taken, and return the item that comes next."""
        self._drop_turns()
        if not self._turns and not _is_to_stop(item.session):
            self._end_round(item)
        return None if _is_to_stop(item.session) else self._following(item)

    def _following(self, item: pytest.Item) -> pytest.Item | None:
        following = self._turns[0].item if self._turns else self._after
        # What is torn down after an item is what the next does not share with it. An item shares
        # everything with itself, so where it repeats at once its parent stands in.
        return item.parent if following is item else following  # type: ignore[return-value]

    def _drop_turns(self) -> None:
        """Forget the turns of what is over."""
        self._turns = deque(turn for turn in self._turns if turn.item not in self._over)

    # -- rounds -------------------------------------------------------------------------------------

    def _begin_round(self, number: int, items: Sequence[pytest.Item]) -> None:
        self._number, self._wanting = number, items
        self._turns = deque(self._measuring.turns(number, items))

    def _end_round(self, current: pytest.Item) -> None:
        """Judge; ``current`` is not torn down yet."""
        ending = [item for item in self._wanting if item not in self._over]
        if not ending:
            return
        wanting = [
            item
            for item in self._measuring.judge(self._number, ending)
            if not self._held[item].is_torn_down_badly
        ]
        self._end([item for item in ending if item not in wanting], current)
        if wanting and not _is_to_stop(current.session):
            self._begin_round(self._number + 1, wanting)

    def _end(self, items: Iterable[pytest.Item], current: pytest.Item | None = None) -> None:
        """Report the verdicts on these, and all but ``current`` to the end."""
        for item in items:
            self._over.add(item)
            held = self._held[item]
            held.conclude(lambda item=item: self._measuring.conclude(item))  # type: ignore[misc]
            held.open()
            if item is not current:
                held.close()
            if _is_to_stop(item.session):
                break
        self._drop_turns()


def _is_to_stop(session: pytest.Session) -> bool:
    return bool(session.shouldfail or session.shouldstop)


def _stop_if_asked(session: pytest.Session) -> None:
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    if session.shouldstop:
        raise session.Interrupted(session.shouldstop)
