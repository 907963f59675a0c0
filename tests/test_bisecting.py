from __future__ import annotations

import json
from typing import Literal

import pytest

from pytest_llmperf.bisecting import BisectCode, Bisecting

When = Literal["setup", "call", "teardown"]
GOOD, BAD, SKIP, STOP = BisectCode


def report(
    verdict: str | None = "pass",
    outcome: Literal["passed", "failed", "skipped"] = "passed",
    when: When = "call",
    *,
    nodeid: str = "t.py::t",
    is_error: bool = False,
    points: int = 1,
) -> pytest.TestReport:
    made = pytest.TestReport(nodeid, ("t.py", 0, "t"), {}, outcome, None, when)
    if verdict is not None:
        made.llmperf = json.dumps({"verdict": verdict, "points": [{}] * points})  # type: ignore[attr-defined]
    if is_error:
        made.llmperf_error = True  # type: ignore[attr-defined]
    return made


def code(*reports: pytest.TestReport) -> BisectCode:
    bisecting = Bisecting(lambda text: None)
    for one in reports:
        bisecting.pytest_runtest_logreport(one)
    return bisecting.code()


PLAIN = report(None, nodeid="t.py::plain")


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (report(), GOOD),
        (report("improved"), GOOD),
        (report("regressed", "failed"), BAD),
        (report("slo broken", "failed"), BAD),
        (report("failed by itself", "failed"), BAD),
        (report("inconclusive"), SKIP),
        (report("inconclusive", "failed"), SKIP),
        (report("invalid", "failed", is_error=True), SKIP),
        (report("error", "failed", is_error=True), SKIP),
        # The body's own assertion, on figures that say nothing.
        (report("invalid", "failed"), SKIP),
        # Expected to fail, and it does.
        (report("slo broken", "skipped"), GOOD),
    ],
)
def test_a_commit_is_what_its_test_is(reported: pytest.TestReport, expected: BisectCode) -> None:
    assert code(reported) == expected
    assert code(PLAIN, reported) == expected


@pytest.mark.parametrize("when", ["setup", "teardown"])
def test_an_error_before_or_after_a_test_tells_nothing(when: When) -> None:
    assert code(report(), report(None, "failed", when)) == SKIP


def test_what_is_bad_is_bad_whatever_else_there_is() -> None:
    bad = report("regressed", "failed", nodeid="t.py::bad")
    assert code(report("inconclusive"), bad, report(None, "failed", "setup", nodeid="t.py::broken")) == BAD
    assert code(report(), report(None, "failed", nodeid="t.py::plain")) == BAD


def test_a_session_that_measured_nothing_tells_nothing() -> None:
    assert code() == code(PLAIN) == code(report("not judged", points=0)) == SKIP


def test_a_test_that_was_run_again_is_what_it_was_last() -> None:
    assert code(report("invalid", "failed", is_error=True), report()) == GOOD
    assert code(report(), report("slo broken", "failed")) == BAD


def test_a_crash_tells_nothing() -> None:
    bisecting = Bisecting(lambda text: None)
    bisecting.pytest_runtest_logreport(report("regressed", "failed"))
    assert bisecting.code(has_crashed=True) == SKIP


def test_the_codes_are_those_of_git() -> None:
    assert (GOOD, BAD, SKIP) == (0, 1, 125)
    assert STOP > 127
