"""Running tests once for each launch.

The launch is the unit of replication, and its start is what costs time, so a launch serves all tests before
the next one begins: other tests first, then one round of the performance tests after the other. The last
round is reported as any test is. An earlier one is silent, unless the test raises: then it is over, and
reported at once.

Under pytest-xdist the order is not ours, and reports belong to the test whose turn it is: there each test
runs all its rounds when its turn comes, at the price of more starts.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest.runner import runtestprotocol


class Rounds:
    """Hooks that run the items that ``is_measured`` picks ``count`` times; ``begin`` is told each round."""

    def __init__(
        self, count: int, is_measured: Callable[[pytest.Item], bool], begin: Callable[[int], None]
    ) -> None:
        self.is_last = count == 1
        self._count, self._is_measured, self._begin = count, is_measured, begin
        self._raised: set[pytest.Item] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """pytest's own loop, over a longer list; None leaves the loop to pytest, or to an xdist worker."""
        failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        is_worker = hasattr(session.config, "workerinput")
        if self._count == 1 or failed or is_worker or session.config.option.collectonly:
            return None
        others = [item for item in session.items if not self._is_measured(item)]
        measured = [item for item in session.items if self._is_measured(item)]
        turns = [(0, item) for item in others]
        turns += [(number, item) for number in range(self._count) for item in measured]
        self._start_round(0)
        for index, (number, item) in enumerate(turns):
            if item in self._raised:
                continue
            self._start_round(number)
            following = next((after for _, after in turns[index + 1 :] if after not in self._raised), None)
            # What is torn down after an item is what the next does not share with it. An item shares
            # everything with itself, so where it repeats at once its parent stands in.
            nextitem = item.parent if following is item else following
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            if session.shouldfail:
                raise session.Failed(session.shouldfail)
            if session.shouldstop:
                raise session.Interrupted(session.shouldstop)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if self._count == 1 or not self._is_measured(item):
            return None
        if not hasattr(item.config, "workerinput"):
            return None if self.is_last else self._run_silently(item, nextitem)
        for number in range(self._count - 1):
            self._start_round(number)
            self._run_silently(item, item.parent)
            if item in self._raised:
                return True
        self._start_round(self._count - 1)
        return None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        # Not by the report: an unexpected pass of a strict xfail may still fail when it is judged.
        if call.excinfo is not None:
            self._raised.add(item)

    def _start_round(self, number: int) -> None:
        self.is_last = number == self._count - 1
        self._begin(number)

    def _run_silently(self, item: pytest.Item, nextitem: object) -> bool:
        properties = list(item.user_properties)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)  # type: ignore[arg-type]
        if item in self._raised:
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            for report in reports:
                item.ihook.pytest_runtest_logreport(report=report)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What the next round captures and records is all that is to be shown with its report.
        item._report_sections.clear()
        item.user_properties[:] = properties
        return True
