"""Exit codes that ``git bisect run`` understands, in place of pytest's."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum

import pytest

from pytest_llmperf.judge.verdict import Verdict

_TELLS_NOTHING = {Verdict.INVALID, Verdict.ERROR, Verdict.INCONCLUSIVE}


class BisectCode(IntEnum):
    """What ``git bisect run`` takes a commit for; from 128 on it stops."""

    GOOD = 0
    BAD = 1
    SKIP = 125
    STOP = 130


class Bisecting:
    """Hooks that turn what the reports say into the exit status of the session.

    A failed test is bad. Otherwise the commit cannot be told about (``skip``) if there was an error, if a
    test was invalid or undecided, or if nothing was measured. ``note`` takes what a person has to know.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._codes: dict[tuple[str, str | None], BisectCode] = {}
        self._measured = self._interrupted = False

    @pytest.hookimpl
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._codes[report.nodeid, None] = BisectCode.SKIP

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        text = getattr(report, "llmperf", None)
        entry = json.loads(text) if text is not None else {"verdict": None, "points": []}
        self._measured |= bool(entry["points"] or entry.get("probed"))
        # By phase, so that a test that is run again is what it was last.
        self._codes[report.nodeid, report.when] = _code(report, entry["verdict"])

    @pytest.hookimpl
    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # Its subclasses are how pytest and xdist end after an error of the collection, or with -x.
        self._interrupted = excinfo.type is KeyboardInterrupt or excinfo.errisinstance(pytest.exit.Exception)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        code = self.code(has_crashed=session.exitstatus == pytest.ExitCode.INTERNAL_ERROR)
        session.exitstatus = code.value
        self._note(f"git bisect: {code.name.lower()} (exit code {code.value})")

    def code(self, *, has_crashed: bool = False) -> BisectCode:
        """What the reports until now come to."""
        if self._interrupted:
            return BisectCode.STOP
        codes = set(self._codes.values())
        if has_crashed or (BisectCode.BAD not in codes and (BisectCode.SKIP in codes or not self._measured)):
            return BisectCode.SKIP
        return BisectCode.BAD if BisectCode.BAD in codes else BisectCode.GOOD


def _code(report: pytest.TestReport, verdict: str | None) -> BisectCode:
    if verdict in _TELLS_NOTHING:
        return BisectCode.SKIP
    if not report.failed:
        return BisectCode.GOOD
    is_error = report.when != "call" or getattr(report, "llmperf_error", False)
    return BisectCode.SKIP if is_error else BisectCode.BAD
