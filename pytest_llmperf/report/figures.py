"""What was judged as rows of a table in Markdown: limits, changes, and what came in small steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.report.gfm import code, plain
from pytest_llmperf.report.judged import (
    bare,
    beyond,
    changes,
    crept,
    excess,
    has_interval,
    limits,
    size,
    where_of,
)
from pytest_llmperf.report.table import SLO_BROKEN, percent

TITLES = ("", "test", "figure", "value:", "change:", "95% interval:", "allowed:")
MATTERS, PASSED = (SLO_BROKEN, "regressed", "inconclusive"), ("improved", "pass")
_WORDS = {
    SLO_BROKEN: "❌&nbsp;SLO",
    "regressed": "❌&nbsp;worse",
    "inconclusive": "❔&nbsp;undecided",
    "improved": "✅&nbsp;better",
    "pass": "✅",
}
_ORDER = tuple(_WORDS)

Entry = Mapping[str, Any]
Row = Sequence[str]


def figure_rows(entries: Iterable[Entry], verdicts: Sequence[str]) -> list[Row]:
    """Those with these verdicts, the worst first; the cells are those of :data:`TITLES`."""
    found = [row for entry in entries for row in _rows(entry, verdicts)]
    return [row for _, row in sorted(found, key=lambda one: one[0])]


def _rows(entry: Entry, verdicts: Sequence[str]) -> Iterator[tuple[tuple[int, float], Row]]:
    test = code(short_name(entry["test"]), 60)
    for point, objective in limits(entry, *verdicts):
        if objective["limit"] != 0 or objective["verdict"] != "pass":  # no errors are no news
            yield _rank(objective, excess(objective)), (*_head(objective, test, point), *_limit(objective))
    for point, change in changes(entry, *verdicts):
        yield _rank(change, size(change)), (*_head(change, test, point), *_change(change))
    for point, change in crept(entry) if "regressed" in verdicts else ():
        steps = f"{change['steps']} step{'s' if change['steps'] != 1 else ''}"
        word, *head = _head(change, test, point)
        told = f"{word}, in {steps} since {plain(change['since'][:10])}"
        yield _rank(change, size(change)), (told, *head, *_change(change))


def _rank(judged: Mapping[str, Any], far: float) -> tuple[int, float]:
    return _ORDER.index(judged["verdict"]), -far


def _head(judged: Mapping[str, Any], test: str, point: Entry) -> tuple[str, str, str]:
    return _WORDS[judged["verdict"]], test, plain(where_of(point, judged), 80)


def _limit(objective: Mapping[str, Any]) -> tuple[str, ...]:
    key = parse_metric(objective["metric"])
    interval = ""
    if has_interval(objective):
        interval = f"{bare(key, objective['low'])} to {bare(key, objective['high'])}"
    sign = "≤" if key.metric.better == "lower" else "≥"
    allowed = f"{sign} {key.format(objective['limit'])}"
    cells = (key.format(objective["value"]), beyond(key, objective), interval, allowed)
    return tuple(map(_unbroken, cells))


def _change(change: Mapping[str, Any]) -> tuple[str, ...]:
    key = parse_metric(change["metric"])
    worse = change["tolerance"] * (1 if key.metric.better == "lower" else -1)
    cells = (
        f"{key.format(change['base'])} → {key.format(change['candidate'])}",
        percent(change["estimate"]),
        f"{percent(change['low'])} to {percent(change['high'])}",
        f"{worse * 100:+.3g}%",
    )
    return tuple(map(_unbroken, cells))


def _unbroken(cell: str) -> str:
    return plain(cell).replace(" ", "&nbsp;")
