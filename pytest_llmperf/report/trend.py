"""A trend as a person reads it on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pytest_llmperf.judge.course import FEWEST_TO_JUDGE, Segment, Step
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.history import BASE, Known
from pytest_llmperf.keep.trend import Candidate, Reading, Series, Trend
from pytest_llmperf.report.chart import chart, column, sparkline
from pytest_llmperf.report.printable import printable

WIDTH = 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MOST_PLACES, _MOST_LINES, _MOST_TEXT = 3, 4, 100
_PLAIN = ("place", "model", "accelerators")
_FAR_OUT = 6.0
"""Spreads from the next level beyond which a chart has an arrow."""


def test_lines(known: Sequence[Known]) -> list[str]:
    """All tests of a history."""
    width = max(len(str(one.sessions)) for one in known)
    return [
        f"{one.sessions:>{max(width, 8)}}  {one.last:%Y-%m-%d %H:%M}  {printable(one.test, 200)}"
        for one in known
    ]


def environment_lines(found: Mapping[str, Sequence[Reading]], shown: str) -> list[str]:
    """The environment that is shown, and how each other one differs from it."""
    here = found[shown][-1].result.environment
    told = " · ".join(value if name in _PLAIN else f"{name} {value}" for name, value in here.items() if value)
    lines = [f"environment {shown[:8]}: {printable(told, 160)}"]
    for key, readings in found.items():
        if key != shown:
            apart = "; ".join(differences(here, readings[-1].result.environment))
            sessions = len({one.session.id for one in readings})
            lines.append(
                f"  not in it: {_sessions(sessions)} of environment {key[:8]} (--environment), "
                f"{printable(apart, _MOST_TEXT)}"
            )
    return lines


def overview_lines(trends: Sequence[Trend]) -> list[str]:
    """One line for each of several trends, under its load."""
    rows: list[tuple[str, ...]] = [("", "oldest → newest", "sessions", "level", "last change")]
    rows += [_overview_row(one) for one in trends]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    shown = [
        "  ".join(
            cell.rjust(width) if i in (2, 3) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines = [f"  {shown[0]}"]
    for number, one in enumerate(trends):
        if number == 0 or one.series.point != trends[number - 1].series.point:
            lines.append(printable(one.series.point, _MOST_TEXT))
        lines.append(f"  {shown[number + 1]}")
    return [*lines, *(["", *told] if (told := caveats(trends)) else [])]


def _overview_row(one: Trend) -> tuple[str, ...]:
    low, high = shown_range(one)
    room = _FAR_OUT * one.course.noise  # so that noise looks as small as it is
    wide = one.value(one.course.segments[-1].level + room) - one.value(one.course.segments[-1].level - room)
    is_known = len(one.values) >= FEWEST_TO_JUDGE  # what the noise is
    spare = max(wide - (high - low), 0.0) / 2 if is_known else 0.0
    return (
        one.series.key.label,
        sparkline(one.values, low - spare, high + spare),
        str(len(one.values)),
        level_words(one),
        _last_change(one),
    )


def level_words(one: Trend) -> str:
    """The level that it is at, which is no single session's, and since when."""
    last = one.course.segments[-1]
    since = one.series.readings[last.start].session.started
    return f"{one.series.key.format(one.value(last.level))} since {since:%Y-%m-%d}"


def step_words(one: Trend, step: Step) -> str:
    """A change in a line."""
    when = when_words(one.series.readings[step.at].session.started, one)
    return f"{when}: {_change(one, step)} {_interval(one, step)}, {_word(one, step)}"


def change_words(one: Trend) -> str:
    """How many changes there were, in a sentence."""
    count = len(one.course.steps)
    if not count:
        return "No change was found." if one.course.is_judged else ""
    return f"{count} change{'s' if count > 1 else ''}, the last one {step_words(one, one.course.steps[-1])}."


def _last_change(one: Trend) -> str:
    if not one.course.steps:
        return "" if not one.course.is_judged else "none"
    step = one.course.steps[-1]
    when = one.series.readings[step.at].session.started
    return f"{_change(one, step)} {_word(one, step)}, {when:%Y-%m-%d}{_why(one, step)}"


def _why(one: Trend, step: Step) -> str:
    found = one.candidates(step)
    if not found or not found[0].differences:
        return ""
    more = len(found[0].differences) - 1
    return f" ({printable(found[0].differences[0], 48)}{f' and {more} more' if more else ''})"


def trend_lines(one: Trend) -> list[str]:
    """A trend as a chart, and as a table of what it was from when to when."""
    series, key = one.series, one.series.key
    side = " · the base" if series.side == BASE else ""
    return [
        f"{printable(series.point, _MOST_TEXT)} · {key.label} · {key.metric.better} is better{side}",
        "",
        *_chart_lines(one),
        "",
        *_segment_lines(one),
        "",
        *caveats([one]),
        *noise_words(one),
    ]


def _chart_lines(one: Trend) -> Iterator[str]:
    low, high = shown_range(one)
    lines = [_line(one, segment) for segment in one.course.segments]
    rows = chart(one.values, lines, low, high, WIDTH)
    labels = [one.series.key.format(high), *[""] * (len(rows) - 2), one.series.key.format(low)]
    width = max(map(len, labels))
    for label, row in zip(labels, rows, strict=True):
        yield f"  {label:>{width}} ┤{row}".rstrip()
    marks = [" "] * WIDTH
    for letter, step in zip(_LETTERS, one.course.steps, strict=False):
        marks[column(step.at, len(one.values), WIDTH)] = letter
    axis = "".join("─" if mark == " " else "┴" for mark in marks)
    yield f"  {'':>{width}} └{axis}"
    if one.course.steps:
        yield f"  {'':>{width}}  {''.join(marks).rstrip()}"
    first, last = (one.series.readings[i].session.started for i in (0, -1))
    begin, end = when_words(first, one), when_words(last, one)
    yield f"  {'':>{width}}  {begin}{end:>{WIDTH - len(begin)}}"


def _line(one: Trend, segment: Segment) -> tuple[int, int, float, float]:
    start, end = (one.value(segment.level + half * segment.rise) for half in (-0.5, 0.5))
    return segment.start, segment.end - 1, start, end


def shown_range(one: Trend) -> tuple[float, float]:
    """From the lowest to the highest value, but for what is far out."""
    reach = _FAR_OUT * one.course.noise
    levels = [segment.level for segment in one.course.segments]
    rises = [abs(segment.rise) / 2 for segment in one.course.segments]
    low = one.value(min(levels) - max(rises) - reach)
    high = one.value(max(levels) + max(rises) + reach)
    return max(min(one.values), low), min(max(one.values), high)


def _segment_lines(one: Trend) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("", "from", "to", "sessions", "level", "95% interval", "change")]
    letters = iter(_LETTERS)
    for number, segment in enumerate(one.course.segments):
        step = one.course.steps[number - 1] if number else None
        rows.append((next(letters, "*") if step else "", *_segment_row(one, segment, step)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [
            cell.rjust(width) if i in (3, 4) else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"  {'  '.join(cells)}".rstrip()
        if number >= 2:
            yield from (f"       {line}" for line in step_lines(one, number - 2))


def _segment_row(one: Trend, segment: Segment, step: Step | None) -> tuple[str, ...]:
    key, readings = one.series.key, one.series.readings
    when = [when_words(readings[i].session.started, one) for i in (segment.start, segment.end - 1)]
    drift = f", drifting by {_percent(one, segment.rise)}" if segment.rise else ""
    change = "" if step is None else f"{_mark(one, step)} {_change(one, step)} {_interval(one, step)}"
    low, high = key.format(one.value(segment.low)), key.format(one.value(segment.high))
    return (
        *when,
        str(segment.end - segment.start),
        key.format(one.value(segment.level)),
        f"{low} to {high}{drift}",
        change,
    )


def step_lines(one: Trend, number: int) -> list[str]:
    """What else happened where a step is."""
    step, beside = one.course.steps[number], one.beside[number]
    found = one.candidates(step)
    lines = []
    if one.is_within_noise(step):
        lines.append("no larger than what one session differs from the next: seen over many sessions only")
    if beside is not None:
        lines.append(f"the base that was measured beside it: {_percent(one, beside)} at the same time")
    told = [one_place for one_place in found if one_place.differences]
    if not told:
        lines.append(_nothing_known(found))
    for candidate in told[:_MOST_PLACES]:
        lines += _candidate_lines(one, step, candidate, is_only=len(told) == 1)
    if (more := len(told) - _MOST_PLACES) > 0:
        lines.append(f"and {more} more (--json has them)")
    return lines


def _nothing_known(found: Sequence[Candidate]) -> str:
    by_time = sorted(found, key=lambda candidate: candidate.at)
    commits = [candidate.commits for candidate in by_time if candidate.commits]
    if not commits:
        return "nothing that is recorded changed here: neither the subject nor the commit of the repository"
    old, new = commits[0][0], commits[-1][1]
    return f"the subject is the same; commits of the repository: {old[:10]} → {new[:10]}"


def _candidate_lines(one: Trend, step: Step, candidate: Candidate, *, is_only: bool) -> list[str]:
    when = when_words(one.series.readings[candidate.at].session.started, one)
    likely = "here" if candidate.at == step.at else f"from {when} on"
    head = likely if is_only else f"{likely}{', likeliest' if candidate.at == step.at else ', or'}"
    shown = [printable(one, _MOST_TEXT) for one in candidate.differences[:_MOST_LINES]]
    if (more := len(candidate.differences) - _MOST_LINES) > 0:
        shown.append(f"and {more} more (--json has them)")
    if candidate.commits:
        shown.append(f"commit of the repository {candidate.commits[0][:10]} → {candidate.commits[1][:10]}")
    return [f"{head}: {shown[0]}", *(f"  {line}" for line in shown[1:])]


def noise_words(one: Trend) -> list[str]:
    """How much sessions vary."""
    if len(one.values) < 2:
        return []
    if not one.series.is_relative:
        return [f"sessions vary by ± {one.series.key.format(one.course.noise)} around their level"]
    return [f"sessions vary by ± {100 * one.course.noise:.1f}% around their level (one standard deviation)"]


def caveats(trends: Sequence[Trend]) -> list[str]:
    """Why changes were not looked for."""
    lines = list(dict.fromkeys(one.why_not for one in trends if one.why_not))
    few = [one for one in trends if len(one.values) < FEWEST_TO_JUDGE]
    if few and not lines:
        counts = sorted({len(one.values) for one in few})
        told = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        lines.append(f"{told} of the {FEWEST_TO_JUDGE} sessions that it takes to tell a change from noise")
    return lines


def when_words(time: datetime, one: Trend) -> str:
    """The day of a session, and the time where there were several a day."""
    days = [reading.session.started.date() for reading in one.series.readings]
    is_daily = len(days) == len(set(days))
    return f"{time:%Y-%m-%d}" if is_daily else f"{time:%Y-%m-%d %H:%M}"


def _percent(one: Trend, size: float) -> str:
    change = one.change(size)
    if one.series.is_relative:
        text = f"{100 * change:+.1f}%" if abs(change) < 0.0995 else f"{100 * change:+.0f}%"
        return text.replace("-0.0%", "+0.0%")
    return f"{'+' if change >= 0 else '-'}{one.series.key.format(abs(change))}"


def _change(one: Trend, step: Step) -> str:
    return _percent(one, step.size)


def _interval(one: Trend, step: Step) -> str:
    return f"({_percent(one, step.low)} to {_percent(one, step.high)})"


def _word(one: Trend, step: Step) -> str:
    return "worse" if one.is_worse(step) else "better"


def _mark(one: Trend, step: Step) -> str:
    return "✗" if one.is_worse(step) else "▲"


def _sessions(count: int) -> str:
    return f"{count} session{'s' if count != 1 else ''}"


def series_name(series: Series) -> str:
    """A series, for an error."""
    return f"{printable(series.point, _MOST_TEXT)}, {series.key.name}"
