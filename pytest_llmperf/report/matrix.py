"""The cells of a matrix and what came of them, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.declare.grid import Cell
from pytest_llmperf.judge.advice import Candidate, Carried, capacity
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.evidence import Evidence, Scene, take_record
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.width import cells as cells_of
from pytest_llmperf.report.width import fitted, padded, squeezed, wrapped

_TITLES = ("subject", "workload", "verdict", "capacity", "TTFT p50", "TPOT p50", "tok/s")
_TEXTS = 3
"""So many columns are words, and the others figures."""
_SHOWN, _NARROW = 64, 12


def matrix_table(
    cells: Sequence[tuple[Cell, Mapping[str, Any] | None]], width: int | None = None
) -> list[str]:
    """A line for each cell with its record, which is None for one that is not measured yet; below it the
    error of one that failed. In no more than ``width`` cells, subjects and workloads are shortened, then
    figures are left out.

    ``capacity`` is in requests/s under the SLO, latencies are those at the lightest load in ms, and ``tok/s``
    the most output tokens per second at any load.
    """
    rows = [_TITLES, *(_row(cell, record) for cell, record in cells)]
    widths = [max(cells_of(row[i]) for row in rows) for i in range(len(_TITLES))]
    if width is not None:
        _narrow(widths, width)
    lines = []
    for number, row in enumerate(rows):
        shown = [
            padded(squeezed(text, room), room, right=i >= _TEXTS)
            for i, (text, room) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join(shown).rstrip())
        record = cells[number - 1][1] if number else None
        if record is not None and (error := record["tests"][0]["error"]):
            for line in str(error).splitlines()[:2]:
                lines += wrapped(f"    {printable(line)}", width)
    return lines


def _narrow(widths: list[int], width: int) -> None:
    """Take from the widths of the columns until they fit."""
    for column, least in ((0, _NARROW), (1, _NARROW)):
        beyond = sum(widths) + 2 * (len(widths) - 1) - width
        widths[column] = max(min(widths[column], least), widths[column] - max(0, beyond))
    while sum(widths) + 2 * (len(widths) - 1) > width and len(widths) > 1:
        widths.pop()
    widths[0] = min(widths[0], width)


def cell_line(cell: Cell, record: Mapping[str, Any]) -> str:
    """One cell in one line."""
    _, _, verdict, *figures = _row(cell, record)
    named = [f"{title} {figure}" for title, figure in zip(_TITLES[_TEXTS:], figures, strict=True) if figure]
    return f"{cell.subject}, {cell.workload}: {', '.join((verdict, *named))}"


def _row(cell: Cell, record: Mapping[str, Any] | None) -> tuple[str, ...]:
    subject = str(cell.subject)
    named = fitted(printable(subject), _SHOWN), printable(str(cell.workload))
    if record is None:
        return (*named, "to do", "", "", "", "")
    (entry,) = record["tests"]
    verdict = "measured" if entry["verdict"] == Verdict.NOT_JUDGED else str(entry["verdict"])
    evidence = Evidence()
    take_record(record, evidence)
    return (*named, verdict, *_figures(evidence.scenes, cell, entry))


def _figures(scenes: Sequence[Scene], cell: Cell, entry: Mapping[str, Any]) -> tuple[str, str, str, str]:
    launches = [
        (scene.is_closed, launch)
        for scene in scenes
        for configuration in scene.configurations
        for launch in configuration.launches(cell.slo)
    ]
    points = [point for _, launch in launches for point in launch.points if not point.is_saturated]
    lightest = min(points, key=lambda point: point.load, default=None)
    at_lightest = lightest.values if lightest is not None else {}
    most = [
        run["values"]["output_tokens_per_s"]
        for point in entry["points"]
        for run in point["runs"]
        if "output_tokens_per_s" in run["values"]
    ]
    shown = [
        f"{at_lightest[name]:.3g}" if name in at_lightest else "" for name in ("ttft_p50_ms", "tpot_p50_ms")
    ]
    carried = ""
    for is_closed in (False, True):
        of_kind = tuple(launch for closed, launch in launches if closed is is_closed)
        found = (
            capacity(Candidate(cell.id, of_kind), cell.slo, is_closed=is_closed) if cell.slo.limits else None
        )
        carried = carried or _carried(found)
    return carried, shown[0], shown[1], f"{max(most):.0f}" if most else ""


def _carried(found: Carried | None) -> str:
    if found is None:
        return ""
    if found.kind == "below":
        return "none"
    return f"{'≥ ' if found.kind == 'above' else ''}{found.rate:.3g}/s"
