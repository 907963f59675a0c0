"""What it costs a run that the engine is asked meanwhile how busy it is (docs/measuring.md).

Runs of a load point in turn, with and without, against one server; prints the ratio of the figures of
neighbouring runs with its 95 % interval (Student's t of their logarithms).

    python -m bench.gauge_cost [--pairs 30] [--duration 5] truth|llamacpp|URL [RATE [FLAGS…]]
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.openai import answers_200
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.judge.student import t_quantile
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.gauge import Gauge
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.load.target import Target
from pytest_llmperf.measure.metrics import observations
from pytest_llmperf.measure.timeline import Timeline
from pytest_llmperf.places.local import LocalProcess
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.places.url import ExistingServer

WORKLOAD = Workload(input_tokens=64, output_tokens=64)


class Truth(OpenAiServer):
    """The server that knows when it wrote each token has no counters; to ask it anything costs as much."""

    def counters(self, client: httpx.Client) -> Mapping[str, float]:
        return {"running": float(answers_200(client, "/health"))}


@contextlib.contextmanager
def truth_server() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.clients.truth_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


def figures(client: Client, rate: float, duration_s: float, seed: int) -> dict[str, float]:
    """One run; both of a pair have the same arrivals."""
    run = client.run(WORKLOAD, LoadPoint(rate=rate, duration_s=duration_s), seed)
    observed = observations(Timeline.of(run.traces, run.started_ns, duration_s))
    errors = sum(trace.error is not None for trace in run.traces)
    if errors:
        raise SystemExit(f"{errors} requests failed")
    return {
        "TTFT p50 ms": float(np.percentile(observed["ttft"], 50)),
        "TTFT p99 ms": float(np.percentile(observed["ttft"], 99)),
        "ITL p50 ms": float(np.percentile(observed["itl"], 50)),
        "ITL p99 ms": float(np.percentile(observed["itl"], 99)),
        "TPOT p50 ms": float(np.percentile(observed["tpot"], 50)),
        "dispatch lag p50 ms": run.health.dispatch_lag_p50_ms,
        "dispatch lag p99 ms": run.health.dispatch_lag_p99_ms,
        "read lag p99 ms": run.health.read_lag_p99_ms,
        "answers": len(run.busy),
    }


def told(name: str, pairs: Sequence[tuple[float, float]]) -> str:
    """``pairs`` are with and without."""
    with_it, without = (statistics.median(side) for side in zip(*pairs, strict=True))
    line = f"{name:20} {without:9.3f} → {with_it:9.3f}"
    if any(value <= 0 for pair in pairs for value in pair):
        return line
    logs = [math.log(one / other) for one, other in pairs]
    half = t_quantile(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, mean, high = (math.exp(statistics.fmean(logs) + by) for by in (-half, 0.0, half))
    return f"{line}   ratio {mean:.3f} ({low:.3f} to {high:.3f})"


def measured(launch: Launch, key: str | None, rate: float, duration_s: float, pairs: int) -> None:
    gauge = Gauge(launch.engine, launch.server.url, key)
    gauge.start()
    asked, plain = (
        Client(
            Target.of(launch.server.url, key),
            launch.control,
            launch.engine,
            launch.description,
            timeout_s=60.0,
            gauge=one,
        )
        for one in (gauge, None)
    )
    found: list[tuple[dict[str, float], dict[str, float]]] = []
    try:
        for client in (asked, plain):
            client.first_answer()
            figures(client, rate, 2.0, 0)
        for number in range(pairs):
            order = [asked, plain] if number % 2 else [plain, asked]
            by = {client: figures(client, rate, duration_s, 1 + number) for client in order}
            found.append((by[asked], by[plain]))
    finally:
        gauge.close()
    print(f"{pairs} pairs of {duration_s:g} s at {rate:g}/s, {WORKLOAD}; medians without → with")
    for name in found[0][0]:
        print(told(name, [(one[name], other[name]) for one, other in found]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--duration", type=float, default=5.0)
    parser.add_argument("server")
    parser.add_argument("rate", type=float, nargs="?", default=8.0)
    parser.add_argument("flags", nargs="*")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        engine: OpenAiServer | LlamaCpp = OpenAiServer()
        place: Place = ExistingServer()
        subject: Subject
        if asked.server == "truth":
            engine, subject = Truth(), parse_subject(stack.enter_context(truth_server()))
        elif asked.server == "llamacpp":
            engine, place = LlamaCpp(), LocalProcess()
            subject = parse_subject(" ".join(("llamacpp", *asked.flags)))
        else:
            subject = parse_subject(asked.server)
        launch = Launch(
            subject,
            engine,
            None,
            place=place,
            log=directory / "log",
            startup_timeout_s=60,
            request_timeout_s=60,
            waiting=lambda elapsed_s, line: None,
            watch=lambda sent, ended: None,
            is_gauged=False,
        )
        stack.callback(launch.stop)
        measured(launch, engine.api_key(subject), asked.rate, asked.duration, asked.pairs)


if __name__ == "__main__":
    from bench.gauge_cost import main as importable  # or no other process could have its classes

    importable()
