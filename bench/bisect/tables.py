"""The figures as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.bisect.cases import OTHERS, STEPS, UNCHANGED
from bench.bisect.searches import WAYS
from bench.bisect.worlds import World
from bench.clients.tables import as_markdown
from bench.judge.tables import percent

OURS = next(iter(WAYS))


@dataclass(frozen=True)
class Figure:
    """One bisection: what came of it (``right``, ``wide``, ``wrong``, ``silent``), the launches until the
    search began and since then, and what did not build."""

    world: str
    way: str
    verdict: str
    ends: int
    search: int
    failed: int
    odd: bool


Kind = tuple[str, str]


def by_kind(figures: Iterable[Figure]) -> dict[Kind, list[Figure]]:
    """Sorted by world and way."""
    found: dict[Kind, list[Figure]] = {}
    for one in figures:
        found.setdefault((one.world, one.way), []).append(one)
    return found


def share(figures: Sequence[Figure], *verdicts: str) -> str:
    return percent(sum(one.verdict in verdicts for one in figures), len(figures))


def ours_table(figures: Mapping[Kind, Sequence[Figure]], worlds: Sequence[World]) -> str:
    """Our bisection in each world."""
    rows = []
    for world in worlds:
        own = figures.get((world.name, OURS), ())
        if own:
            verdicts = (share(own, "right"), share(own, "wrong", "wide"), share(own, "silent"))
            failed = f"{np.mean([one.failed for one in own]):.1f}"
            odd = percent(sum(one.odd for one in own), len(own))
            rows.append(
                [world.name, *verdicts, odd, _launches(own, "ends"), _launches(own, "search"), failed]
            )
    header = ("history", "right", "wrong", "says it does not know", "noticed that it is odd")
    return as_markdown((*header, "launches: ends", "launches: search", "failed builds"), rows)


def ways_table(figures: Mapping[Kind, Sequence[Figure]], worlds: Sequence[World]) -> str:
    """Right, wrong and launches of all ways."""
    rows = []
    for world in worlds:
        if (world.name, OURS) in figures:
            rows.append([world.name, *(_cell(figures[world.name, way]) for way in WAYS)])
    return as_markdown(("right / wrong; launches", *WAYS), rows)


def report(figures: Iterable[Figure], heading: str) -> str:
    """All tables as one document."""
    known = by_kind(figures)
    parts = [
        (title, ours_table(known, worlds))
        for title, worlds in (
            ("One change for good", STEPS),
            ("Other histories", OTHERS),
            ("Nothing changed", UNCHANGED),
        )
        if any((world.name, OURS) in known for world in worlds)
    ]
    parts.append(("Beside others", ways_table(known, [*STEPS, *OTHERS, *UNCHANGED])))
    return "\n\n".join([heading, *(f"### {title}\n\n{table}" for title, table in parts)]) + "\n"


def _cell(figures: Sequence[Figure]) -> str:
    right, wrong = (
        f"{100 * np.mean([one.verdict in verdicts for one in figures]):.3g} %"
        for verdicts in (("right",), ("wrong", "wide"))
    )
    launches = np.median([one.ends + one.search for one in figures])
    return f"{right} / {wrong}; {launches:.0f}"


def _launches(figures: Sequence[Figure], what: str) -> str:
    """The median, and what 90 % take at most."""
    values = [getattr(one, what) for one in figures]
    return f"{np.median(values):.0f} ({np.quantile(values, 0.9):.0f})"
