"""The plot: false alarms, and detection by the true change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bench.judge.cells import OURS, Tally
from bench.judge.rules import RULES
from bench.judge.worlds import World

Kind = tuple[str, float, str, int]
COLOURS = ("#c1121f", "#1d3557", "#457b9d", "#2a9d8f", "#e9a03b", "#7b2cbf", "#8d99ae", "#606c38")
DASHES = ("", "", "6 3", "2 3", "", "8 3 2 3", "4 4", "1 2")
WIDTH, HEIGHT = 860, 400
TOP, BOTTOM = 54.0, 348.0
BARS, CURVES, NAMES = (50.0, 220.0), (280.0, 620.0), 640.0


def plot(tallies: Mapping[Kind, Tally], world: World, effects: Sequence[float], launches: int) -> str:
    """An SVG: on the left the share of sessions with a false alarm where nothing changed, on the right the
    share of sessions in which the metric that changed was called worse, for each of ``effects``."""
    names = (OURS, *(rule.name for rule in RULES))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(BARS[0], 20, "Nothing changed:", bold=True),
        _text(BARS[0], 36, "sessions with a false alarm"),
        _text(CURVES[0], 20, "One metric changed:", bold=True),
        _text(CURVES[0], 36, "sessions that find it, by how much it got worse"),
    ]
    for ends in (BARS, CURVES):
        parts += _grid(*ends)
    tolerance = _x(world.tolerance, effects)
    parts.append(_line(tolerance, TOP, tolerance, BOTTOM, "#222", "3 3", 1))
    parts.append(_text(tolerance + 4, TOP + 16, "tolerance"))
    parts += [
        _text(_x(effect, effects), BOTTOM + 16, f"{effect:.0%}", "middle") for effect in _apart(effects)
    ]
    for index, name in reversed(list(enumerate(names))):  # ours on top
        parts += _bar(index, len(names), tallies.get((world.name, 0.0, name, launches)))
        parts += _curve(
            index, [tallies.get((world.name, effect, name, launches)) for effect in effects], effects
        )
        y = TOP + 10 + 20 * index
        parts.append(_line(NAMES, y, NAMES + 30, y, COLOURS[index], DASHES[index], _weight(index)))
        parts.append(_text(NAMES + 36, y + 4, name, bold=not index))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _apart(effects: Sequence[float]) -> list[float]:
    """Those whose labels do not touch."""
    found = [effects[0]]
    for effect in effects[1:]:
        if _x(effect, effects) - _x(found[-1], effects) >= 30:
            found.append(effect)
    return found


def _grid(left: float, right: float) -> list[str]:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(left, _y(share), right, _y(share), "#ddd", "", 1))
        parts.append(_text(left - 6, _y(share) + 4, f"{share:.0%}", "end"))
    return parts


def _bar(index: int, bars: int, tally: Tally | None) -> list[str]:
    if tally is None or tally.alarmed is None:
        return []
    share = tally.alarmed / tally.sessions
    step = (BARS[1] - BARS[0]) / bars
    left = BARS[0] + step * (index + 0.15)
    label = f"{share:.1%}" if share < 0.0995 else f"{share:.0%}"
    return [
        f'<rect x="{left:.1f}" y="{_y(share):.1f}" width="{0.7 * step:.1f}" '
        f'height="{BOTTOM - _y(share):.1f}" fill="{COLOURS[index]}"/>',
        _text(left + 0.35 * step, _y(share) - 4, label.removesuffix("%"), "middle"),
    ]


def _curve(index: int, tallies: Sequence[Tally | None], effects: Sequence[float]) -> list[str]:
    points = [
        (_x(effect, effects), _y(tally.found / tally.sessions))
        for effect, tally in zip(effects, tallies, strict=True)
        if tally and tally.found is not None
    ]
    dash = f' stroke-dasharray="{DASHES[index]}"' if DASHES[index] else ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    stroke = f'stroke="{COLOURS[index]}" stroke-width="{_weight(index)}"{dash}'
    return [f'<polyline points="{path}" fill="none" {stroke}/>']


def _weight(index: int) -> float:
    return 3.0 if not index else 1.8


def _x(effect: float, effects: Sequence[float]) -> float:
    return CURVES[0] + (CURVES[1] - CURVES[0]) * effect / max(effects)


def _y(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str, width: float) -> str:
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashed}/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{text}</text>'
