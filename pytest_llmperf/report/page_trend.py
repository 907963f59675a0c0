"""Trends as a page of its own: no network, no script, charts that Python drew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pytest_llmperf.judge.course import Segment
from pytest_llmperf.keep.trend import Trend
from pytest_llmperf.report.document import asset, document
from pytest_llmperf.report.markup import Markup, join, tag
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.trend import (
    caveats,
    change_words,
    level_words,
    noise_words,
    shown_range,
    step_lines,
    step_words,
    when_words,
)

WIDTH, HEIGHT = 920, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, WIDTH - 20, 14, HEIGHT - 34
_LONGEST = 300
_STYLE = "trend.css"
_COLUMNS = ("session", "value", "launches", "subject", "commit", "verdict")
_Scale = Callable[[float], float]


def trend_page(test: str, about: Sequence[str], trends: Sequence[Trend]) -> str:
    """The page; ``about`` are lines on what all trends share."""
    quiet = [tag("p", _text(line), class_="quiet") for line in about]
    sections = [tag("section", _section(one)) for one in trends]
    body = tag("main", tag("h1", _text(test)), quiet, sections)
    return document(_text(f"{test}: history"), asset(_STYLE), body)


def _section(one: Trend) -> Iterator[Markup]:
    key = one.series.key
    yield tag("h2", _text(key.label), " ", tag("small", _text(one.series.point)))
    said = f"At a level of {level_words(one)}, in the newest session {key.format(one.values[-1])}"
    yield tag("p", _text(f"{said}; {key.metric.better} is better. {change_words(one)}"), class_="lead")
    yield _chart(one)
    if one.course.steps:
        yield tag("ol", [_step(one, number) for number in range(len(one.course.steps))])
    yield from (tag("p", _text(line), class_="quiet") for line in (*caveats([one]), *noise_words(one)))
    yield _table(one)


def _step(one: Trend, number: int) -> Markup:
    step = one.course.steps[number]
    told = tag("strong", _text(step_words(one, step)), class_="bad" if one.is_worse(step) else "good")
    return tag("li", told, tag("ul", [tag("li", _text(line)) for line in step_lines(one, number)]))


def _chart(one: Trend) -> Markup:
    low, high = shown_range(one)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = max(low - room, 0.0), high + room
    count = len(one.values)

    def x(index: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (0.5 if count < 2 else index / (count - 1))

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max((value - low) / (high - low), 0.0), 1.0)

    parts = [tag("rect", class_="plot", **_at(x=_LEFT, y=_TOP, width=_RIGHT - _LEFT, height=_BOTTOM - _TOP))]
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        parts.append(_line("grid", _LEFT, y(value), _RIGHT, y(value)))
        parts.append(_label(one.series.key.format(value), _LEFT - 6, y(value) + 4, "end"))
    parts += [_band(one, segment, x, y) for segment in one.course.segments]
    parts += [_dot(one, index, x, y, low <= value <= high) for index, value in enumerate(one.values)]
    for step in one.course.steps:
        at = x(step.at - 0.5)
        parts.append(_line(f"step {'bad' if one.is_worse(step) else 'good'}", at, _TOP, at, _BOTTOM))
    for index, anchor in ((0, "start"), (count - 1, "end")) if count > 1 else ((0, "middle"),):
        when = one.series.readings[index].session.started
        parts.append(_label(when_words(when, one), x(index), HEIGHT - 12, anchor))
    said = printable(f"{one.series.key.label} over {count} sessions. {change_words(one)}")
    return tag("svg", parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return tag("line", class_=kind, **_at(x1=x1, y1=y1, x2=x2, y2=y2))


def _label(text: str, x: float, y: float, anchor: str) -> Markup:
    return tag("text", _text(text), class_="label", text_anchor=anchor, **_at(x=x, y=y))


def _band(one: Trend, segment: Segment, x: _Scale, y: _Scale) -> Markup:
    """The level with its interval."""
    up, down = segment.high - segment.level, segment.low - segment.level
    (x1, from_), (x2, to) = (
        (x(at), segment.level + half * segment.rise)
        for at, half in ((segment.start, -0.5), (segment.end - 1, 0.5))
    )
    corners = ((x1, from_ + up), (x2, to + up), (x2, to + down), (x1, from_ + down))
    area = " ".join(f"{at:.1f},{y(one.value(value)):.1f}" for at, value in corners)
    level = _line("level", x1, y(one.value(from_)), x2, y(one.value(to)))
    return join([tag("polygon", class_="band", points=area), level])


def _dot(one: Trend, index: int, x: _Scale, y: _Scale, is_within: bool) -> Markup:
    reading = one.series.readings[index]
    launches = ", ".join(f"{value:.4g}" for value in reading.values)
    said = (
        f"{reading.session.started:%Y-%m-%d %H:%M} · {one.series.key.format(reading.value)} ({launches}) · "
        f"{reading.result.subject_text} · {reading.session.commit[:10] or 'no commit'} · "
        f"{reading.result.verdict}"
    )
    kind = "dot" if is_within else "dot out"
    title = tag("title", _text(said))
    return tag("circle", title, class_=kind, **_at(cx=x(index), cy=y(reading.value), r=3.2))


def _table(one: Trend) -> Markup:
    rows = []
    for reading in one.series.readings:
        session = reading.session
        cells = (
            f"{session.started:%Y-%m-%d %H:%M}",
            one.series.key.format(reading.value),
            str(len(reading.values)),
            reading.result.subject_text,
            session.commit[:10] + (" and changes" if session.is_changed else ""),
            reading.result.verdict,
        )
        rows.append(tag("tr", [tag("td", _text(cell)) for cell in cells]))
    head = tag("thead", tag("tr", [tag("th", name) for name in _COLUMNS]))
    table = tag("table", head, tag("tbody", rows))
    return tag("details", tag("summary", f"All {len(rows)} sessions"), tag("div", table, class_="scroll"))


def _at(**numbers: float) -> dict[str, str]:
    """Attributes that are numbers."""
    return {name: f"{number:.5g}" for name, number in numbers.items()}


def _text(text: str) -> str:
    return printable(text, _LONGEST)
