"""Tables of what was measured, for documents."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_llmperf.report.light import light_lines
from pytest_llmperf.report.sweeps import sweep_lines
from pytest_llmperf.report.table import is_search

COLUMNS = {
    "ttft_p50_ms": "TTFT p50 ms",
    "ttft_p95_ms": "TTFT p95 ms",
    "tpot_p50_ms": "TPOT p50 ms",
    "tpot_p95_ms": "TPOT p95 ms",
    "e2e_p50_ms": "E2E p50 ms",
    "itl_p99_ms": "ITL p99 ms",
    "output_tokens_per_s": "tokens/s",
    "requests_per_s": "requests/s",
    "goodput": "goodput",
    "cost_usd_per_mtok": "$/M tokens",
}


def record_tables(record: Mapping[str, Any]) -> str:
    """Each test of a session's record: its subject, its environment, a row for each run, its changes."""
    parts = []
    for test in record["tests"]:
        environment = "; ".join(f"{name}: {value}" for name, value in test["environment"].items())
        rows = [
            [point["load"], str(run["launch"]), *(_figure(run["values"].get(name)) for name in COLUMNS)]
            for point in test["points"]
            if not is_search(point)
            for run in point["runs"]
        ]
        changes = [
            f"* {change['label']} at {point['load']}: {change['verdict']}, {_interval(change)}"
            for point in test["points"]
            for change in point["changes"]
        ]
        starts = [
            ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in launch["startup_s"].items())
            for launch in record["launches"]
            if launch["startup_s"]
        ]
        parts += [
            f"### {test['subject']['text']}: {test['verdict']}\n",
            f"{record['started']}; version {test['subject']['fields'].get('version')}; {environment}\n",
            *(f"Start: {start}\n" for start in starts),
            _table(["load", "launch", *COLUMNS.values()], rows),
            *(f"* {line}" for line in (*sweep_lines(test), *light_lines(test))),
            "\n".join(changes),
            "",
        ]
    return "\n".join(parts) + "\n"


def beside_table(rows: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """Medians over the turns of each client, and their ratio."""
    clients = list(rows[0])
    names = list(rows[0][clients[0]])
    lines = []
    for name in names:
        medians = [statistics.median(row[client][name] for row in rows) for client in clients]
        lines.append([name, *map(_figure, medians), f"{medians[1] / medians[0]:.3f}"])
    return _table(["", *clients, "ratio"], lines) + "\n"


def _interval(change: Mapping[str, Any]) -> str:
    estimate, low, high = (f"{100 * change[name]:+.1f} %" for name in ("estimate", "low", "high"))
    before, after = _figure(change["base"]), _figure(change["candidate"])
    return f"{before} → {after}, {estimate} (95 % interval {low} to {high})"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
