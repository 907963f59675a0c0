"""A load point as one types it to have it measured alone."""

from __future__ import annotations

import shlex

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload

_ANYWHERE = "http://127.0.0.1:8000"


def load_command(workload: Workload, point: LoadPoint, url: str | None = None) -> str | None:
    """``llmperf load`` with what it takes; None for a workload or a load that it does not know.

    ``url`` is where a server answers that stays; without it the command names the port that engines have when
    they are started by hand.
    """
    lengths = (workload.input_tokens, workload.output_tokens)
    if not all(isinstance(length, int) for length in lengths) or workload != Workload(
        input_tokens=workload.input_tokens, output_tokens=workload.output_tokens, chat=workload.chat
    ):
        return None
    words = ["llmperf", "load", url or _ANYWHERE]
    words += ["--input-tokens", str(lengths[0]), "--output-tokens", str(lengths[1])]
    words += ["--chat"] if workload.chat else []
    if isinstance(point.rate, int | float):
        words += ["--rate", f"{point.rate:g}", "--arrivals", point.arrivals]
    elif point.concurrency is not None and point.batch is None:
        words += ["--concurrency", str(point.concurrency)]
    else:
        return None
    words += ["--duration", f"{point.duration_s:g}"] if point.duration_s is not None else []
    words += ["--requests", str(point.requests)] if point.requests is not None else []
    return shlex.join(words)
