"""What more worker processes bring: this project's client with 1, 2, 4 … of them, at 200 requests/s each.

    python -m bench.clients.scaling --json scaling.json

Each step has as many truth servers, on one port, as worker processes; every one has a core to itself. It
needs twice as many cores as the largest step has processes. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.clients.adapters import Llmperf, Run
from bench.clients.errors import Errors, Served, compare, read_log
from bench.clients.levels import Level

ROOT = Path(__file__).resolve().parents[2]
RATE_EACH = 200.0
_COLUMNS = (
    "processes",
    "requests/s",
    "tokens/s",
    "TTFT error p50 / p99 (ms)",
    "token time error p99 (ms)",
    "ITL p99 client / truth (ms)",
    "arrived",
    "CPU s per 1,000 tokens",
    "busiest process",
)


@contextlib.contextmanager
def truth_servers(count: int, level: Level, directory: Path) -> Iterator[int]:
    """``count`` servers on one port, each on a core of its own from 0 on; yields the port."""
    servers: list[subprocess.Popen[str]] = []
    port = 0
    try:
        for core in range(count):
            command = [
                *(sys.executable, "-m", "bench.clients.truth_server", "--pin", str(core)),
                *("--ttft-ms", str(level.ttft_ms), "--itl-ms", str(level.itl_ms), "--port", str(port)),
                *("--log", str(directory / f"truth-{core}.jsonl")),
            ]
            server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            servers.append(server)
            assert server.stdout is not None
            port = int(server.stdout.readline())
        yield port
    finally:
        for server in servers:
            server.send_signal(signal.SIGTERM)
        for server in servers:
            server.communicate()


def measure(processes: int, duration_s: float, command: str) -> dict[str, Any]:
    """One step, as a row by the names of the columns."""
    level = Level("scaling", RATE_EACH * processes, duration_s)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with truth_servers(processes, level, directory) as port:
            client = Llmperf(f"{command} --workers {processes} --json {directory / 'run.json'}")
            run = Run(f"http://127.0.0.1:{port}", level, directory, directory, Path(sys.executable), 0)
            before = _cpu_of_children()
            subprocess.run(
                client.command(run),
                check=False,  # a run that judged itself invalid has its figures as well
                stdout=sys.stderr,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                preexec_fn=lambda: os.sched_setaffinity(0, range(processes, 2 * processes)),
            )
            cpu_s = _cpu_of_children() - before
        logs = [read_log(directory / f"truth-{core}.jsonl", level)[0] for core in range(processes)]
        served = [one for log in logs for one in log]
        errors = compare(client.account(run), served, level.rate, level.requests)
        health = json.loads((directory / "run.json").read_text())["health"]
    return _row(processes, level, errors, served, cpu_s, health)


def _row(
    processes: int, level: Level, errors: Errors, served: Sequence[Served], cpu_s: float, health: Any
) -> dict[str, Any]:
    tokens = sum(len(one.token_ns) for one in served)
    assert errors.ttft_ms is not None
    assert errors.itl_p99_ms is not None
    values = (
        processes,
        f"{level.rate:g}",
        f"{level.tokens_per_s:,.0f}",
        f"{errors.ttft_ms[0]:.3f} / {errors.ttft_ms[1]:.3f}",
        f"{errors.token_p99_ms:.4f}",
        f"{errors.itl_p99_ms[0]:.2f} / {errors.itl_p99_ms[1]:.2f}",
        f"{errors.arrived:.2%}",
        f"{1000 * cpu_s / tokens:.4f}",
        f"{health['cpu_share']:.0%} of a core",
    )
    return dict(zip(_COLUMNS, values, strict=True))


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--duration", type=float, default=15.0, metavar="S")
    parser.add_argument("--most", type=int, metavar="N", help="default: half the cores")
    parser.add_argument("--json", type=Path, metavar="FILE")
    default = shlex.join([sys.executable, "-m", "pytest_llmperf.cli", "load"])
    parser.add_argument("--llmperf", default=default, metavar="COMMAND")
    asked = parser.parse_args()
    most = asked.most or len(os.sched_getaffinity(0)) // 2
    steps = [2**power for power in range(most.bit_length()) if 2**power <= most]
    rows = [measure(step, asked.duration, asked.llmperf) for step in steps]
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(f"| {' | '.join(_COLUMNS)} |\n|{' --- |' * len(_COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row.values()))} |")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
