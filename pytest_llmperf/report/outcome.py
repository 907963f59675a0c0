"""What a session came to, test by test, with what is no fault of the engine told apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.judged import broken, crept, excess, size, without_left_out, worsened

HINDERED, NOTHING = "hindered", "nothing measured"
SEVERITY = (
    *("slo broken", "regressed", "failed by itself", "error", "invalid", HINDERED),
    *("inconclusive", "not judged", "improved", "pass"),
)
"""The words for what comes of a test, worst first: its verdict, or ``hindered`` where the engine could not be
started for want of what others use, which says nothing about it."""
assert set(SEVERITY) == {*map(str, Verdict), HINDERED}

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What came of one test. ``entry`` is None where the engine did not start, and ``error`` says why."""

    test: str
    word: str
    entry: Entry | None = None
    error: str = ""

    @property
    def rank(self) -> tuple[int, float, str]:
        """Sorts the worst first: by the word, then by the largest change or excess."""
        return SEVERITY.index(self.word), -_size(self.entry) if self.entry else 0.0, self.test


def outcomes(record: Mapping[str, Any]) -> list[Outcome]:
    """Of every test of a record, the worst first."""
    failures = {failure["test"]: failure for failure in record.get("failures", ())}
    tests = [entry["test"] for entry in record["tests"]]
    found = [
        outcome_of(entry["test"], entry, "", bool(failures.get(entry["test"], {}).get("is_hindered")))
        for entry in record["tests"]
    ]
    found += [
        outcome_of(test, None, failure["error"], failure["is_hindered"])
        for test, failure in failures.items()
        if test not in tests
    ]
    return sorted(found, key=lambda outcome: outcome.rank)


def outcome_of(test: str, entry: Entry | None, error: str, is_hindered: bool) -> Outcome:
    """What came of a test with this entry, or without one, because of an ``error``; ``is_hindered`` says
    whether that was for want of what others use."""
    if entry is None:
        return Outcome(test, HINDERED if is_hindered else str(Verdict.ERROR), None, error)
    # What releases before this one did not tell.
    points = [{"creep": [], **point} for point in entry["points"]]
    entry = {"left_out": [], "sweeps": [], **entry, "points": points}
    word = entry["verdict"] if entry["verdict"] in SEVERITY else str(Verdict.NOT_JUDGED)
    if word == Verdict.ERROR and is_hindered:
        word = HINDERED
    return Outcome(test, word, without_left_out(entry), entry["error"] or "")


def worst(records: Iterable[Mapping[str, Any]]) -> str:
    """The word for the test that fared worst; ``nothing measured`` without one."""
    found = [outcome for record in records for outcome in outcomes(record)]
    return min(found, key=lambda outcome: outcome.rank).word if found else NOTHING


def _size(entry: Entry) -> float:
    found = [size(change) for _, change in (*worsened(entry), *crept(entry))]
    found += [excess(objective) for _, objective in broken(entry)]
    return max(found, default=0.0)
