"""The figures of a sitting as tables."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clients.errors import Errors
from bench.clients.levels import Level
from bench.clients.process import Spent

NONE = "–"


@dataclass(frozen=True)
class Result:
    """One client at one level; ``problem`` says what went wrong, or why there are no figures."""

    client: str
    level: Level
    spent: Spent | None = None
    errors: Errors | None = None
    matched_by: str = ""
    ttft_from: str = ""
    tokens: int = 0
    server_late_p99_ms: float = 0.0
    problem: str = ""

    @property
    def cpu_ms_per_1000_tokens(self) -> float | None:
        return self.spent.cpu_s * 1e6 / self.tokens if self.spent and self.tokens else None


ACCURACY = (
    "client",
    "TTFT from",
    "matched by",
    "TTFT error p50",
    "TTFT error p99",
    "token error p99",
    "ITL p99: client / truth",
    "left late p99",
    "arrived in time",
    "rate / asked",
    "answers told",
    "server late p99",
)


def accuracy_row(result: Result) -> list[str]:
    if result.errors is None:
        return [result.client, "not run", *[NONE] * (len(ACCURACY) - 2)]
    errors = result.errors
    ttft = errors.ttft_ms or (None, None)
    gaps = NONE
    if errors.itl_p99_ms:
        gaps = " / ".join(f"{value:.2f}" for value in errors.itl_p99_ms)
        gaps += " (means)" if errors.itl_is_mean else ""
    return [
        result.client,
        result.ttft_from,
        result.matched_by,
        _number(ttft[0]),
        _number(ttft[1]),
        _number(errors.token_p99_ms) + (f" ({errors.miscounted} miscounted)" if errors.miscounted else ""),
        gaps,
        _number(errors.late_p99_ms),
        f"{errors.arrived:.1%}",
        f"{errors.rate:.1%}",
        f"{errors.matched / result.level.requests:.1%}",
        _number(result.server_late_p99_ms),
    ]


def cpu_rows(by_client: Mapping[str, Mapping[Level, Result]], levels: Sequence[Level]) -> list[list[str]]:
    """Of a whole run per 1,000 tokens, start included, and of each further 1,000 tokens."""
    rows = []
    for client, results in by_client.items():
        cells = [
            _number(results[level].cpu_ms_per_1000_tokens if level in results else None) for level in levels
        ]
        rows.append([client, *cells, _number(further_cpu_ms(list(results.values())))])
    return rows


def further_cpu_ms(results: Sequence[Result]) -> float | None:
    """CPU time per 1,000 tokens from the run with the fewest tokens to the one with the most."""
    spent = sorted((one.tokens, one.spent.cpu_s) for one in results if one.spent and not one.level.tls)
    if len(spent) < 2 or spent[0][0] == spent[-1][0]:
        return None
    return (spent[-1][1] - spent[0][1]) / (spent[-1][0] - spent[0][0]) * 1e6


def memory_rows(by_client: Mapping[str, Mapping[Level, Result]], levels: Sequence[Level]) -> list[list[str]]:
    return [
        [client, *(f"{spent.peak_bytes / 1e6:.0f}" if spent else NONE for spent in spents)]
        for client, spents in (
            (client, [results[level].spent if level in results else None for level in levels])
            for client, results in by_client.items()
        )
    ]


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def describe(level: Level) -> str:
    return (
        f"{level.rate:g} requests/s, {level.tokens_per_s:,.0f} tokens/s, {level.streams:,.0f} streams, "
        f"TTFT {level.ttft_ms:g} ms, ITL {level.itl_ms:g} ms, {level.duration_s:g} s"
    ) + (", TLS." if level.tls else ".")


def machine(cores: Sequence[int]) -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    total = len(Path("/proc/cpuinfo").read_text().split("processor\t")) - 1
    return (
        f"{time.strftime('%Y-%m-%d')}, {model}, {total} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}; server on core {cores[0]}, client on core {cores[1]}"
    )


def as_text(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = (header, ["---"] * len(header), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def report(results: Sequence[Result], cores: Sequence[int], markdown: bool) -> str:
    """All tables: the errors level by level, then what the runs cost."""
    table, mark = (as_markdown, "### ") if markdown else (as_text, "")
    parts = [f"{machine(cores)}. Times in ms."]
    levels = list(dict.fromkeys(result.level for result in results))
    by_client: dict[str, dict[Level, Result]] = {}
    for result in results:
        by_client.setdefault(result.client, {})[result.level] = result
    for level in levels:
        here = [result for result in results if result.level == level]
        parts += [f"{mark}{level.name}", describe(level)]
        parts.append(table(ACCURACY, [accuracy_row(result) for result in here]))
        parts += [f"{result.client}: {result.problem}" for result in here if result.problem]
    names = [level.name for level in levels]
    parts += [f"{mark}CPU time in ms per 1,000 tokens, start included"]
    parts.append(table(("client", *names, "each further 1,000"), cpu_rows(by_client, levels)))
    parts += [f"{mark}Peak memory in MB"]
    parts.append(table(("client", *names), memory_rows(by_client, levels)))
    return "\n\n".join(parts)
