"""One load point outside of pytest: the table, what failed, and how the load generator did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.report.explain import error_lines
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.table import table
from pytest_llmperf.report.width import wrapped

_LEGEND = "latencies in ms; ~ fewer requests than the percentile needs"
_INDENT = "  "
_ADVICE = {
    "no usage": "the server has to count its tokens itself: let it send usage figures, as stream_options."
    "include_usage asks; the times of all events with text are in --timelines all the same",
    "token count": "only answers of the length asked for are compared: let the server obey max_tokens and "
    "ignore_eos, or ask for the --output-tokens that it returns",
    "timeout": "--timeout gives a request more time",
}


def summary(headline: str, point: Mapping[str, Any], width: int | None = None) -> list[str]:
    """The lines for a person, no wider than ``width``, from a load point of one run in its recorded form."""
    rows = table({"points": [point]}, None if width is None else width - len(_INDENT))
    above, *below = (wrapped(printable(line), width) for line in (headline, *_beside(point)))
    return [*above, *(f"{_INDENT}{row}" for row in rows), *(line for lines in below for line in lines)]


def _beside(point: Mapping[str, Any]) -> list[str]:
    """What stands below the table."""
    (run,) = point["runs"]
    lines = [_LEGEND]
    for kind, line in zip(run["errors"], error_lines(point), strict=True):
        lines.append(f"failed: {line}")
        if kind in _ADVICE:
            lines.append(f"        {_ADVICE[kind]}")
    lines.append(generator(run["health"]))
    if run["health"]["problems"]:
        lines.append("INVALID: this run says nothing about the server")
        lines += [f"  {problem}" for problem in run["health"]["problems"]]
    return lines


def generator(health: Mapping[str, Any]) -> str:
    """How the load generator did, on one line."""
    read = f", data was read {health['read_lag_p99_ms']:.1f} ms after it came"
    by_kernel = health["clock"] == "kernel"
    several = f" in the busiest of {health['processes']} processes" if health["processes"] > 1 else ""
    return (
        f"load generator: requests left {health['dispatch_lag_p99_ms']:.1f} ms late"
        f"{read if by_kernel else ''} (p99); {'kernel' if by_kernel else 'own'} time stamps; "
        f"{health['cpu_share'] * 100:.0f} % of a core{several}"
    )
