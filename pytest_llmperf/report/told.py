"""What a session came to, in a word and a few sentences of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.report.gfm import code, plain
from pytest_llmperf.report.judged import (
    broken,
    change_line,
    changes,
    creep_line,
    crept,
    is_side_by_side,
    limit_line,
    limits,
    worsened,
)
from pytest_llmperf.report.outcome import HINDERED, Outcome
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.table import SLO_BROKEN

_PROMISE = "Where nothing changed, at most one session in a hundred says so."
_NO_REGRESSION = "That is no regression, and no pass either: the question is open."
_ALSO = {
    "slo broken": ("misses its SLO", "miss their SLO"),
    "regressed": ("is worse", "are worse"),
    "failed by itself": ("failed by an assertion of its own", "failed by assertions of their own"),
    "error": ("could not be measured", "could not be measured"),
    "invalid": (
        "has an invalid measurement, which says nothing about the engine",
        "have invalid measurements, which say nothing about the engine",
    ),
    HINDERED: (
        "found what its engine needs in use, which says nothing about it",
        "found what their engines need in use, which says nothing about them",
    ),
    "inconclusive": ("is undecided", "are undecided"),
    "not judged": ("was not judged", "were not judged"),
    "improved": ("is better", "are better"),
    "pass": ("passed", "passed"),
}

Entry = Mapping[str, Any]


def told(found: Sequence[Outcome]) -> list[str]:
    """The word that sums it up, the sentence that says what it rests on, and, if there is more, that.

    ``found`` has the worst first, as :func:`~pytest_llmperf.report.outcome.outcomes` gives it.
    """
    if not found:
        return ["nothing was measured", "No performance test was run, so nothing is known."]
    word, sentence = _TELL[found[0].word](found)
    return [word, sentence, *_besides(found)]


def _besides(found: Sequence[Outcome]) -> list[str]:
    """What came of the other tests."""
    counted = Counter(outcome.word for outcome in found if outcome.word != found[0].word)
    said = [
        f"{counted[word]} test{'s' if counted[word] > 1 else ''} {ways[counted[word] > 1]}"
        for word, ways in _ALSO.items()
        if counted[word]
    ]
    return ["", f"Besides: {'; '.join(said)}."] if said else []


# -- worse --------------------------------------------------------------------------------------------


def _worse(found: Sequence[Outcome]) -> tuple[str, str]:
    """By how much, how sure, and of how many."""
    failed = [outcome for outcome in found if outcome.word in (SLO_BROKEN, "regressed") and outcome.entry]
    entry = failed[0].entry
    assert entry is not None
    missed, worse, steps = broken(entry), worsened(entry), crept(entry)
    lines = [*(limit_line(*one) for one in missed), *(change_line(*one) for one in worse)]
    lines += [creep_line(*one) for one in steps]
    said = ["misses its SLO"] if missed else []
    said += [f"is worse than {_the_other(entry)}"] if worse else []
    said += ["is worse than it once was, by small steps"] if steps and not worse else []
    first = plain(lines[0], 400) if lines else "see below"
    word = "worse" if worse or steps else "misses its SLO"
    promise = f" {_PROMISE}" if worse else ""
    return (
        word,
        f"**{first}:** {_short(entry['test'])} {_with(entry)} {' and '.join(said)}.{promise}{_of_all(found)}",
    )


def _with(entry: Entry) -> str:
    """The subject, with its version where its name does not have it."""
    text, version = entry["subject"]["text"], entry["subject"]["fields"].get("version", "")
    return f"with {code(text)}{f' {plain(version, 60)}' if version and version not in text else ''}"


def _of_all(found: Sequence[Outcome]) -> str:
    compared = _count(found, changes, "regressed", "inconclusive", "improved", "pass")
    worse, limited = _count(found, changes, "regressed"), _count(found, limits, SLO_BROKEN)
    said = [f"{worse} of {_counted(compared, 'comparison')} {_are(worse)} worse"] if worse else []
    said += [f"{_counted(limited, 'limit')} {_are(limited)} missed"] if limited else []
    return f" In all, {' and '.join(said)}." if said else ""


def _the_other(entry: Entry) -> str:
    if is_side_by_side(entry):
        return f"{code(entry['compared_with']['text'])}, measured side by side"
    return "its baseline"


# -- not worse ------------------------------------------------------------------------------------------


def _undecided(found: Sequence[Outcome]) -> tuple[str, str]:
    entry = found[0].entry
    assert entry is not None
    near = [change_line(*one) for one in changes(entry, "inconclusive")]
    near += [limit_line(*one) for one in limits(entry, "inconclusive")]
    undecided = _count(found, changes, "inconclusive") + _count(found, limits, "inconclusive")
    of = _count(found, changes, "inconclusive", "improved", "pass")
    of += _count(found, _limits, "inconclusive", "pass")
    head = f"**{undecided} of {_counted(of, 'question')} could not be decided:** " if undecided else ""
    said = f"{plain(near[0], 400)}, in {_short(entry['test'])}" if near else plain(entry["baseline"], 400)
    return "undecided", f"{head}{said}. Nothing is known to be worse; {_DECIDE}"


_DECIDE = "whether it is safe is not known."


def _fine(found: Sequence[Outcome]) -> tuple[str, str]:
    """That it is safe, and what that means."""
    compared, better = _count(found, changes, "pass", "improved"), _count(found, changes, "improved")
    met = _count(found, _limits, "pass")
    said = []
    if compared:
        tolerances = sorted({c["tolerance"] for _, c in _all(found, changes, "pass", "improved")})
        ways = ", ".join(f"{tolerance * 100:.3g}%" for tolerance in tolerances[:3])
        said.append(
            f"none of {_counted(compared, 'comparison')} is worse than the tolerance ({ways}): each has a "
            "chance below 5% of being so, and twice the tolerance is ruled out"
        )
    if better:
        said.append(f"{better} {_are(better)} better")
    if met:
        said.append(f"{_counted(met, 'limit')} {_are(met)} met")
    if not met and not compared:
        said += [plain(line, 400) for one in found if one.entry for line in probe_lines(one.entry)[:1]][:1]
    word = ("safe" if compared else "meets its SLO") if met or compared else "passed"
    if not compared:
        said.append("it was compared with nothing")
    sentence = "; ".join(said)
    return word, f"**{sentence[:1].upper()}{sentence[1:]}.**"


def _uncompared(found: Sequence[Outcome]) -> tuple[str, str]:
    entry = found[0].entry
    why = (
        plain(entry["baseline"], 400) if entry and entry["baseline"] else "there was nothing to compare with"
    )
    return "not judged", f"**Measured, but not judged:** {_short(found[0].test)}: {why}."


# -- nothing is known -----------------------------------------------------------------------------------


def _invalid(found: Sequence[Outcome]) -> tuple[str, str]:
    return "invalid", f"**{_measurements(found, 'invalid')} nothing about the engine.** {_NO_REGRESSION}"


def _measurements(found: Sequence[Outcome], word: str) -> str:
    n = sum(outcome.word == word for outcome in found)
    return f"The measurement of {_short(found[0].test)} says" if n == 1 else f"{n} measurements say"


def _hindered(found: Sequence[Outcome]) -> tuple[str, str]:
    return "not measured", (
        f"**The engine of {_short(found[0].test)} was not started, since what it needs is in use or out of "
        f"reach.** {_NO_REGRESSION} Run it again later."
    )


def _error(found: Sequence[Outcome]) -> tuple[str, str]:
    first = next((line for line in found[0].error.splitlines() if line.strip()), "no measurement")
    return "not measured", f"**{_short(found[0].test)} could not be measured:** {plain(first, 300)}"


def _failed(found: Sequence[Outcome]) -> tuple[str, str]:
    said = f"**{_short(found[0].test)} failed by an assertion of its own;** the log of the job has it."
    last = [plain(line, 400) for line in probe_lines(found[0].entry or {})[1:]]
    return "failed", " ".join((said, *(f"{line[:1].upper()}{line[1:]}." for line in last)))


_TELL: dict[str, Callable[[Sequence[Outcome]], tuple[str, str]]] = {
    "slo broken": _worse,
    "regressed": _worse,
    "failed by itself": _failed,
    "error": _error,
    "invalid": _invalid,
    HINDERED: _hindered,
    "inconclusive": _undecided,
    "not judged": _uncompared,
    "improved": _fine,
    "pass": _fine,
}


def _limits(entry: Entry, *verdicts: str) -> Iterator[tuple[Entry, Entry]]:
    """Without those on errors that were none, which are no news."""
    for point, objective in limits(entry, *verdicts):
        if objective["limit"] != 0 or objective["verdict"] != "pass":
            yield point, objective


def _short(test: str) -> str:
    return code(short_name(test), 80)


def _all(
    found: Iterable[Outcome], of: Callable[..., Iterable[tuple[Entry, Entry]]], *verdicts: str
) -> list[tuple[Entry, Entry]]:
    return [one for outcome in found if outcome.entry for one in of(outcome.entry, *verdicts)]


def _count(found: Iterable[Outcome], of: Callable[..., Any], *verdicts: str) -> int:
    return len(_all(found, of, *verdicts))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n != 1 else ''}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"
