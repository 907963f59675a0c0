"""How often change points in a history are found, and how often where nothing changed.

    python -m bench.history.run                  # 100 histories of each kind, some minutes
    python -m bench.history.run --count 4        # does it run?

Seeds are fixed: they are the same histories each time. Prints the tables of docs/history.md.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench.clients.tables import as_markdown
from bench.history.ways import LONGEST_OF_OTAVA, WAYS
from bench.history.worlds import EDGE, LENGTHS, NOISES, STEPS, UNCHANGED, Drawn, stepped, unchanged
from bench.judge.tables import percent

NEAR = 3
"""A step that is found may be off by this many sessions, or by a twentieth of the history."""
OURS, HINTED = "ours", "ours, told when the version changed"


class Case(NamedTuple):
    """One kind of history: ``step`` is 0 for those in which nothing changed."""

    kind: str
    length: int
    noise: float
    step: float = 0.0


class Found(NamedTuple):
    """Of one history: whether its step was found and how far off, and how many others were."""

    is_found: bool
    off: int
    others: int


Figures = Mapping[tuple[Case, str], Sequence[Found]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    asked = parser.parse_args()
    began = time.monotonic()
    figures = gather(asked.count, asked.processes)
    print(f"{asked.count} histories of each kind, {(time.monotonic() - began) / 60:.1f} min\n")
    print(false_table(figures), found_table(figures), detail_table(figures), sep="\n\n")


def gather(count: int, processes: int) -> Figures:
    tasks = [(case, count) for case in cases()]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        parts = pool.starmap(_measure, tasks, chunksize=1)
    return {
        (case, way): some for (case, _), part in zip(tasks, parts, strict=True) for way, some in part.items()
    }


def cases() -> Iterator[Case]:
    for length in LENGTHS:
        for noise in NOISES:
            yield from (Case(kind, length, noise) for kind in UNCHANGED)
            yield from (Case("step", length, noise, step) for step in STEPS)


def _measure(case: Case, count: int) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for seed in range(count):
        drawn = (
            stepped(case.step, case.length, case.noise, seed)
            if case.step
            else unchanged(case.kind, case.length, case.noise, seed)
        )
        for way, find in WAYS.items():
            if "Otava" in way and case.length > LONGEST_OF_OTAVA:
                continue
            found.setdefault(way, []).append(grade(find(drawn.values, ()), drawn))
        found.setdefault(HINTED, []).append(grade(WAYS[OURS](drawn.values, hints(drawn, seed)), drawn))
    return found


def hints(drawn: Drawn, seed: int) -> list[int]:
    """Three versions in a history, of which one may have made a step."""
    rng = np.random.default_rng([1, len(drawn.values), seed])
    places = rng.choice(np.arange(EDGE, len(drawn.values) - EDGE + 1), 3, replace=False)
    return sorted({*drawn.steps, *map(int, places[len(drawn.steps) :])})


def grade(found: Sequence[int], drawn: Drawn) -> Found:
    reach = max(NEAR, len(drawn.values) // 20)
    for step in drawn.steps:
        near = min(found, key=lambda place: abs(place - step), default=None)
        if near is not None and abs(near - step) <= reach:
            return Found(True, abs(near - step), len(found) - 1)
    return Found(False, 0, len(found))


def _ways(figures: Figures) -> list[str]:
    return [OURS, HINTED, *(way for way in WAYS if way != OURS)]


def _some(figures: Figures, way: str, kind: str, step: float = 0.0, length: int | None = None) -> list[Found]:
    return [
        one
        for (case, of), some in figures.items()
        if of == way and case.kind == kind and case.step == step and length in (None, case.length)
        for one in some
    ]


def false_table(figures: Figures) -> str:
    """Histories in which nothing jumped and a change point was found."""
    rows = [[way, *(_share_false(_some(figures, way, kind)) for kind in UNCHANGED)] for way in _ways(figures)]
    return as_markdown(["with a change point", *UNCHANGED], rows)


def _share_false(some: Sequence[Found]) -> str:
    return percent(sum(one.others > 0 for one in some), len(some))


def found_table(figures: Figures) -> str:
    """Steps that were found, how far off, and the others that were found beside them."""
    rows = []
    for way in _ways(figures):
        row = [way]
        for step in STEPS:
            some = _some(figures, way, "step", step)
            off = [one.off for one in some if one.is_found]
            more = percent(sum(one.others > 0 for one in some), len(some))
            mean = f"{np.mean(off):.1f}" if off else "–"
            row.append(f"{percent(len(off), len(some))}, off by {mean}; others in {more}")
        rows.append(row)
    return as_markdown(["found", *(f"+{step:.0%}" for step in STEPS)], rows)


def detail_table(figures: Figures) -> str:
    """Ours, by length and noise: steps of 5, 10 and 20 % found."""
    rows = []
    for noise in NOISES:
        row = [f"{noise:.0%}"]
        for length in LENGTHS:
            shares = []
            for step in STEPS:
                some = figures[Case("step", length, noise, step), OURS]
                shares.append(f"{sum(one.is_found for one in some) / len(some):.0%}")
            row.append(" / ".join(shares))
        rows.append(row)
    return as_markdown(["noise", *(f"{length} sessions" for length in LENGTHS)], rows)


if __name__ == "__main__":
    main()
