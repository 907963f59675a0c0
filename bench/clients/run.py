"""How far load-generating clients distort what they measure.

    python -m bench.clients.run                  # all clients, all levels
    python -m bench.clients.run --quick          # 5 s, this project's client and a plain one

Each client in turn drives each level against a fresh truth server. The server has one core to itself, the
client another. What the client reports is compared with what the server's log and the kernel's receive
stamps say. Run it from the root of the repository; the peers are installed on the first run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from bench.clients.adapters import Client, Run, all_clients
from bench.clients.environments import python_of, write_tokenizer
from bench.clients.errors import compare, read_log
from bench.clients.levels import LEVELS, Level
from bench.clients.process import run_pinned
from bench.clients.tables import Result, report

ROOT = Path(__file__).resolve().parents[2]
_START_LIMIT_S = 120.0


@dataclass(frozen=True)
class Sitting:
    """What all runs share."""

    peers: Path
    directory: Path
    server_core: int
    client_core: int

    @property
    def tokenizer(self) -> Path:
        return self.directory / "tokenizer"

    @property
    def authority(self) -> Path:
        return self.directory / "authority.pem"

    def prepare(self) -> None:
        write_tokenizer(self.tokenizer)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_pem.write_to_path(str(self.directory / "key.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(self.directory / "certificate.pem"))

    @contextlib.contextmanager
    def truth(self, level: Level, log: Path) -> Iterator[str]:
        """A fresh server; its log is complete afterwards."""
        command = [
            *(sys.executable, "-m", "bench.clients.truth_server", "--pin", str(self.server_core)),
            *("--ttft-ms", str(level.ttft_ms), "--itl-ms", str(level.itl_ms), "--log", str(log)),
        ]
        if level.tls:
            command += ["--cert", str(self.directory / "certificate.pem")]
            command += ["--key", str(self.directory / "key.pem")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as server:
            assert server.stdout is not None
            try:
                port = int(server.stdout.readline())
                yield f"{'https' if level.tls else 'http'}://127.0.0.1:{port}"
            finally:
                server.send_signal(signal.SIGTERM)

    def measure(self, client: Client, level: Level) -> Result:
        """Never raises for what goes wrong with a client: the result says so."""
        directory = self.directory / f"{client.name} {level.name}".replace("/", " per ").replace(" ", "-")
        directory.mkdir()
        try:
            python = python_of(client.environment, self.peers) if client.environment else Path(sys.executable)
            return self._measured(client, level, directory, python)
        except (OSError, subprocess.CalledProcessError, LookupError, ValueError, TypeError) as error:
            return Result(client.name, level, problem=f"{type(error).__name__}: {error}")

    def _measured(self, client: Client, level: Level, directory: Path, python: Path) -> Result:
        log, output = directory / "truth.jsonl", directory / "output.log"
        environment = {
            "PYTHONPATH": str(ROOT),
            "SSL_CERT_FILE": str(self.authority),
        }
        with self.truth(level, log) as url:
            offset_ns = time.time_ns() - time.monotonic_ns()
            run = Run(url, level, directory, self.tokenizer, python, offset_ns)
            limit_s = 20 * level.duration_s + _START_LIMIT_S
            spent = run_pinned(client.command(run), self.client_core, environment, output, limit_s)
        served, late_ms = read_log(log, level)
        tokens = sum(len(one.token_ns) for one in served)
        problem = f"exit status {spent.status}, see {output}" if spent.status else ""
        result = Result(client.name, level, spent, tokens=tokens, server_late_p99_ms=late_ms, problem=problem)
        if problem and not client.leaves_account(run):
            return result
        account = client.account(run)
        errors = compare(account, served, level.rate, level.requests)
        return dataclasses.replace(
            result, errors=errors, matched_by=account.matched_by, ttft_from=account.ttft_from
        )


def main() -> None:
    asked = _parser().parse_args()
    clients = all_clients(asked.llmperf)
    chosen = [
        one for one in clients if _is_wanted(one.name, asked.clients) and (one.quick or not asked.quick)
    ]
    levels = [
        level.lasting(asked.duration or (5.0 if asked.quick else level.duration_s))
        for level in LEVELS
        if _is_wanted(level.name, asked.levels)
    ]
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    # What this process does in between must not take time from the client.
    os.sched_setaffinity(0, {asked.server_core})
    directory = asked.keep or Path(tempfile.mkdtemp(prefix="clients-"))
    directory.mkdir(parents=True, exist_ok=True)
    sitting = Sitting(asked.peers_dir.resolve(), directory, asked.server_core, asked.client_core)
    sitting.prepare()
    results = []
    for level in levels:
        for client in (one for one in chosen if one.drives(level)):
            print(f"{level.name}: {client.name} ...", file=sys.stderr, flush=True)
            results.append(sitting.measure(client, level))
    cores = (asked.server_core, asked.client_core)
    print(report(results, cores, asked.markdown))
    if asked.json:
        asked.json.write_text(json.dumps([dataclasses.asdict(one) for one in results], indent=1) + "\n")


def _is_wanted(name: str, wanted: Sequence[str] | None) -> bool:
    return not wanted or any(part in name for part in wanted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 s, this project's client and aiohttp")
    parser.add_argument("--clients", nargs="+", metavar="PART", help="those whose names contain one of these")
    parser.add_argument("--levels", nargs="+", metavar="PART", help="those whose names contain one of these")
    parser.add_argument("--duration", type=float, metavar="S", help="of each level")
    parser.add_argument("--peers-dir", type=Path, default=Path(".venv-peers"), help="their environments")
    parser.add_argument(
        "--llmperf", default=f"{Path(sys.executable).parent / 'llmperf'} load", metavar="COMMAND"
    )
    parser.add_argument("--server-core", type=int, default=0, metavar="CORE")
    parser.add_argument("--client-core", type=int, default=1, metavar="CORE")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and accounts here")
    return parser


if __name__ == "__main__":
    main()
