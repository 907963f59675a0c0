"""Running tests once for each launch.

The launch is the unit of replication, and its start is what costs time, so a launch serves all tests
before the next one begins: all but the last round run before the session's own loop, their reports are
withheld, and the loop itself is the last round. A test that fails in an early round is over; its report
is given when the loop comes to it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest
from _pytest.runner import runtestprotocol

Begin = Callable[[int], None]


class Rounds:
    """Hooks that run the items that ``is_measured`` picks ``count`` times; ``begin`` is told each round."""

    def __init__(self, count: int, is_measured: Callable[[pytest.Item], bool], begin: Begin) -> None:
        self.is_last = count == 1
        self._count, self._is_measured, self._begin = count, is_measured, begin
        self._withheld: dict[pytest.Item, list[pytest.TestReport]] = {}
        self._have_run = count == 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, bool, bool]:
        is_worker = hasattr(session.config, "workerinput")
        failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        if session.items and not (is_worker or failed or self._have_run or session.config.option.collectonly):
            self._run_early_rounds(session, session.items[0])
        return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self._is_measured(item):
            return None
        if not self._have_run:
            # An xdist worker learns only now that it is the one which got the measured items.
            self._run_early_rounds(item.session, item)
        if item in self._withheld:
            if self.is_last:
                self._report(item)
            return True
        if self.is_last:
            return None
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        if not all(report.passed for report in reports):
            self._withheld[item] = reports
        return True

    def _run_early_rounds(self, session: pytest.Session, then: pytest.Item) -> None:
        """All rounds but the last; ``then`` is the item that runs after them."""
        self._have_run = True
        items = [item for item in session.items if self._is_measured(item)]
        for number in range(self._count - 1):
            self._begin(number)
            after = items[0] if number < self._count - 2 else then
            for item, following in zip(items, [*items[1:], after], strict=True):
                # What is torn down after an item is what the next one does not share with it. An item shares
                # everything with itself, so for a repetition its parent stands in.
                nextitem = item.parent if following is item else following
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
                if session.shouldstop:
                    raise session.Interrupted(session.shouldstop)
        self._begin(self._count - 1)
        self.is_last = True

    def _report(self, item: pytest.Item) -> None:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._withheld.pop(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
