"""Trends as a page of its own: no network, no script, charts that Python drew."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files

from pytest_llmperf.judge.course import Segment
from pytest_llmperf.keep.trend import Trend
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.trend import (
    caveats,
    change_words,
    noise_words,
    shown_range,
    step_lines,
    step_words,
    when_words,
)

WIDTH, HEIGHT = 920, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, WIDTH - 20, 14, HEIGHT - 34
_LONGEST = 300
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_COLUMNS = ("session", "value", "launches", "subject", "commit", "verdict")
_Scale = Callable[[float], float]


def trend_page(test: str, about: Sequence[str], trends: Sequence[Trend]) -> str:
    """The page; ``about`` are lines on what all trends share."""
    style = files("pytest_llmperf.report").joinpath("trend.css").read_text("utf-8")
    head = _tag(
        "head",
        _tag("meta", charset="utf-8"),
        _tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        _tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        _tag("link", rel="icon", href="data:,"),
        _tag("title", _text(f"{test}: history")),
        _tag("style", style),
    )
    quiet = [_tag("p", _text(line), class_="quiet") for line in about]
    sections = [_tag("section", *_section(one)) for one in trends]
    body = _tag("body", _tag("main", _tag("h1", _text(test)), *quiet, *sections))
    return f"<!DOCTYPE html>\n{_tag('html', head, body, lang='en')}\n"


def _section(one: Trend) -> Iterator[str]:
    key, last = one.series.key, one.course.segments[-1]
    yield _tag("h2", _text(key.label), " ", _tag("small", _text(one.series.point)))
    now = f"Now {key.format(one.value(last.level))}; {key.metric.better} is better. {change_words(one)}"
    yield _tag("p", _text(now), class_="lead")
    yield _chart(one)
    if one.course.steps:
        yield _tag("ol", *(_step(one, number) for number in range(len(one.course.steps))))
    yield from (_tag("p", _text(line), class_="quiet") for line in (*caveats([one]), *noise_words(one)))
    yield _table(one)


def _step(one: Trend, number: int) -> str:
    step = one.course.steps[number]
    told = _tag("strong", _text(step_words(one, step)), class_="bad" if one.is_worse(step) else "good")
    return _tag("li", told, _tag("ul", *(_tag("li", _text(line)) for line in step_lines(one, number))))


def _chart(one: Trend) -> str:
    low, high = shown_range(one)
    room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
    low, high = low - room, high + room
    count = len(one.values)

    def x(index: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (0.5 if count < 2 else index / (count - 1))

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * min(max((value - low) / (high - low), 0.0), 1.0)

    parts = [_tag("rect", class_="plot", x=_LEFT, y=_TOP, width=_RIGHT - _LEFT, height=_BOTTOM - _TOP)]
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
    return _tag("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=said)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return _tag("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _label(text: str, x: float, y: float, anchor: str) -> str:
    return _tag("text", _text(text), class_="label", x=x, y=y, text_anchor=anchor)


def _band(one: Trend, segment: Segment, x: _Scale, y: _Scale) -> str:
    """The level with its interval."""
    up, down = segment.high - segment.level, segment.low - segment.level
    (x1, from_), (x2, to) = (
        (x(at), segment.level + half * segment.rise)
        for at, half in ((segment.start, -0.5), (segment.end - 1, 0.5))
    )
    corners = ((x1, from_ + up), (x2, to + up), (x2, to + down), (x1, from_ + down))
    area = " ".join(f"{at:.1f},{y(one.value(value)):.1f}" for at, value in corners)
    return _tag("polygon", class_="band", points=area) + _line(
        "level", x1, y(one.value(from_)), x2, y(one.value(to))
    )


def _dot(one: Trend, index: int, x: _Scale, y: _Scale, is_within: bool) -> str:
    reading = one.series.readings[index]
    launches = ", ".join(f"{value:.4g}" for value in reading.values)
    said = (
        f"{reading.session.started:%Y-%m-%d %H:%M} · {one.series.key.format(reading.value)} ({launches}) · "
        f"{reading.result.subject_text} · {reading.session.commit[:10] or 'no commit'} · "
        f"{reading.result.verdict}"
    )
    kind = "dot" if is_within else "dot out"
    title = _tag("title", _text(said))
    return _tag("circle", title, class_=kind, cx=x(index), cy=y(reading.value), r=3.2)


def _table(one: Trend) -> str:
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
        rows.append(_tag("tr", *(_tag("td", _text(cell)) for cell in cells)))
    head = _tag("thead", _tag("tr", *(_tag("th", name) for name in _COLUMNS)))
    table = _tag("table", head, _tag("tbody", *rows))
    return _tag("details", _tag("summary", f"All {len(rows)} sessions"), _tag("div", table, class_="scroll"))


def _tag(name: str, /, *children: str, **attributes: str | float) -> str:
    """An element; its children are HTML already, its attributes are escaped."""
    written = "".join(f' {_attribute(key)}="{_value(value)}"' for key, value in attributes.items())
    empty = name in ("meta", "link")
    return f"<{name}{written}>" if empty else f"<{name}{written}>{''.join(children)}</{name}>"


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: str | float) -> str:
    return html.escape(value) if isinstance(value, str) else f"{value:.5g}"


def _text(text: str) -> str:
    return html.escape(printable(text, _LONGEST))
