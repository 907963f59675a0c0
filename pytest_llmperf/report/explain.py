"""The paragraph under a failed test: what got worse, by how much, what differs, why, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.report.cause import likely_cause
from pytest_llmperf.report.differs import what_differs
from pytest_llmperf.report.judged import (
    broken,
    change_headline,
    change_line,
    changes,
    creep_line,
    crept,
    is_side_by_side,
    limit_headline,
    limit_line,
    limits,
    without_left_out,
    worsened,
)
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.steps import next_steps

Entry = Mapping[str, Any]


def explain(entry: Entry) -> str:
    """Plain words for an entry whose verdict is not a pass."""
    entry = without_left_out(entry)
    judged = [*_broken(entry), *_worse(entry)] or list(_undecided(entry))
    lines = [sentence(entry), ""]
    lines += [f"  {word:<9} {line}" for word, line in judged]
    told = _compared(entry)
    if any(True for _ in changes(entry, "regressed", "inconclusive")) or crept(entry):
        lines += ["", *told, *(f"  {line}" for line in what_differs(entry["subject_differences"]))]
        lines += _why(entry)
    elif not _is_broken(entry):
        lines += [*([""] if judged and told else []), *told]
    steps = next_steps(entry)
    lines += [*(["", "  Next:"] if steps else []), *(f"    {step}" for step in steps)]
    return "\n".join(printable(line) for text in lines for line in text.split("\n"))


def sentence(entry: Entry) -> str:
    """What happened, in one sentence; of an entry whose runs that are left out are taken out."""
    name, said = short_name(entry["test"]), []
    if _is_broken(entry):
        said.append("misses its SLO")
    if worsened(entry):
        said.append(f"is worse than {_the_other(entry)}")
    elif crept(entry):
        said.append("is worse than it once was, by small steps")
    if not said:
        if any(limits(entry, "inconclusive")):
            said.append("may or may not meet its SLO")
        if any(changes(entry, "inconclusive")):
            said.append(f"could not be told from {_the_other(entry)}, nor be called equal")
    if not said:
        other = entry["compared_with"]["text"] if is_side_by_side(entry) else "a baseline"
        said.append(f"was not compared with {other} in everything")
    first = next(_first(entry), "")
    return f"{first}{name} {' and '.join(said)} ({entry['subject']['text']})."


def _first(entry: Entry) -> Iterator[str]:
    yield from (f"{limit_headline(*found)}: " for found in broken(entry))
    yield from (f"{change_headline(*found)}: " for found in worsened(entry))
    yield from (f"{change_headline(*found)}: " for found in crept(entry))


def _the_other(entry: Entry) -> str:
    if is_side_by_side(entry):
        return f"{entry['compared_with']['text']}, measured side by side"
    return "its baseline"


def _is_broken(entry: Entry) -> bool:
    return bool(broken(entry))


def _broken(entry: Entry) -> Iterator[tuple[str, str]]:
    for point, objective in broken(entry):
        lines = [limit_line(point, objective)]
        if objective["metric"] == "error_rate":
            lines += [f"{'':14}{error}" for error in error_lines(point)]
        yield "SLO", "\n".join(lines)


def error_lines(point: Mapping[str, Any]) -> list[str]:
    """The kinds of errors at a load point: how many there were, and one of them."""
    found: dict[str, tuple[int, str]] = {}
    for run in point["runs"]:
        for kind, error in run["errors"].items():
            count, example = found.get(kind, (0, error["example"]))
            found[kind] = count + error["count"], example
    return [f"{count} × {example}" for count, example in found.values()]


def _worse(entry: Entry) -> Iterator[tuple[str, str]]:
    yield from (("worse", change_line(*found)) for found in worsened(entry))
    yield from (("worse", creep_line(*found)) for found in crept(entry))


def _undecided(entry: Entry) -> Iterator[tuple[str, str]]:
    yield from (("undecided", limit_line(*found)) for found in limits(entry, "inconclusive"))
    yield from (("undecided", change_line(*found)) for found in changes(entry, "inconclusive"))


def _compared(entry: Entry) -> list[str]:
    """What it was compared with, or why with nothing."""
    return [f"  {entry['baseline']}"] if entry["baseline"] else []


def _why(entry: Entry) -> list[str]:
    """The part of the engine that the figures point to, and what they are."""
    cause = likely_cause(entry)
    if cause is None:
        return []
    word = "Likely" if cause.is_told else "Perhaps"
    return [f"  {word}: {cause.part}", *(f"    {basis}" for basis in cause.basis)]
