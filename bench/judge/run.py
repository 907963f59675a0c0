"""How often judges of performance cry wolf, and how often they sleep.

    python -m bench.judge.run --out figures             # all worlds, 2000 sessions or half of that
    python -m bench.judge.run --quick                   # 12 sessions: does it run?

Sessions of 20 tests with 4 metrics are simulated, in worlds that differ in how launches vary, and our judge
and the rules of others judge the same data. Writes figures.json, tables.md and plot.svg; prints the tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.judge.cells import CURVE, Cell, Tally, cells, tally_batch
from bench.judge.plot import plot
from bench.judge.tables import report
from bench.judge.worlds import NORMAL, PROMISED, USUAL

QUICK_SESSIONS = 12
Task = tuple[Cell, int, int]


def main() -> None:
    asked = _parser().parse_args()
    sessions = QUICK_SESSIONS if asked.quick else asked.sessions
    began = time.monotonic()
    tallies = tally_all(cells(sessions), asked.processes)
    took = time.monotonic() - began
    shape = USUAL
    heading = (
        f"{time.strftime('%Y-%m-%d')}, {took / 60:.1f} min with {asked.processes} processes. Sessions of "
        f"{shape.tests} tests × {shape.metrics} metrics: {sessions} where nothing changed and half as many "
        f"where something did, for {', '.join(world.name for world in PROMISED)}; half of that for others."
    )
    text = report(tallies, shape, heading)
    print(text, end="")
    if asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        (asked.out / "tables.md").write_text(text)
        figures = {"heading": heading, "tallies": [dataclasses.asdict(tally) for tally in tallies]}
        (asked.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
        by_kind = {tally.kind: tally for tally in tallies}
        (asked.out / "plot.svg").write_text(plot(by_kind, NORMAL, CURVE, shape.launches))


def tally_all(asked: Sequence[Cell], processes: int) -> list[Tally]:
    """All batches of all cells, spread over processes; in the order of the cells, whoever is first."""
    tasks = [(cell, number, size) for cell in asked for number, size in cell.batches()]
    totals: dict[tuple[str, float, str, int], Tally] = {}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for done, tallies in enumerate(pool.imap(_tally, tasks), 1):
            for tally in tallies:
                totals[tally.kind] = totals[tally.kind] + tally if tally.kind in totals else tally
            if sys.stderr.isatty():
                print(f"\r{done}/{len(tasks)} ", end="", file=sys.stderr, flush=True)
    return list(totals.values())


def _tally(task: Task) -> list[Tally]:
    return tally_batch(*task)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SESSIONS} sessions")
    parser.add_argument("--sessions", type=int, default=2000, metavar="N", help="of a world, at most")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write JSON, Markdown and SVG here")
    return parser


if __name__ == "__main__":
    main()
