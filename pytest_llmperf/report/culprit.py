"""What a bisection found: which change, how sure that is, the numbers on both sides of it, what to type next.

As text for a terminal, and as Markdown for an issue report. Both are made from the same JSON object, which
:mod:`pytest_llmperf.bisect.account` makes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.report.printable import printable, typed_words
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.table import percent

Account = Mapping[str, Any]

_MANY = 8
_LONG, _LONG_NAME = 300, 80
_PLAIN = ("subject", "author", "date")
_MENTION = re.compile(r"(?<![0-9A-Za-z_])@(?=[0-9A-Za-z])")
PART = 0.2
"""A culprit that surely leaves more than this of the whole change unexplained is not all of it."""
_SURE = 2.0  # standard errors


def culprit_lines(account: Account) -> list[str]:
    """The message for a terminal."""
    lines = [headline(account), ""]
    lines += [f"  {line}" for line in _of_culprits(account)]
    if rows := [_cells(row) for row in levels(account)]:
        lines += [f"  {where(account['question'])}"]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines += ["    " + "  ".join(map(str.ljust, row, [*widths, 0])).rstrip() for row in rows]
    lines += [f"  {note}" for note in notes(account)]
    lines += ["", f"  {effort(account)}"]
    lines = [printable(line) for line in lines]
    if account["next"]:
        lines += ["", "  Next:", *(f"    {step['what']}: {_command(step)}" for step in account["next"])]
    return lines


def culprit_markdown(account: Account) -> str:
    """The same for an issue report: short, and with what reproduces it."""
    parts = [f"**{_escaped(headline(account))}**", ""]
    parts += [_item(line) for line in _of_culprits(account)]
    if rows := list(levels(account)):
        parts += ["", f"{_escaped(where(account['question']))}:", ""]
        parts += ["| | | 95% interval, launches | change |", "|---|---|---|---|"]
        parts += ["| " + " | ".join(map(_escaped, _cells(row))) + " |" for row in rows]
    parts += [""] * bool(rows) + [*map(_item, notes(account)), _item(effort(account))]
    for step in account["next"]:
        parts += ["", f"{_escaped(step['what'].capitalize())}:", "", *_fenced(_command(step))]
    return "\n".join(parts).strip() + "\n"


def headline(account: Account) -> str:
    """What came out, in a sentence."""
    outcome, (good, bad) = account["outcome"], ends(account)
    if outcome == "culprit":
        change = _whole(account) if _are_several(account) else account["confirmation"]
        by = "" if change is None else f", {percent(change['estimate'])}"
        sure, narrowed = _sure(account["confidence"]), account["narrowed_to"]
        of_what = "" if narrowed is None else f" of what is up to {_cut(narrowed)}"
        return f"{_which(account)} made {_metric(account)} worse{by} ({sure}{of_what})."
    if outcome == "undecided":
        return (
            f"Not found: what made {_metric(account)} worse is between {good} and "
            f"{bad if account['narrowed_to'] is None else _cut(account['narrowed_to'])}{_among(account)}."
        )
    if outcome == "no difference":
        return f"No difference between {good} and {bad}: there is nothing to bisect."
    if outcome == "ends undecided":
        return f"{_start(good)} and {bad} could not be told apart, nor be called equal: not bisected."
    if outcome == "better":
        swap = f"to find what did it, call {bad} the good end"
        return f"{_start(bad)} is not worse than {good}, but better: {swap}."
    skipped = [one["name"] for one in account["skipped"]]
    names = [shown for shown, side in zip((good, bad), _sides(account), strict=True) if side in skipped]
    what = "" if account["axis"] == "flags" else "the end point "
    return f"Not bisected: {what}{' or '.join(names)} cannot be measured."


def ends(account: Account) -> tuple[str, str]:
    """The names of the good and the bad end."""
    if account["axis"] == "flags":
        return "the good end", "the bad end"
    good, bad = (_cut(side) for side in _sides(account))
    return good, bad


def _start(name: str) -> str:
    """Of a sentence: what has a name of its own keeps it."""
    return f"The {name.removeprefix('the ')}" if name.startswith("the ") else name


def _are_several(account: Account) -> bool:
    """Whether it takes several differences, of which one was confirmed at a time."""
    return account["axis"] == "flags" and len(account["suspects"]) > 1


def _sides(account: Account) -> tuple[str, str]:
    return account["good"]["name"], account["bad"]["name"]


def _among(account: Account) -> str:
    """The suspects, in short."""
    suspects = account["suspects"]
    if not suspects:
        return ""
    if len(suspects) == 1:
        return f"; most likely it is {_name(account, suspects[0])} ({account['confidence']:.0%})"
    what = "differences" if account["axis"] == "flags" else account["axis"]
    first, last = (_name(account, suspects[i]) for i in (0, -1))
    return f"; it is one of {len(suspects)} {what}, {first} to {last} ({account['confidence']:.0%})"


def _name(account: Account, one: Mapping[str, Any]) -> str:
    """Of a suspect. The position that a difference leads to says less than the difference."""
    return _cut(one["change"] if account["axis"] == "flags" else one["name"])


def where(question: Mapping[str, Any]) -> str:
    """The metric that was followed, and in which test: ``TTFT p50 at 4/s in test_chat.py::test_it, 64 in / 32
    out``."""
    key = parse_metric(question["metric"])
    load = f" at {question['load']}" if key.metric.has_load else ""
    return _cut(f"{key.label}{load} in {question['test']}, {question['workload']}", _LONG)


def levels(account: Account) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """The two sides of the culprit, or else of the whole: a name, the change, which side of it."""
    change, names = account["confirmation"], (account["before"], account["after"])
    if change is None or _are_several(account):
        change, names = _whole(account), _sides(account)
    if change is not None:
        yield names[0], change, "base"
        yield names[1], change, "candidate"


def _whole(account: Account) -> Mapping[str, Any] | None:
    """The change between the ends."""
    return next((c for c in account["ends"] if c["question"] == account["question"]), None)


def _cells(row: tuple[str, Mapping[str, Any], str]) -> tuple[str, str, str, str]:
    name, change, side = row
    key = parse_metric(change["question"]["metric"])
    low, high = (key.format(change[f"{side}_{end}"]) for end in ("low", "high"))
    launches = change[f"{side}_launches"]
    moved = f"{percent(change['estimate'])} ({percent(change['low'])} to {percent(change['high'])})"
    evidence = f"({low} to {high}; {launches} launch{'es' if launches != 1 else ''})"
    return _cut(name), key.format(change[side]), evidence, moved if side == "candidate" else ""


def notes(account: Account) -> Iterator[str]:
    """What else a reader has to know to believe it."""
    yield from _of_whole(account)
    if account["cut_short"]:
        yield "Fewer pairs were allowed (--pairs, --budget) than the ends may take."
    if account["open"] and account["outcome"] == "culprit":
        yield f"That may not be all: {_cut(account['open'], _LONG)}."
    for odd in account["oddities"]:
        yield (
            f"The history is not one change for good: {_cut(odd['name'])} is {odd['words']} "
            f"({_moved(odd['change'])}, against {_against(account, odd)})."
        )
    if account["narrowed_to"] is not None:
        yield (
            f"So only what is up to {_cut(account['narrowed_to'])} was searched: who is suspected, and how "
            "sure that is, holds for that part. What comes after it was not searched."
        )
    if account["question"] is None:
        yield from (_end(change) for change in account["ends"][:_MANY])
        if (more := len(account["ends"]) - _MANY) > 0:
            yield f"and {more} more"
    for one in account["skipped"][:_MANY]:
        why = next(iter(one["why"].splitlines()), "")
        yield f"Not measured: {_cut(one['name'])}: {_cut(why, _LONG)}"
    if (more := len(account["skipped"]) - _MANY) > 0:
        yield f"Not measured: {more} more."


def _against(account: Account, odd: Mapping[str, Any]) -> str:
    """The good end; of flags it may be one that has some of them already."""
    good = _sides(account)[0]
    return ends(account)[0] if odd["against"] == good else _cut(odd["against"])


def _end(change: Mapping[str, Any]) -> str:
    words = {"pass": "no worse", "inconclusive": "undecided", "improved": "better"}
    return f"{where(change['question'])}: {_moved(change)}, {words.get(change['verdict'], change['verdict'])}"


def _moved(change: Mapping[str, Any]) -> str:
    return f"{percent(change['estimate'])}, {percent(change['low'])} to {percent(change['high'])}"


def _of_whole(account: Account) -> Iterator[str]:
    """How much of what lies between the ends the culprit explains."""
    whole, part = _whole(account), account["confirmation"]
    if whole is None or part is None:
        return
    good, bad = ends(account)
    interval = f"({percent(whole['low'])} to {percent(whole['high'])})"
    between = f"{percent(whole['estimate'])} {interval} between {good} and {bad}"
    brought, there = (math.log1p(change["estimate"]) for change in (part, whole))
    share = brought / there
    if _are_several(account):
        names = ", ".join(map(_cut, account["confirmed"]))
        yield f"Confirmed in fresh launches: {names} brings {_moved(part)}."
    elif account["narrowed_to"] is not None:
        yield f"The ends: {between}."
    elif abs(share - 1) < PART:
        yield f"That is the change of {between}."
    elif not is_another(brought, there, math.hypot(part["error"], whole["error"])):
        yield f"The ends: {between}; whether that is all of it, the intervals leave open."
    elif share > 1:
        yield f"Of that, {between} are left: something else takes a part of it back."
    else:
        yield f"That is about {share:.0%} of {between}: something else adds to it."


def is_another(part: float, whole: float, error: float) -> bool:
    """Whether two changes (logarithms, ``error`` is the standard error of their difference) are surely not
    the same, and far enough apart to be worth a word."""
    return abs(whole - part) > max(PART * abs(whole), _SURE * error)


def effort(account: Account) -> str:
    """``22 launches in 18 min 03 s; 14 releases.``"""
    is_flags = account["axis"] == "flags"
    count, what = (
        (account["positions"] - 1, "differences") if is_flags else (account["positions"], account["axis"])
    )
    between = f"{count} {what if count != 1 else what.removesuffix('s')}"
    return f"{account['launches']} launches in {duration(account['seconds'])}; {between}."


def _which(account: Account) -> str:
    suspects = account["suspects"]
    if account["axis"] == "flags":
        return " together with ".join(_cut(one["change"]) for one in suspects)
    if len(suspects) == 1:
        change = _cut(suspects[0]["change"])
        return change[:1].upper() + change[1:]
    first, last = (_cut(suspects[i]["name"]) for i in (0, -1))
    return f"One of {len(suspects)} {account['axis']}, {first} to {last},"


def _of_culprits(account: Account) -> Iterator[str]:
    """Who, when and what of the suspects, as far as that is known; of flags, what the ends are."""
    if account["axis"] == "flags":
        yield from (f"{end}: {_cut(account[end]['subject'], _LONG)}" for end in ("good", "bad"))
    suspects = account["suspects"]
    for one in suspects[:_MANY]:
        about = "; ".join(
            _cut(text, _LONG) if name in _PLAIN else f"{name} {_cut(text, _LONG)}"
            for name, text in one["about"].items()
        )
        if about or len(suspects) > 1:
            yield f"{_name(account, one)}{': ' if about else ''}{about}{_chance(one, suspects)}"
    if len(suspects) > _MANY:
        yield f"and {len(suspects) - _MANY} more"


def _chance(one: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> str:
    return f" ({one['probability']:.0%})" if len(shown) > 1 and one["probability"] is not None else ""


def _metric(account: Account) -> str:
    question = account["question"]
    key = parse_metric(question["metric"])
    return f"{key.label} at {question['load']}" if key.metric.has_load else key.label


def _sure(confidence: float) -> str:
    return "more than 99% sure" if confidence > 0.99 else f"{confidence:.0%} sure"


def _command(step: Mapping[str, Any]) -> str:
    return typed_words(step["command"])


def _cut(text: str, most: int = _LONG_NAME) -> str:
    return printable(text, most)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line; nobody is notified by it."""
    text = " ".join(printable(text).split())
    text = re.sub(r"[\\`*_\[\]<>|#~$&]", r"\\\g<0>", text)
    return _MENTION.sub("@<!-- -->", text)


def _item(text: str) -> str:
    """The same as an item of a list, which begins no other list in it."""
    return "* " + re.sub(r"^([0-9]*)([-+.)])(?= |$|-+$)", r"\1\\\2", _escaped(text))


def _fenced(command: str) -> list[str]:
    fence = "```"
    while fence in command:
        fence += "`"
    return [fence, command, fence]
