"""What a bisection found: which change, how sure that is, the numbers on both sides of it, what to type next.

As text for a terminal, and as Markdown for an issue report. Both are made from the same JSON object, which
:mod:`pytest_llmperf.bisect.account` makes.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.table import percent

Account = Mapping[str, Any]

_MANY = 8
PART = 0.2
"""A culprit that leaves more than this of the whole change unexplained is not all of it."""


def culprit_lines(account: Account) -> list[str]:
    """The message for a terminal."""
    lines = [headline(account), ""]
    lines += [f"  {line}" for line in _of_culprits(account)]
    if account["question"] is not None:
        lines += [f"  {where(account['question'])}"]
        rows = [_cells(row) for row in levels(account)]
        widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else []
        lines += ["    " + "  ".join(map(str.ljust, row, [*widths, 0])).rstrip() for row in rows]
    lines += [f"  {note}" for note in notes(account)]
    lines += ["", f"  {effort(account)}"]
    if account["next"]:
        lines += ["", "  Next:", *(f"    {step['what']}: {_command(step)}" for step in account["next"])]
    return lines


def culprit_markdown(account: Account) -> str:
    """The same for an issue report: short, and with what reproduces it."""
    parts = [f"**{_escaped(headline(account))}**", ""]
    parts += [f"* {_escaped(line)}" for line in _of_culprits(account)]
    if rows := list(levels(account)):
        parts += ["", f"{_escaped(where(account['question']))}:", ""]
        parts += ["| | | 95% interval, launches | change |", "|---|---|---|---|"]
        parts += ["| " + " | ".join(map(_escaped, _cells(row))) + " |" for row in rows]
    parts += ["", *(f"* {_escaped(note)}" for note in notes(account)), f"* {_escaped(effort(account))}"]
    for step in account["next"]:
        parts += ["", f"{_escaped(step['what'].capitalize())}:", "", *_fenced(_command(step))]
    return "\n".join(parts).strip() + "\n"


def headline(account: Account) -> str:
    """What came out, in a sentence."""
    outcome, (good, bad) = account["outcome"], ends(account)
    if outcome == "culprit":
        return f"{_which(account)} made {_metric(account)} worse ({_sure(account['confidence'])})."
    if outcome == "undecided":
        names = [one["name"] for one in account["suspects"]]
        among = (
            f", among {names[0]} to {names[-1]}" if len(names) > 1 else f": perhaps {names[0]}" * bool(names)
        )
        return f"Not found: what made {_metric(account)} worse is between {good} and {bad}{among}."
    if outcome == "no difference":
        return f"No difference between the end points {good} and {bad}: there is nothing to bisect."
    if outcome == "ends undecided":
        return f"{good} and {bad} could not be told apart, nor be called equal: not bisected."
    if outcome == "better":
        return f"{bad} is not worse than {good}, but better: to find what did it, call {bad} the good end."
    name = account["skipped"][-1]["name"] if account["skipped"] else "an end point"
    return f"The end point {name} cannot be measured: not bisected."


def ends(account: Account) -> tuple[str, str]:
    """The names of the good and the bad end."""
    return account["good"]["name"], account["bad"]["name"]


def where(question: Mapping[str, Any]) -> str:
    """The metric that was followed, and in which test: ``TTFT p50 at 4/s in test_chat.py::test_it, 64 in / 32
    out``."""
    key = parse_metric(question["metric"])
    load = f" at {question['load']}" if key.metric.has_load else ""
    return f"{key.label}{load} in {question['test']}, {question['workload']}"


def levels(account: Account) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The two sides of the culprit, or else of the whole: a name, the change, which side of it."""
    change = account["confirmation"]
    names = (account["before"], account["after"])
    if account["axis"] == "flags":
        names = ("without", "with")
    if change is None:
        change = next((c for c in account["ends"] if c["question"] == account["question"]), None)
        names = ends(account)
    if change is not None:
        yield names[0], change, "base"
        yield names[1], change, "candidate"


def _cells(row: tuple[str, Mapping[str, Any], str]) -> tuple[str, str, str, str]:
    name, change, side = row
    key = parse_metric(change["question"]["metric"])
    low, high = (key.format(change[f"{side}_{end}"]) for end in ("low", "high"))
    launches = change[f"{side}_launches"]
    moved = f"{percent(change['estimate'])} ({percent(change['low'])} to {percent(change['high'])})"
    evidence = f"({low} to {high}; {launches} launch{'es' if launches != 1 else ''})"
    return name, key.format(change[side]), evidence, moved if side == "candidate" else ""


def notes(account: Account) -> Iterator[str]:
    """What else a reader has to know to believe it."""
    yield from _of_whole(account)
    if account["open"] and account["outcome"] == "culprit":
        yield f"That may not be all: {account['open']}."
    for odd in account["oddities"]:
        yield (
            f"The history is not one change for good: {odd['name']} is {odd['words']} "
            f"({percent(odd['change']['estimate'])}, {percent(odd['change']['low'])} to "
            f"{percent(odd['change']['high'])}, against {account['good']['name']})."
        )
    if account["outcome"] == "no difference":
        yield from (_end(change) for change in account["ends"][:_MANY])
    for one in account["skipped"][:_MANY]:
        yield f"Not measured: {one['name']}: {one['why'].splitlines()[0]}"
    if (more := len(account["skipped"]) - _MANY) > 0:
        yield f"Not measured: {more} more."


def _end(change: Mapping[str, Any]) -> str:
    return (
        f"{where(change['question'])}: {percent(change['estimate'])} ({percent(change['low'])} to "
        f"{percent(change['high'])}), {change['verdict']}"
    )


def _of_whole(account: Account) -> Iterator[str]:
    """How much of what lies between the ends the culprit explains."""
    whole = next((c for c in account["ends"] if c["question"] == account["question"]), None)
    part = account["confirmation"]
    if whole is None or part is None or account["outcome"] != "culprit":
        return
    good, bad = ends(account)
    between = (
        f"{percent(whole['estimate'])} ({percent(whole['low'])} to {percent(whole['high'])}) between "
        f"{good} and {bad}"
    )
    share = math.log1p(part["estimate"]) / math.log1p(whole["estimate"])
    if share < 1 - PART:
        yield f"That is about {share:.0%} of {between}: something else adds to it."
    else:
        yield f"That is the change of {between}."


def effort(account: Account) -> str:
    """``22 launches in 18 min 03 s, 14 releases``."""
    count, axis = account["positions"], account["axis"]
    between = f"{count - 1} difference{'' if count == 2 else 's'}" if axis == "flags" else f"{count} {axis}"
    return f"{account['launches']} launches in {duration(account['seconds'])}; {between}."


def _which(account: Account) -> str:
    suspects = account["suspects"]
    if account["axis"] == "flags":
        names = " together with ".join(one["change"] for one in suspects)
        return names[0].upper() + names[1:]
    if len(suspects) == 1:
        change: str = suspects[0]["change"]
        return change[0].upper() + change[1:]
    return f"One of {len(suspects)} {account['axis']}, {suspects[0]['name']} to {suspects[-1]['name']},"


def _of_culprits(account: Account) -> Iterator[str]:
    """Who, when and what of the suspects, as far as that is known."""
    shown = account["suspects"] if account["outcome"] in ("culprit", "undecided") else ()
    for one in shown[:_MANY]:
        about = "; ".join(
            f"{name} {text}" if name != "subject" else text for name, text in one["about"].items()
        )
        if about or len(shown) > 1:
            yield f"{one['name']}{': ' if about else ''}{about}{_chance(one, shown)}"
    if len(shown) > _MANY:
        yield f"and {len(shown) - _MANY} more"


def _chance(one: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> str:
    return f" ({one['probability']:.0%})" if len(shown) > 1 and one["probability"] is not None else ""


def _metric(account: Account) -> str:
    question = account["question"]
    key = parse_metric(question["metric"])
    return f"{key.label} at {question['load']}" if key.metric.has_load else key.label


def _sure(confidence: float) -> str:
    return "more than 99% sure" if confidence > 0.99 else f"{confidence:.0%} sure"


def _command(step: Mapping[str, Any]) -> str:
    return shlex.join(step["command"])


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    for sign in "\\`*_[]<>|#":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())


def _fenced(command: str) -> list[str]:
    fence = "```"
    while fence in command:
        fence += "`"
    return [fence, command, fence]
