"""What a test drives in a process of its own, because it lowers that one's limits or stops it.

``python -m tests.load.child NAME ARGUMENT`` from the project's root; tells in JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import InvalidRun
from pytest_llmperf.load.decode import decode
from pytest_llmperf.load.health import examine
from pytest_llmperf.load.target import Target
from tests.load.asking import ask, asking, driver
from tests.servers import DONE, event, head

ROOT = Path(__file__).parents[2]
LOW = 256
SPARE = 20
STREAMS, TOKENS = 4, 50


@contextlib.contextmanager
def child(name: str, argument: object) -> Iterator[subprocess.Popen[str]]:
    """The process; it is gone in the end, whether it was stopped or not."""
    command = [sys.executable, "-W", "error", "-m", "tests.load.child", name, str(argument)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told_by(process: subprocess.Popen[str]) -> Any:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(told)


def crowd(count: str) -> object:
    """So many at once although fewer files may be open: nobody is answered before all are connected."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (LOW, hard))
    answer = head() + event({"choices": [{"text": "a"}], "usage": {"completion_tokens": 1}}) + DONE

    def serve() -> None:
        accepted = [listener.accept()[0] for _ in range(int(count))]
        for connection in accepted:
            while (piece := connection.recv(65536)) and not piece.endswith(b"}"):
                pass
            connection.sendall(answer)
            connection.close()

    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        target = Target.of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        drive = driver(target, 100).closed_loop(
            asking(target, 1), int(count), duration_s=None, count=int(count)
        )
        server.join(10)
    return {
        "errors": [decode(done).error for done in drive.exchanges],
        "limits": resource.getrlimit(resource.RLIMIT_NOFILE),
    }


def exhaust(url: str) -> object:
    """More requests than this process may ever have open files, and what is said about it."""
    with contextlib.ExitStack() as stack:
        highest = max(stack.enter_context(socket.socket()).fileno() for _ in range(3))
        limit = highest + SPARE
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        target = Target.of(url)
        try:
            driver(target).open_loop([ask(target)] * 60, [0.0] * 60)
        except InvalidRun as error:
            return {"limit": limit, "error": str(error)}
    return {"limit": limit, "error": None}


def stream(url: str) -> object:
    """Long streams, and all that was seen of them."""
    target = Target.of(url)
    requests = [ask(target, number, TOKENS) for number in range(STREAMS)]
    drive = driver(target, 100).open_loop(requests, [0.0] * STREAMS)
    traces = [decode(done) for done in drive.exchanges]
    return {
        "traces": [
            {
                "id": trace.request.id,
                "token_ns": trace.token_ns,
                "merged_tokens": len(trace.merged_ns),
                "error": trace.error,
            }
            for trace in traces
        ],
        "health": dataclasses.asdict(examine(drive.account, traces, is_open_loop=True)),
    }


if __name__ == "__main__":
    print(json.dumps({"crowd": crowd, "exhaust": exhaust, "stream": stream}[sys.argv[1]](sys.argv[2])))
