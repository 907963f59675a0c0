"""An engine that fails in one way, by name: ``python faulty_engine.py PORT FAULT [ARGUMENT …]``.

A small OpenAI-compatible server of the standard library; ``FAULTS`` has what it can do wrong.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

FOREVER_S = 300.0
STARTED = time.monotonic()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    asked = 0
    is_healthy: Callable[[], bool] = staticmethod(lambda: True)
    before_answer: Callable[[Handler], bool] = staticmethod(lambda handler: True)
    """Whether to answer; called with every request for a completion, counted in :attr:`asked`."""

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server
    body: dict[str, Any]

    def do_GET(self) -> None:
        if self.server.is_healthy():
            self.reply(200, {"data": [{"id": "faulty"}]})
        else:
            self.reply(503, {})

    def do_POST(self) -> None:
        body = self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked += 1
        if not self.server.before_answer(self):
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for _ in range(body["max_tokens"]):
            self.event({"choices": [{"index": 0, "text": " a"}]})
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": body["max_tokens"]}
        self.event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        say(f'INFO:     127.0.0.1:1 - "POST {self.path} HTTP/1.1" 200 OK')

    def event(self, content: dict[str, Any]) -> None:
        self.wfile.write(f"data: {json.dumps(content)}\n\n".encode())

    def reply(self, status: int, content: dict[str, Any]) -> None:
        answer = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: object) -> None:
        """Nothing: the log is what the tests are about."""


def say(text: str) -> None:
    print(text, flush=True)


def never(*_: object) -> bool:
    time.sleep(FOREVER_S)
    return False


def serve(server: Server) -> None:
    say("listening")
    server.serve_forever()


def sound(port: int) -> None:
    serve(Server(port))


def ends(port: int, path: str, code: str) -> None:
    """Log what is in a file, and end with a code, or by the signal of that number if it is negative."""
    sys.stdout.write(Path(path).read_text())
    sys.stdout.flush()
    if int(code) < 0:
        os.kill(os.getpid(), -int(code))
    os._exit(int(code))


def silent(port: int) -> None:
    say("INFO: loading weights")
    time.sleep(FOREVER_S)


def slow(port: int) -> None:
    server = Server(port)
    server.is_healthy = lambda: False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for percent in range(100_000):
        print(f"\rINFO: loading weights: {percent / 1000:.3f}%", end="\n", flush=True)
        time.sleep(0.05)


def late(port: int, ms: str) -> None:
    """Answer every request so many ms later."""

    def wait(handler: Handler) -> bool:
        time.sleep(float(ms) / 1e3)
        return True

    server = Server(port)
    server.before_answer = wait
    serve(server)


def in_proportion(port: int, ms_per_token: str, dies_at: str) -> None:
    """Answer the later the longer the prompt is, and end at one of that length."""

    def wait(handler: Handler) -> bool:
        tokens = len(handler.body["prompt"])
        if tokens >= int(dies_at):
            os._exit(3)
        time.sleep(tokens * float(ms_per_token) / 1e3)
        return True

    server = Server(port)
    server.before_answer = wait
    serve(server)


def no_first_token(port: int) -> None:
    server = Server(port)
    server.before_answer = never
    serve(server)


def ready_too_early(port: int, seconds: str) -> None:
    def is_working(handler: Handler) -> bool:
        if time.monotonic() - STARTED < float(seconds):
            handler.reply(503, {"error": "still loading"})
            return False
        return True

    server = Server(port)
    server.before_answer = is_working
    serve(server)


def dies_under_load(port: int, after: str, how: str) -> None:
    def die(handler: Handler) -> bool:
        if handler.server.asked > int(after):
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            say("ERROR 11-22 01:00:00 [core.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB")
            os._exit(1)
        return True

    server = Server(port)
    server.before_answer = die
    serve(server)


def hangs_under_load(port: int, after: str) -> None:
    def hang(handler: Handler) -> bool:
        if handler.server.asked > int(after):
            handler.server.is_healthy = never
            return never()
        return True

    server = Server(port)
    server.before_answer = hang
    serve(server)


def has_children(port: int) -> None:
    """A zombie, a child that ignores SIGTERM, and one that has left for a session of its own."""
    if os.fork() == 0:
        os._exit(0)
    for _ in range(2):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.setsid()
            if os.fork() == 0:
                os.setsid()
            time.sleep(FOREVER_S)
            os._exit(0)
    sound(port)


def ignores_sigterm(port: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    has_children(port)


def goes_to_the_background(port: int) -> None:
    say("INFO: started in the background")
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    sound(port)


def floods(port: int) -> None:
    block = b"x" * 99 + b"\n"

    def pour() -> None:
        while True:
            os.write(1, block * 10_000)

    say("the first line")
    threading.Thread(target=pour, daemon=True).start()
    sound(port)


def wanders(port: int) -> None:
    """Delete the log, and go somewhere else."""
    os.unlink(os.readlink("/proc/self/fd/1"))
    os.chdir("/")
    sound(port)


def leaves_files(port: int) -> None:
    """What engines leave: sockets, files of locks, folders full of files."""
    scratch = Path(tempfile.gettempdir())
    socket.socket(socket.AF_UNIX).bind(str(scratch / "rpc"))
    (scratch / "deep" / "er").mkdir(parents=True)
    (scratch / "deep" / "er" / "file").write_text("x")
    (scratch / "deep").chmod(0o500)
    sound(port)


def compiles_once(port: int, cache: str) -> None:
    """Start slowly where there is no such file yet, and say what vLLM says of either start."""
    by = "(EngineCore pid=7) INFO 06-04 12:28:16"
    if not Path(cache).exists():
        time.sleep(1.0)
        say(f"{by} [backends.py:390] Compiling a graph for compile range (1, 8192) takes 0.95 s")
        say(f"{by} [monitor.py:53] torch.compile took 1.00 s in total")
        Path(cache).touch()
    else:
        say(
            f"{by} [backends.py:292] Directly load the compiled graph(s) for compile range (1, 8192) from the"
        )
        say(f"{by} [monitor.py:53] torch.compile took 0.02 s in total")
    sound(port)


def takes_a_port(port: int) -> None:
    """Find its port taken, always."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        Server(other.getsockname()[1])


FAULTS = {
    fault.__name__.replace("_", "-"): fault
    for fault in (
        *(
            sound,
            ends,
            silent,
            slow,
            late,
            in_proportion,
            no_first_token,
            ready_too_early,
            dies_under_load,
            hangs_under_load,
        ),
        *(has_children, ignores_sigterm, goes_to_the_background, floods, wanders, leaves_files, takes_a_port),
        compiles_once,
    )
}

if __name__ == "__main__":
    FAULTS[sys.argv[2]](int(sys.argv[1]), *sys.argv[3:])
