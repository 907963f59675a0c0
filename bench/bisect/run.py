"""How often bisections of noisy histories name the right culprit, and what that takes: ours and others.

    python -m bench.bisect.run --out .bench-bisect            # all histories, 500 bisections of each
    python -m bench.bisect.run --count 4                      # does it run?
    python -m bench.bisect.run --only '64 pos' --tuning       # with the seeds that constants were chosen on

Seeds are fixed: they are the same histories and the same launches each time. Writes figures.json and
tables.md; prints the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from pathlib import Path

from bench.bisect.cases import CASES
from bench.bisect.searches import WAYS
from bench.bisect.tables import OURS, Figure, report
from bench.bisect.worlds import Machine, World, draw

REPORTED_FROM = 1_000_000
"""The first seed of what is reported; constants were chosen on seeds from 0 on."""
UNCHANGED_TIMES = 4
"""What is rare takes more counting: so many times as many histories where nothing changed."""
Task = tuple[World, str, int]


def main() -> None:
    asked = _parser().parse_args()
    worlds = [world for world in CASES if asked.only in world.name]
    began = time.monotonic()
    figures = gather(worlds, asked.count, asked.processes, 0 if asked.tuning else REPORTED_FROM)
    took = (time.monotonic() - began) / 60
    heading = (
        f"{time.strftime('%Y-%m-%d')}, {took:.1f} min with {asked.processes} processes: {asked.count} "
        f"bisections of each kind of history, {UNCHANGED_TIMES * asked.count} of ours where nothing changed"
        f"{', with the seeds of the tuning' if asked.tuning else ''}."
    )
    text = report(figures, heading)
    print(text, end="")
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "tables.md").write_text(text)
        rows = [dataclasses.asdict(one) for one in figures]
        (asked.out / "figures.json").write_text(json.dumps({"heading": heading, "figures": rows}) + "\n")


def gather(worlds: Sequence[World], count: int, processes: int, first_seed: int) -> list[Figure]:
    """All bisections, in the order of the worlds and ways."""
    tasks = [
        (world, way, first_seed + number)
        for world in worlds
        for way in WAYS
        for number in range(count * (UNCHANGED_TIMES if world.shape == "none" and way == OURS else 1))
    ]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return list(pool.imap(_bisected, tasks, chunksize=16))


def _bisected(task: Task) -> Figure:
    world, way, seed = task
    machine = Machine(world, draw(world, seed), seed)
    found = WAYS[way](machine)
    return Figure(
        world=world.name,
        way=way,
        verdict=found.verdict(machine),
        ends=found.ends,
        search=found.launches - found.ends,
        failed=found.failed,
        odd=found.odd,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=500, metavar="N", help="bisections of each history")
    parser.add_argument("--only", default="", metavar="TEXT", help="histories with this in their name")
    parser.add_argument("--tuning", action="store_true", help="with the seeds that constants were chosen on")
    parser.add_argument("--processes", type=int, default=min(os.cpu_count() or 1, 8), metavar="N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write JSON and Markdown here")
    return parser


if __name__ == "__main__":
    main()
