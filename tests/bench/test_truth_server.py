"""The ground-truth server of the client benchmark: what it says on the wire, and what its log says."""

from __future__ import annotations

import http.client
import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

if sys.platform != "linux":
    pytest.skip("the truth server needs epoll", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
TTFT_MS, ITL_MS = 2.0, 0.5


@dataclass
class Running:
    """A truth server and its log."""

    process: subprocess.Popen[str]
    log: Path
    port: int
    connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=tls)
            if tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        )
        self.connections.append(connection)
        return connection

    def stop(self) -> list[dict[str, Any]]:
        """What it logged."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0
        return self.logged()

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def begin(*options: str, itl_ms: float = ITL_MS) -> Running:
        log = tmp_path / "truth.jsonl"
        command = [sys.executable, "-m", "bench.clients.truth_server", "--log", str(log), *options]
        command += ["--ttft-ms", str(TTFT_MS), "--itl-ms", str(itl_ms)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert process.stdout is not None
        started.append(Running(process, log, int(process.stdout.readline())))
        return started[-1]

    yield begin
    for running in started:
        for connection in running.connections:
            connection.close()
        with running.process:
            running.process.kill()


def ask(
    connection: http.client.HTTPConnection, path: str = "/v1/completions", **body: object
) -> http.client.HTTPResponse:
    content = {"model": "m", "prompt": [1, 2, 3], "max_tokens": 5, "stream": True, **body}
    connection.request("POST", path, json.dumps(content), {"X-Request-Id": "a"})
    return connection.getresponse()


def events(response: http.client.HTTPResponse) -> list[dict[str, Any]]:
    """The events up to the mark of the end, which has to be there."""
    *lines, end = [line.decode() for line in response.read().split(b"\n\n") if line]
    assert end == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [choice["text"] for event in found for choice in event["choices"]]


def test_a_stream_has_its_tokens_its_usage_and_its_end(start: Start) -> None:
    found = events(ask(start().connect(), stream_options={"include_usage": True}))
    assert texts(found) == [" t0", " t1", " t2", " t3", " t4"]
    assert found[4]["choices"][0]["finish_reason"] == "length"
    assert found[5]["choices"] == []
    assert found[5]["usage"] == {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def test_usage_is_only_told_if_asked_for(start: Start) -> None:
    assert len(events(ask(start().connect()))) == 5


def test_events_have_the_size_that_engines_send(start: Start) -> None:
    line = ask(start().connect()).readline()
    assert 200 <= len(line) <= 300


def test_the_log_has_each_token_no_earlier_than_it_was_due(start: Start) -> None:
    running = start()
    events(ask(running.connect()))
    (one,) = running.stop()
    assert one["id"] == "a"
    assert one["asked"] == len(one["token_ns"]) == 5
    assert one["arrived_ns"] <= one["read_ns"]
    due_ns = [one["read_ns"] + (TTFT_MS + index * ITL_MS) * 1e6 for index in range(5)]
    assert all(written >= due for written, due in zip(one["token_ns"], due_ns, strict=True))


def test_a_connection_serves_one_request_after_the_other(start: Start) -> None:
    running = start()
    connection = running.connect()
    for count in (1, 3):
        assert len(events(ask(connection, max_tokens=count))) == count
    assert [len(one["token_ns"]) for one in running.stop()] == [1, 3]


def test_a_connection_ends_if_the_client_says_so(start: Start) -> None:
    connection = start().connect()
    connection.request("GET", "/health", headers={"Connection": "close"})
    response = connection.getresponse()
    assert response.getheader("Connection") == "close"
    assert response.status == 200
    response.read()


def test_chat_may_begin_with_an_event_that_is_no_token(start: Start) -> None:
    running = start("--role-event")
    messages = [{"role": "user", "content": "one two"}]
    options = {"include_usage": True}
    found = events(ask(running.connect(), "/v1/chat/completions", messages=messages, stream_options=options))
    deltas = [choice["delta"] for event in found for choice in event["choices"]]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert len(deltas) == 6
    assert found[-1]["usage"]["prompt_tokens"] == 5
    assert len(running.stop()[0]["token_ns"]) == 5


def test_without_a_stream_the_answer_is_one_piece(start: Start) -> None:
    answer = json.loads(ask(start().connect(), prompt="one two", stream=False).read())
    assert answer["choices"][0]["text"] == " t0 t1 t2 t3 t4"
    assert answer["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 200), ("/version", 200), ("/nothing", 404)])
def test_it_answers_what_clients_look_for(start: Start, path: str, status: int) -> None:
    connection = start().connect()
    connection.request("GET", path)
    assert connection.getresponse().status == status


def test_the_log_can_be_flushed(start: Start) -> None:
    running = start()
    connection = running.connect()
    events(ask(connection))
    connection.request("POST", "/log/flush")
    connection.getresponse().read()
    assert len(running.logged()) == 1
    events(ask(connection))
    assert len(running.stop()) == 2


def test_a_client_that_leaves_is_no_harm(start: Start) -> None:
    running = start()
    leaving = running.connect()
    ask(leaving, max_tokens=10_000).readline()
    leaving.close()
    assert len(events(ask(running.connect()))) == 5
    assert len(running.stop()) == 2


def test_a_client_that_reads_late_holds_up_nobody_and_loses_nothing(start: Start) -> None:
    running = start(itl_ms=0)
    more_than_sockets_buffer = 60_000
    late = ask(running.connect(), max_tokens=more_than_sockets_buffer)
    assert (
        len(events(ask(running.connect(), max_tokens=more_than_sockets_buffer))) == more_than_sockets_buffer
    )
    assert len(events(late)) == more_than_sockets_buffer


def test_tls(start: Start, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "certificate.pem"))
    running = start("--cert", str(tmp_path / "certificate.pem"), "--key", str(tmp_path / "key.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    connection = running.connect(context)
    for _ in range(2):
        assert len(texts(events(ask(connection)))) == 5
    assert len(running.stop()) == 2
