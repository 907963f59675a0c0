"""The tests of a session at a glance: a line for each, and one for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from pytest_llmperf.declare.metrics import CAPACITY, parse_metric
from pytest_llmperf.judge.objective import mean_value
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.report.judged import (
    broken,
    change_headline,
    changes,
    crept,
    is_side_by_side,
    limits,
    where_of,
    worsened,
)
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.probes import probe_lines
from pytest_llmperf.report.progress import duration
from pytest_llmperf.report.table import CHANGE_MARKS, SLO_MARKS, percent
from pytest_llmperf.report.width import cells, fitted, padded, squeezed

Entry = Mapping[str, Any]

ORDER = (
    *(Verdict.PASS, Verdict.IMPROVED, Verdict.NOT_JUDGED, Verdict.INCONCLUSIVE, Verdict.INVALID),
    *(Verdict.ERROR, Verdict.FAILED_BY_ITSELF, Verdict.SLO_BROKEN, Verdict.REGRESSED),
)
"""The last lines are what is seen first."""
FINE = (Verdict.PASS, Verdict.IMPROVED, Verdict.NOT_JUDGED)
LOADS = 3
"""So many load points of a test at most are shown at a glance."""
_USUAL = 120
_LEAST, _NARROW = 10, 40
_UNKNOWN = 9.99e9


def by_verdict(entries: Iterable[Entry]) -> list[Entry]:
    """The worst last; those alike as they were measured."""
    return sorted(entries, key=lambda entry: ORDER.index(entry["verdict"]))


def short_names(tests: Sequence[str]) -> list[str]:
    """The names of tests, printable, without the directories and the file that all of them share."""
    files = [test.partition("::")[0] for test in tests]
    if len(set(files)) == 1:
        return [printable(test.partition("::")[2] or test) for test in tests]
    steps = [file.split("/")[:-1] for file in files]
    shared = sum(1 for _ in takewhile(lambda step: len(set(step)) == 1, zip(*steps, strict=False)))
    return [printable("/".join(test.split("/")[shared:])) for test in tests]


def overview(entries: Sequence[Entry], width: int | None) -> list[tuple[str, str]]:
    """The verdict of each test, and what stands beside it on its line: its name, and what decided, or what
    came nearest to deciding otherwise. ``width``: cells of a line; None: as many as are usual."""
    width = width or _USUAL
    names = short_names([entry["test"] for entry in entries])
    words = max((cells(entry["verdict"]) for entry in entries), default=0)
    room = width - words - 2
    longest = max(map(cells, names), default=0)
    name_room = max(_LEAST, min(longest, room if room < _NARROW else room // 2))
    told = []
    for entry, name in zip(entries, names, strict=True):
        shown = padded(squeezed(name, name_room), min(longest, name_room))
        told.append((entry["verdict"], f"{shown}  {_fitting(entry, room - cells(shown) - 2)}".rstrip()))
    return told


def _fitting(entry: Entry, room: int) -> str:
    """The longest of what can be said of a test that there is room for."""
    if room < _LEAST:
        return ""
    forms = list(_said(entry))
    found = next((form for form in forms if cells(form) <= room), forms[-1] if forms else "")
    return fitted(found, room)


def _said(entry: Entry) -> Iterator[str]:
    """What there is to say of a test, the longest form first."""
    verdict = entry["verdict"]
    if verdict in (Verdict.INVALID, Verdict.ERROR, Verdict.FAILED_BY_ITSELF):
        probed = (entry.get("probed") or {}).get("last_broken") or {}
        said = str(entry["error"] or probed.get("text") or "its own assertions failed").strip()
        first, *others = said.splitlines() or ["nothing was said"]
        yield printable(f"{first} {others[0].strip()}" if others and first.endswith(":") else first)
        return
    if verdict == Verdict.NOT_JUDGED:
        yield from _figures(entry)
        return
    of_verdict = {Verdict.PASS: tuple(SLO_MARKS), Verdict.IMPROVED: ()}.get(verdict, (verdict,))
    limit = max(filter(_is_news, limits(entry, *of_verdict)), key=_used, default=None)
    told = CHANGE_MARKS if verdict == Verdict.PASS else (verdict,)
    change = max(
        changes(entry, *told), key=_worsened if verdict != Verdict.IMPROVED else _bettered, default=None
    )
    if verdict in (Verdict.SLO_BROKEN, Verdict.REGRESSED):  # as the sentence on it begins
        limit, change = next(iter(broken(entry)), None), next(iter(worsened(entry)), None)
    forms = [form for form in (_limit(limit), _change(change), _crept(entry)) if form]
    if forms:
        yield " · ".join(printable(form[0]) for form in forms[:2])
        yield from map(printable, forms[0])
    elif verdict == Verdict.PASS:
        yield from _figures(entry)
        yield from probe_lines(entry)[:1]


def _is_news(found: tuple[Entry, Entry]) -> bool:
    return not (found[1]["limit"] == 0 and found[1]["verdict"] == "pass")


def _used(found: tuple[Entry, Entry]) -> float:
    """How much of what a limit allows is used: above 1 it is not met."""
    margin = found[1]["margin"]
    return _UNKNOWN if margin is None else 1 - float(margin)


def _worsened(found: tuple[Entry, Entry]) -> float:
    """By how many tolerances a metric is worse."""
    change = found[1]
    worse = change["estimate"] if change["better"] == "lower" else -change["estimate"]
    return float(worse) / (float(change["tolerance"]) or 1e-9)


def _bettered(found: tuple[Entry, Entry]) -> float:
    return -_worsened(found)


def _limit(found: tuple[Entry, Entry] | None) -> tuple[str, ...]:
    if found is None:
        return ()
    objective, key = found[1], parse_metric(found[1]["metric"])
    value = f"{where_of(*found)} {key.format(objective['value'])}"
    return (
        f"{value}, limit {key.format(objective['limit'])}",
        value,
        f"{objective['label']} {key.format(objective['value'])}",
    )


def _change(found: tuple[Entry, Entry] | None) -> tuple[str, ...]:
    if found is None:
        return ()
    change, by = found[1], percent(found[1]["estimate"])
    short = f"{where_of(*found)} {by}", f"{change['label']} {by}"
    if change["verdict"] in ("pass", "inconclusive"):
        return (f"{short[0]}, tolerance {change['tolerance'] * 100:.3g}%", *short)
    return (change_headline(*found), *short)


def _crept(entry: Entry) -> tuple[str, ...]:
    found = crept(entry)
    return (
        (
            f"in small steps: {change_headline(*found[0])}",
            f"{where_of(*found[0])} {percent(found[0][1]['estimate'])}",
        )
        if found
        else ()
    )


def _figures(entry: Entry) -> Iterator[str]:
    """Of what has neither a limit nor anything that it is compared with: what was measured."""
    for point in entry["points"]:
        known = [
            name
            for name in (CAPACITY, "ttft_p50_ms", "tpot_p50_ms", "output_tokens_per_s")
            if _value(point, name)
        ]
        shown = [f"{parse_metric(n).label} {parse_metric(n).format(_value(point, n))}" for n in known]
        at = "" if known[:1] == [CAPACITY] else f" at {printable(str(point['load']))}"
        yield from (f"{', '.join(shown[:many])}{at}" for many in (3, 2, 1) if shown[:many])
        if shown:
            return


def _value(point: Entry, name: str) -> float:
    values = [run["values"][name] for run in point["runs"] if name in run["values"]]
    return mean_value(parse_metric(name), values) if values else 0.0


def trimmed(entry: Entry) -> tuple[Entry, int]:
    """The entry with the load points where something is wrong, the worst few of them, and how many there are
    beside these."""
    wrong = [point for point in entry["points"] if _wrongness(entry, point) > -1]
    worst = sorted(wrong, key=lambda point: -_wrongness(entry, point))[:LOADS]
    kept = [point for point in entry["points"] if any(point is one for one in worst)]
    return {**entry, "points": kept}, len(entry["points"]) - len(kept)


def _wrongness(entry: Entry, point: Entry) -> float:
    """How far beyond its limits and tolerances a load point is, at worst; -1 if it is not."""
    alone = {**entry, "points": [point]}
    beyond = [_used(found) - 1 for found in limits(alone, str(Verdict.SLO_BROKEN), "inconclusive")]
    beyond += [_worsened(found) - 1 for found in changes(alone, "regressed", "inconclusive")]
    beyond += [_worsened((point, creep)) - 1 for creep in point["creep"]]
    return max(0.0, *beyond, 0.0) if beyond else -1.0


def total(entries: Sequence[Entry], seconds: float) -> str:
    """``17 pass, 2 regressed against vllm==0.22.1; 3 to 8 launches; 12 min 30 s``."""
    count = Counter(entry["verdict"] for entry in entries)
    said = ", ".join(f"{count[verdict]} {verdict}" for verdict in map(str, ORDER) if count[verdict])
    launches = [entry["launches"] for entry in entries if entry["launches"]]
    parts = [f"{said}{_against(entries)}"]
    if launches:
        least, most = min(launches), max(launches)
        parts.append(
            f"{least} to {most} launches" if least < most else f"{most} launch{'es' if most > 1 else ''}"
        )
    return "; ".join([*parts, duration(seconds)])


def _against(entries: Sequence[Entry]) -> str:
    compared = [entry for entry in entries if entry["compared_with"] is not None]
    bases = {printable(entry["compared_with"]["text"], 60) for entry in compared if is_side_by_side(entry)}
    if not compared:
        return ""
    if not bases:
        return " against the baseline" if len(compared) == 1 else " against baselines"
    return f" against {bases.pop()}" if len(bases) == 1 else ""
