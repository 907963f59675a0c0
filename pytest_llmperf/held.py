"""What pytest is to be told of a test, kept back until it is over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from _pytest.runner import check_interactive_exception, get_reraise_exceptions


class Held:
    """The reports of one item's last turn that counts, and what its own report is made of."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item
        self._properties = list(item.user_properties)
        self._setup: pytest.TestReport | None = None
        self._call: pytest.TestReport | None = None
        self._teardown: pytest.TestReport | None = None
        self._sections: list[tuple[str, str, str]] = []
        self._recorded: list[tuple[str, object]] = []
        self._funcargs: dict[str, object] = {}
        self._interact: Callable[[], object] = lambda: None
        self._started: float | None = None
        self._spent_s = 0.0

    @property
    def is_torn_down_badly(self) -> bool:
        return self._teardown is not None and self._teardown.failed

    def clear(self) -> None:
        """Take from the item what an earlier turn captured and recorded."""
        self.item._report_sections.clear()
        self.item.user_properties[:] = self._properties

    def spend(self, call: pytest.CallInfo[None]) -> None:
        """Count the time of a turn's call."""
        self._started = self._started or call.start
        self._spent_s += call.duration

    def keep(self, setup: pytest.TestReport, call: pytest.TestReport | None) -> None:
        """Keep the reports of a turn in place of those of the one before; nothing is torn down yet."""
        item = self.item
        self._setup, self._call, self._funcargs = setup, call, getattr(item, "funcargs", {})
        self._sections, self._recorded = list(item._report_sections), list(item.user_properties)

    def keep_teardown(self, report: pytest.TestReport, *, counts: bool) -> None:
        """Keep the teardown's report of the turn that ``counts``, or else of the first that failed."""
        if not self.is_torn_down_badly and (counts or report.failed):
            self._teardown = report

    def conclude(self, verdict: Callable[[], None]) -> None:
        """Make the report of the call anew, by what ``verdict`` raises; all plugins have their say in it."""
        if self._call is None:  # --setup-only
            return
        item = self.item
        now = list(item._report_sections), list(item.user_properties), getattr(item, "funcargs", None)
        item._report_sections[:], item.user_properties[:] = self._sections, self._recorded
        item.funcargs = self._funcargs  # type: ignore[attr-defined]
        try:
            call = pytest.CallInfo.from_call(verdict, "call", get_reraise_exceptions(item.config))
            call.start, call.duration = self._started or call.start, self._spent_s
            report: pytest.TestReport = item.ihook.pytest_runtest_makereport(item=item, call=call)
        finally:
            item._report_sections[:], item.user_properties[:], item.funcargs = now  # type: ignore[attr-defined]
        self._call = report
        if check_interactive_exception(call, report):
            self._interact = lambda: item.ihook.pytest_exception_interact(node=item, call=call, report=report)

    def open(self) -> None:
        """Report the setup and the call."""
        self.item.ihook.pytest_runtest_logstart(nodeid=self.item.nodeid, location=self.item.location)
        for report in filter(None, (self._setup, self._call)):
            self.item.ihook.pytest_runtest_logreport(report=report)
        self._interact()

    def close(self) -> None:
        """Report the teardown."""
        if self._teardown is not None:
            self.item.ihook.pytest_runtest_logreport(report=self._teardown)
        self.item.ihook.pytest_runtest_logfinish(nodeid=self.item.nodeid, location=self.item.location)
