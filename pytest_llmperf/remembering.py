"""What ``llmperf history`` does: read a history, find where a test changed, tell it; add to it, and prune
it."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.options import DEFAULT_GATE
from pytest_llmperf.declare.order import Exit, Outcome
from pytest_llmperf.errors import DeclarationError, LlmperfError, StoreError
from pytest_llmperf.keep.files import check_writable, replacing
from pytest_llmperf.keep.histories import open_history
from pytest_llmperf.keep.history import BASE, History, Known, Session, session_of
from pytest_llmperf.keep.trend import Series, all_series, base_of, environments, trend
from pytest_llmperf.keep.whole import read_record
from pytest_llmperf.report.page_trend import trend_page
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.trend import (
    environment_lines,
    overview_lines,
    series_name,
    test_lines,
    trend_lines,
)

_MOST_NAMED = 8
_MOST_LOAD = 100


@dataclass(frozen=True)
class Question:
    """What is asked of a history: of which test, or all, and of which of its series. ``newest`` is how
    many sessions are looked at."""

    test: str | None
    metric: MetricKey | None
    load: str | None
    environment: str | None
    side: str
    since: datetime | None
    newest: int


class _Nothing(LlmperfError):
    """There is nothing of what was asked."""


def show_history(where: str | None, question: Question, *, json: bool, html: Path | None) -> int:
    """Tell it on the standard output; as JSON if that is asked for, and as a page at ``html``."""
    try:
        if html is not None:
            check_writable(html.resolve())
        history = _open(where)
        if question.test is None:
            return _show_tests(history, json=json)
        test = _test(history.tests(), question.test, history.name)
        sessions = _since(history.read(test, question.newest), question.since)
        series = all_series(sessions, test, question.side)
        if not series:
            raise _Nothing(f"no session{_asked(question)} measured {test}")
        found = environments(series)
        here = _environment(found, question.environment)
        chosen = _chosen(series, here, question)
        bases = all_series(sessions, test, BASE) if question.side != BASE else []
        trends = [trend(one, among=len(chosen), base=base_of(one, bases)) for one in chosen]
        if html is not None:
            _write_page(html, trend_page(test, environment_lines(found, here), trends))
        elif json:
            print(json_format.dumps([one.as_json() for one in trends], indent=1, ensure_ascii=False))
        else:
            told = overview_lines(trends) if len(trends) > 1 else trend_lines(trends[0])
            print("\n".join([printable(test, 200), *environment_lines(found, here), "", *told]))
    except _Nothing as nothing:
        print(f"llmperf: {nothing}", file=sys.stderr)
        return Outcome.FAILED
    except LlmperfError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Exit.USAGE
    return Exit.MEASURED


def add_records(where: str | None, records: Sequence[Path]) -> int:
    """Take in what records have; all that can be read, even if one cannot."""
    failed = False
    try:
        history = _open(where)
    except LlmperfError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Exit.USAGE
    added = there = 0
    for path in records:
        try:
            session = session_of(read_record(path), str(path.resolve()))
            if not session.results:
                print(f"{path}: nothing was measured in it")
            elif history.add(session):
                added += 1
            else:
                there += 1
        except StoreError as error:
            failed = True
            print(f"llmperf: {error}", file=sys.stderr)
    print(f"{added} added to {history.name}{f', {there} there already' if there else ''}")
    return Exit.USAGE if failed else Exit.MEASURED


def prune_history(where: str | None, before: datetime | None, keep: int | None) -> int:
    """Forget old sessions. Records and baselines stay."""
    try:
        history = _open(where)
        if not (tests := history.tests()):
            print(f"{history.name} is empty")
            return Exit.MEASURED
        gone = history.prune(before, keep)
    except LlmperfError as error:
        print(f"llmperf: {error}", file=sys.stderr)
        return Exit.USAGE
    del tests
    print(
        f"{gone} session{'s' if gone != 1 else ''} forgotten in {history.name}; their records are untouched"
    )
    return Exit.MEASURED


def _open(where: str | None) -> History:
    history = open_history(where, Path.cwd(), Path(".llmperf"))
    if history is None:
        raise DeclarationError("none: no history is kept (LLMPERF_HISTORY); --history names one")
    return history


def _show_tests(history: History, *, json: bool) -> int:
    known = history.tests()
    if json:
        rows: list[dict[str, Any]] = [
            {"test": one.test, "sessions": one.sessions, "last": one.last.isoformat()} for one in known
        ]
        print(json_format.dumps(rows, indent=1, ensure_ascii=False))
    elif known:
        print("sessions  newest            test")
        print("\n".join(test_lines(known)))
    else:
        print(f"{history.name} is empty")
    return Exit.MEASURED


def _test(known: Sequence[Known], asked: str, where: str) -> str:
    """The test that is called so, or the only one with this in its name."""
    names = [one.test for one in known]
    if asked in names:
        return asked
    close = [name for name in names if asked in name]
    if len(close) == 1:
        return close[0]
    shown = [printable(name, 120) for name in (close or names)[:_MOST_NAMED]]
    if (more := len(close or names) - len(shown)) > 0:
        shown.append(f"and {more} more")
    if close:
        raise DeclarationError(f"{asked} may be any of these: {', '.join(shown)}")
    raise _Nothing(f"{where} has no test {asked}; it has {', '.join(shown) or 'none'}")


def _since(sessions: Sequence[Session], since: datetime | None) -> list[Session]:
    return [one for one in sessions if since is None or one.started >= since]


def _asked(question: Question) -> str:
    told = f" since {question.since:%Y-%m-%d}" if question.since else ""
    return f"{told} that has a base" if question.side == BASE else told


def _environment(found: Any, asked: str | None) -> str:
    """The key of the environment that is meant; the one that was measured last, if nothing is asked."""
    keys = list(found)
    if asked is None:
        return str(keys[0])
    meant = [key for key in keys if key.startswith(asked)] or [
        key for key in keys if any(asked in value for value in found[key][-1].result.environment.values())
    ]
    if len(meant) == 1:
        return str(meant[0])
    shown = ", ".join(key[:8] for key in meant or keys)
    if meant:
        raise DeclarationError(f"--environment {asked}: may be any of {shown}")
    raise _Nothing(f"no environment is {asked}; there are {shown}")


def _chosen(series: Sequence[Series], environment: str, question: Question) -> list[Series]:
    """The series that are asked for; those of the default gate, if no metric is named."""
    here = [one for key, one in _keyed(series) if key == environment]
    asked = [one for one in here if question.load is None or question.load in one.point]
    if question.load is not None and not asked:
        loads = list(dict.fromkeys(printable(one.point, _MOST_LOAD) for one in here))
        more = f" and {len(loads) - _MOST_NAMED} more" if len(loads) > _MOST_NAMED else ""
        raise _Nothing(f"no load has {question.load} in it; there is {'; '.join(loads[:_MOST_NAMED])}{more}")
    if question.metric is not None:
        asked = [one for one in asked if one.key == question.metric]
    else:
        gate = [parse_metric(name.strip()) for name in DEFAULT_GATE.split(",")]
        asked = [one for one in asked if one.key in gate] or asked
        asked.sort(key=lambda one: gate.index(one.key) if one.key in gate else len(gate))
    asked = [one for load in dict.fromkeys(one.point for one in asked) for one in asked if one.point == load]
    if not asked:
        names = [series_name(one) for one in here]
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        raise _Nothing(f"nothing of that load and metric; there is {'; '.join(names[:_MOST_NAMED])}{more}")
    return asked


def _keyed(series: Sequence[Series]) -> list[tuple[str, Series]]:
    return [(next(iter(environments([one]))), one) for one in series]


def _write_page(path: Path, page: str) -> None:
    with replacing(path.resolve()) as file:
        file.write(page)
    print(path)
