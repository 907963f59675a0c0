"""The plot: how far off 95 % of the searches are, by the time they take."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.judge.plot import COLOURS
from bench.search.tables import Figure, Figures, chosen, column, error95, values_of

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 60.0, 520.0, 40.0, 330.0
TIMES_S, ERRORS = (500.0, 16_000.0), (0.01, 0.3)


def plot(figures: Figures) -> str:
    """An SVG with a colour for each engine: a disc for our search, a ring for bisection, a line for the
    linear sweep, with longer points to the right."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-weight="bold">Capacity: 95 % of the searches are within</text>',
        f'<text x="{RIGHT}" y="{BOTTOM + 34}" text-anchor="end">run time of a search</text>',
    ]
    for error in (0.01, 0.03, 0.1, 0.3):
        parts.append(_line([(TIMES_S[0], error), (TIMES_S[1], error)], "#ddd"))
        parts.append(f'<text x="{LEFT - 6}" y="{_y(error) + 4:.1f}" text-anchor="end">{error:.0%}</text>')
    for time_s in (500, 1000, 2000, 4000, 8000, 16_000):
        parts.append(f'<text x="{_x(time_s):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{time_s} s</text>')
    for index, engine in enumerate(values_of(figures["ours"], "engine")):
        colour = COLOURS[index]
        swept = chosen(figures["linear"], engine=engine, way="linear, cubic")
        sweeps = [chosen(swept, duration_s=one) for one in values_of(swept, "duration_s")]
        parts.append(_line([_at(one) for one in sweeps], colour))
        parts.append(_disc(_at(chosen(figures["bisection"], engine=engine)), colour, "white"))
        parts.append(_disc(_at(chosen(figures["ours"], engine=engine)), colour, colour))
        parts.append(_disc_at(RIGHT + 24, TOP + 6 + 20 * index, colour, colour))
        parts.append(f'<text x="{RIGHT + 36}" y="{TOP + 10 + 20 * index}">{engine}</text>')
    for row, says in enumerate(("● pytest-llmperf", "○ bisection", "— linear sweep of 10 points")):
        parts.append(f'<text x="{RIGHT + 20}" y="{TOP + 120 + 18 * row}">{says}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _at(figures: Sequence[Figure]) -> tuple[float, float]:
    return float(column(figures, "took_s").mean()), error95(figures)


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{_x(time_s):.1f},{_y(error):.1f}" for time_s, error in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'


def _disc(point: tuple[float, float], colour: str, fill: str) -> str:
    return _disc_at(_x(point[0]), _y(point[1]), colour, fill)


def _disc_at(x: float, y: float, colour: str, fill: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" stroke="{colour}" stroke-width="2" fill="{fill}"/>'


def _x(time_s: float) -> float:
    return LEFT + (RIGHT - LEFT) * _share(time_s, *TIMES_S)


def _y(error: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * _share(error, *ERRORS)


def _share(value: float, low: float, high: float) -> float:
    return min(max(math.log(max(value, low) / low) / math.log(high / low), 0.0), 1.0)
