"""What a bisection did, event by event, to be read in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from textwrap import shorten, wrap
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.table import percent

Event = Mapping[str, Any]
_WIDTH = 100
_NAME = 26
_INDENT = " " * 7
_OUTCOMES = {
    "culprit": "the culprit",
    "no difference": "no difference between the ends",
    "ends undecided": "the ends can neither be told apart nor called equal",
    "better": "the bad end is better than the good one",
    "unusable": "an end cannot be measured",
}
_FIRST_AND_LAST = 6
"""So many suspects are named one by one; of more, the first and the last."""


def diary_lines(events: Sequence[Event]) -> list[str]:
    """Every event with its time (UTC), the values of the metric that was followed in each pair, what was
    believed after it, and what all of it took."""
    question = _followed(events)
    pairs = [event for event in events if event["event"] == "pair"]
    names = [_short(pair[side]["name"]) for pair in pairs for side in ("left", "right")]
    width = max(map(len, names), default=0)
    lines: list[str] = []
    for event in events:
        told = _TELL.get(event["event"], _other)(event, question, width)
        first, *rest = told
        lines += [f"{_at(event)}  {first}".rstrip(), *(f"{_INDENT}{line}".rstrip() for line in rest)]
        if event["event"] == "begun" and question is not None:
            lines.append(f"{_INDENT}followed: {_of(question)}")
    return [printable(line) for line in [*lines, _total(events)]]


def _at(event: Event) -> str:
    return f"{datetime.fromisoformat(event['at']):%H:%M}"


def _followed(events: Sequence[Event]) -> Event | None:
    """The question that the last event with one is about."""
    found = [event["question"] for event in events if event.get("question")]
    return found[-1] if found else None


def _of(question: Event) -> str:
    key = parse_metric(question["metric"])
    at = f" at {question['load']}" if key.metric.has_load else ""
    borne = f"{question['tolerance'] * 100:.4g}%"
    return f"{key.label}{at} of {question['test']}, {question['workload']}; tolerance {borne}"


# --- one event --------------------------------------------------------------------------------------------


def _begun(event: Event, question: Event | None, width: int) -> list[str]:
    asked, positions = event["asked"], event["positions"]
    n = len(positions) - 1
    arguments = " ".join([*(f"{k}={v}" for k, v in asked["variables"].items()), *asked["arguments"]])
    machine = event["machine"]
    return [
        f"begun on {event['at'][:10]} (UTC): {asked['kind']} from {_short(positions[0]['name'])} (good) to "
        f"{_short(positions[-1]['name'])} (bad)",
        f"{n} change{'s' if n != 1 else ''} in between",
        *wrap(f"pytest {arguments}", _WIDTH - len(_INDENT), subsequent_indent="  "),
        *wrap(" ".join(asked.get("made", ())), _WIDTH - len(_INDENT), subsequent_indent="  "),
        f"{_versions(event)}; {machine.get('machine', '')}, {machine.get('cpu', '')}",
    ]


def _resumed(event: Event, question: Event | None, width: int) -> list[str]:
    return [f"resumed on {event['at'][:10]} with {_versions(event)}"]


def _versions(event: Event) -> str:
    return ", ".join(f"{name} {version}" for name, version in event["versions"].items())


def _pair(event: Event, question: Event | None, width: int) -> list[str]:
    sides = " | ".join(_short(event[side]["name"]).ljust(width) for side in ("left", "right"))
    figure = next((one for one in event["figures"] if question is not None and _is(one, question)), None)
    if figure is None:
        n = len(event["figures"])
        told = "has no value" if question is not None else f"{n} metric{'s' if n != 1 else ''}"
    else:
        key = parse_metric(figure["metric"])
        change = percent(figure["right"] / figure["left"] - 1)
        told = f"{key.format(figure['left'])} → {key.format(figure['right'])}, {change}"
    head = f"pair {event['number']:<3} {sides}  {told}"
    return [f"{head}  ({duration(event['seconds'])})", *(_cut(f"note: {note}") for note in event["notes"])]


def _is(figure: Event, question: Event) -> bool:
    return all(figure[name] == question[name] for name in ("test", "workload", "load", "metric"))


def _unusable(event: Event, question: Event | None, width: int) -> list[str]:
    told = f"skipped {event['position']['name']}: {event['why']}"
    return wrap(told, _WIDTH - len(_INDENT), subsequent_indent="  ", max_lines=3, placeholder=" …")


def _suspicion(event: Event, question: Event | None, width: int) -> list[str]:
    return _wrapped(f"suspected: {_names(event['suspects'])}, {_share(event['confidence'])}")


def _found(event: Event, question: Event | None, width: int) -> list[str]:
    named = f": {_names(event['suspects'])}, {_share(event['confidence'])} sure" if event["suspects"] else ""
    outcome = str(event["outcome"])
    lines = _wrapped(f"found: {_OUTCOMES.get(outcome, outcome)}{named}")
    if confirmation := event["confirmation"]:
        low, high = percent(confirmation["low"]), percent(confirmation["high"])
        lines.append(
            f"beside what comes before it: {percent(confirmation['estimate'])} (95% interval {low} to {high})"
        )
    lines += [_cut(f"odd: {odd['name']}: {odd['words']}") for odd in event["oddities"]]
    return lines


def _interrupted(event: Event, question: Event | None, width: int) -> list[str]:
    return _wrapped(f"interrupted: {event['why']}")


def _retried(event: Event, question: Event | None, width: int) -> list[str]:
    return ["what could not be measured is tried again"]


def _other(event: Event, question: Event | None, width: int) -> list[str]:
    return [str(event["event"])]


_TELL = {
    "begun": _begun,
    "resumed": _resumed,
    "pair": _pair,
    "unusable": _unusable,
    "suspicion": _suspicion,
    "found": _found,
    "retried": _retried,
    "interrupted": _interrupted,
}


# --- all of them ------------------------------------------------------------------------------------------


def _total(events: Sequence[Event]) -> str:
    pairs = [event for event in events if event["event"] == "pair"]
    failed = [event for event in events if event["event"] == "unusable"]
    seconds = sum(event["seconds"] for event in (*pairs, *failed))
    told: Iterator[str] = filter(
        None,
        (
            f"{len(pairs)} pair{'s' if len(pairs) != 1 else ''}, {2 * len(pairs)} launches",
            f"{len(failed)} in vain" if failed else "",
            duration(seconds),
        ),
    )
    return f"{_INDENT}{'; '.join(told)}"


def _names(suspects: Sequence[Event]) -> str:
    names = [_short(one["name"]) for one in suspects]
    if len(names) <= _FIRST_AND_LAST:
        return ", ".join(names)
    return f"{names[0]} … {names[-1]} ({len(names)} of them)"


def _share(probability: float) -> str:
    """A probability that is never called certain."""
    return f"{min(probability, 0.999) * 100:.3g}%"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _cut(text: str) -> str:
    return shorten(text, _WIDTH - len(_INDENT), placeholder=" …")


def _wrapped(text: str) -> list[str]:
    return wrap(text, _WIDTH - len(_INDENT), subsequent_indent="  ")
