"""Servers on 127.0.0.1 for the project's own tests.

:class:`TruthServer` answers as an engine does and notes when it wrote each token. It runs in a process of
its own, so that its scheduling is not the client's: this very file run as a script, hence nothing but the
standard library here. :func:`scripted_server` misbehaves in one way, by name (``SCRIPTS``).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

MODEL = "truth"


@dataclass(frozen=True)
class Request:
    """A request as a server read it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def body(self) -> dict[str, Any]:
        body = json.loads(self.content or b"{}")
        assert isinstance(body, dict)
        return body

    @property
    def is_chat(self) -> bool:
        return self.path.endswith("/chat/completions")

    @property
    def is_streamed_completion(self) -> bool:
        return self.method == "POST" and self.body.get("stream") is True


@dataclass(frozen=True)
class Served:
    """What :class:`TruthServer` did for one request; times are CLOCK_MONOTONIC in ns."""

    request_id: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    received_ns: int
    token_ns: tuple[int, ...]
    """When each token was written to the socket."""


@dataclass
class TruthServer:
    """An OpenAI-compatible server that knows what it did; a context manager.

    ``slots``: as many requests generate at once, the others wait (None: all do). ``keep_alive``: leave
    connections open although the client asks for their end. ``natural_tokens``: the length of an answer
    that was not asked to ignore its end (None: always ``max_tokens``). ``rejects_token_ids`` and
    ``rejects_ignore_eos``: the status that such requests are answered with. ``template_tokens``: what chat
    adds to a prompt. ``long_words``: words that are two tokens. ``miscounts_by``: added to the true number
    of prompt tokens. ``cached_tokens``: the cache hits it claims for each prompt. ``has_prefix_cache``: claim
    what the prompt has in common, from its start, with one before it and its answer.
    """

    ttft_s: float = 0.0
    itl_s: float = 0.0
    chunked: bool = True
    keep_alive: bool = False
    slots: int | None = None
    natural_tokens: int | None = None
    rejects_token_ids: int = 0
    rejects_ignore_eos: int = 0
    template_tokens: int = 3
    long_words: tuple[str, ...] = ()
    miscounts_by: int = 0
    cached_tokens: int | None = None
    has_prefix_cache: bool = False
    url: str = field(default="", init=False)

    def __enter__(self) -> TruthServer:
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = f"http://127.0.0.1:{int(self._ask())}"
        return self

    def __exit__(self, *error: object) -> None:
        # It ends with its standard input, so that it never outlives this process either.
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()

    def log(self) -> dict[str, Served]:
        """All streamed completions so far, by request id."""
        served = [Served(**{**one, "token_ns": tuple(one["token_ns"])}) for one in self._account()["served"]]
        return {one.request_id: one for one in served}

    def peak(self) -> int:
        """The most requests that were under way at the same time, waiting for a slot included."""
        return int(self._account()["peak"])

    def _account(self) -> Any:
        assert self._process.stdin is not None
        print("account", file=self._process.stdin, flush=True)
        return json.loads(self._ask())

    def _ask(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the truth server's process ended")
        return line


def streamed(request: Request, index: int, finished: bool = False) -> bytes:
    """The event of one token."""
    text = f" t{index}"
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if finished else None}
    choice |= {"delta": {"content": text}} if request.is_chat else {"text": text}
    return event({"id": request.id, "object": "chunk", "model": MODEL, "choices": [choice]})


def event(data: object) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def usage(request: Request, completion_tokens: int, prompt_tokens: int | None = None) -> dict[str, Any]:
    prompt = prompt_tokens if prompt_tokens is not None else count_prompt(request)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt + completion_tokens,
    }


def count_prompt(request: Request, template_tokens: int = 3, long_words: tuple[str, ...] = ()) -> int:
    """Token ids count one each, words too unless they are among ``long_words``."""
    body = request.body
    if request.is_chat:
        texts = [str(message["content"]) for message in body["messages"]]
    elif isinstance(body.get("prompt"), list):
        return len(body["prompt"])
    else:
        texts, template_tokens = [str(body.get("prompt", ""))], 0
    words = [word for text in texts for word in text.split()]
    return template_tokens + len(words) + sum(word in long_words for word in words)


def head(
    status: str = "200 OK", content_type: str = "text/event-stream", *headers: str, length: int | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *headers]
    lines += [f"Content-Length: {length}"] if length is not None else []
    return "\r\n".join((*lines, "", "")).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def json_answer(status: str, body: object, *headers: str) -> bytes:
    content = json.dumps(body).encode()
    return head(status, "application/json", *headers, length=len(content)) + content


def plain_answer(request: Request, prompt_tokens: int | None = None) -> bytes:
    """What is no streamed completion: the list of models, or a completion in one piece."""
    if request.path.endswith("/v1/models"):
        return json_answer("200 OK", {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
    if request.method == "POST":
        text = " t0"
        choice = {"message": {"role": "assistant", "content": text}} if request.is_chat else {"text": text}
        told = usage(request, 1, prompt_tokens)
        return json_answer("200 OK", {"model": MODEL, "choices": [choice], "usage": told})
    return json_answer("404 Not Found", {"error": {"message": f"no {request.path} here"}})


def _parse_head(data: bytes) -> tuple[str, str, dict[str, str]]:
    first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    return method, path, headers


# --- the truth server's own process -------------------------------------------------------------------


class _Truth:
    def __init__(self, settings: TruthServer) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.slots or 1_000_000)
        self._served: list[dict[str, Any]] = []
        self._under_way = self._peak = 0
        self._cache: list[list[object]] = []

    async def run(self) -> None:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        commands = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        while await commands.readline():
            print(json.dumps({"peak": self._peak, "served": self._served}), flush=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                method, path, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
                content = await reader.readexactly(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, content)
                if request.is_streamed_completion:
                    await self._stream(request, writer)
                else:
                    writer.write(plain_answer(request, self._prompt_tokens(request)))
                if headers.get("connection") == "close" and not self._settings.keep_alive:
                    break
                if not self._settings.chunked and request.is_streamed_completion:
                    break  # there is no other way to mark the end
        writer.close()

    async def _stream(self, request: Request, writer: asyncio.StreamWriter) -> None:
        asked = self._settings
        received_ns = time.monotonic_ns()
        body = request.body
        token_ns: list[int] = []
        self._served.append(
            {
                "request_id": request.id,
                "path": request.path,
                "headers": request.headers,
                "body": body,
                "received_ns": received_ns,
                "token_ns": token_ns,
            }
        )
        for is_rejected, status, detail in (
            (isinstance(body.get("prompt"), list), asked.rejects_token_ids, "prompt must be a string"),
            ("ignore_eos" in body, asked.rejects_ignore_eos, "ignore_eos: extra fields not permitted"),
        ):
            if is_rejected and status:
                writer.write(json_answer(f"{status} Rejected", {"error": {"message": detail}}))
                return
        count = int(body["max_tokens"])
        if asked.natural_tokens is not None and not body.get("ignore_eos"):
            count = min(count, asked.natural_tokens)
        frame = chunk if asked.chunked else bytes
        self._under_way += 1
        self._peak = max(self._peak, self._under_way)
        try:
            async with self._slots:
                started = time.monotonic()
                for index in range(count):
                    await asyncio.sleep(started + asked.ttft_s + index * asked.itl_s - time.monotonic())
                    if writer.transport.is_closing():
                        return
                    data = frame(streamed(request, index, index == count - 1))
                    if index == 0:
                        data = head("200 OK", *_framing(asked.chunked)) + data
                    token_ns.append(time.monotonic_ns())
                    writer.write(data)
        finally:
            # Before the end is written: from then on the client may send its next request.
            self._under_way -= 1
        told = usage(request, count, self._prompt_tokens(request))
        if asked.cached_tokens is not None or asked.has_prefix_cache:
            hits = self._cached(request, count) if asked.has_prefix_cache else asked.cached_tokens
            told["prompt_tokens_details"] = {"cached_tokens": hits}
        writer.write(frame(event({"id": request.id, "choices": [], "usage": told})) + frame(DONE))
        if asked.chunked:
            writer.write(chunk(b""))

    def _cached(self, request: Request, count: int) -> int:
        """The tokens that the cache knows of this prompt; from now on it knows all of it and its answer."""
        template = ["template"] * self._settings.template_tokens if request.is_chat else []
        prompt = [*template, *_prompt_pieces(request)]
        hits = max((_common(prompt, known) for known in self._cache), default=0)
        self._cache.append([*prompt, *(f"t{index}" for index in range(count))])
        return hits

    def _prompt_tokens(self, request: Request) -> int | None:
        if request.method != "POST":
            return None
        asked = self._settings
        return count_prompt(request, asked.template_tokens, asked.long_words) + asked.miscounts_by


def _prompt_pieces(request: Request) -> list[object]:
    body = request.body
    if isinstance(body.get("prompt"), list):
        return list(body["prompt"])
    texts = [str(message["content"]) for message in body["messages"]] if request.is_chat else [body["prompt"]]
    return [word for text in texts for word in text.split()]


def _common(one: list[object], other: list[object]) -> int:
    pairs = zip(one, other, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _framing(chunked: bool) -> tuple[str, ...]:
    return ("text/event-stream", "Transfer-Encoding: chunked") if chunked else ("text/event-stream",)


# --- servers with a script ----------------------------------------------------------------------------


class Wire:
    """One accepted connection, in the hands of a script."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection, self._stopping = connection, stopping
        self.request = Request("", "", {}, b"")

    def read_request(self) -> bool:
        """False if the client went away without one."""
        data = b""
        while b"\r\n\r\n" not in data:
            if not (piece := self._connection.recv(65536)):
                return False
            data += piece
        before, _, content = data.partition(b"\r\n\r\n")
        method, path, headers = _parse_head(before)
        length = int(headers.get("content-length", 0))
        while len(content) < length:
            if not (piece := self._connection.recv(65536)):
                return False
            content += piece
        self.request = Request(method, path, headers, content)
        return True

    def send(self, *pieces: bytes) -> None:
        """Each piece in a write of its own."""
        for piece in pieces:
            self._connection.sendall(piece)

    def stream(self, *pieces: bytes) -> None:
        """The head of a stream without framing, and what follows."""
        self.send(head(), *pieces)

    def tokens(self, count: int | None = None) -> list[bytes]:
        """As many token events as were asked for."""
        count = self.asked_tokens if count is None else count
        return [streamed(self.request, index, index == count - 1) for index in range(count)]

    def usage_event(self, count: int | None = None) -> bytes:
        told = usage(self.request, self.asked_tokens if count is None else count)
        return event({"choices": [], "usage": told})

    @property
    def asked_tokens(self) -> int:
        return int(self.request.body["max_tokens"])

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def hang(self) -> None:
        """Say nothing until the test is over."""
        self._stopping.wait()

    def reset(self) -> None:
        """Close with an RST instead of a FIN."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def send_in_the_clear(self, data: bytes) -> None:
        """Past TLS."""
        os.write(self._connection.fileno(), data)

    def say_goodbye(self) -> None:
        """End TLS politely, and leave the connection open."""
        assert isinstance(self._connection, ssl.SSLSocket)
        with contextlib.suppress(OSError):
            self._connection.unwrap()


Script = Callable[[Wire], None]
SCRIPTS: dict[str, Script] = {}
_WITHOUT_READING = {"close_at_once", "reset_at_once", "not_http_at_once"}


def _script(function: Script) -> Script:
    SCRIPTS[getattr(function, "__name__", "").lstrip("_")] = function
    return function


@_script
def _well(wire: Wire) -> None:
    wire.stream(*wire.tokens(), wire.usage_event(), DONE)


@_script
def _say(wire: Wire) -> None:
    """The response that the request itself contains: ``{"say": BASE64}``."""
    wire.send(base64.b64decode(wire.request.body["say"]))


@_script
def _html(wire: Wire) -> None:
    page = b"<html><body>Welcome to the proxy</body></html>"
    wire.send(head("200 OK", "text/html", length=len(page)), page)


@_script
def _json_in_one_piece(wire: Wire) -> None:
    wire.send(plain_answer(wire.request))


@_script
def _not_found(wire: Wire) -> None:
    wire.send(json_answer("404 Not Found", {"detail": "Not Found"}))


@_script
def _unauthorized(wire: Wire) -> None:
    wire.send(json_answer("401 Unauthorized", {"error": {"message": "who are you?"}}))


@_script
def _server_error(wire: Wire) -> None:
    wire.send(json_answer("500 Internal Server Error", {"error": {"message": "CUDA out of memory"}}))


@_script
def _server_error_and_hang(wire: Wire) -> None:
    """Its answer has a length, so that it is over although the connection stays."""
    _server_error(wire)
    wire.hang()


@_script
def _redirect(wire: Wire) -> None:
    wire.send(head("307 Temporary Redirect", "text/plain", "Location: https://elsewhere.test/v1", length=0))


@_script
def _error_in_stream(wire: Wire) -> None:
    wire.stream(*wire.tokens()[:2], event({"error": {"message": "engine died", "code": 500}}), DONE)


@_script
def _half_event(wire: Wire) -> None:
    wire.stream(*wire.tokens()[:2], b'data: {"choices": [{"te')


@_script
def _unfinished(wire: Wire) -> None:
    wire.stream(*wire.tokens()[:2])


@_script
def _wrong_count(wire: Wire) -> None:
    count = wire.asked_tokens - 1
    wire.stream(*wire.tokens(count), wire.usage_event(count), DONE)


@_script
def _no_usage(wire: Wire) -> None:
    wire.stream(*wire.tokens(), DONE)


@_script
def _no_text(wire: Wire) -> None:
    wire.stream(wire.usage_event(), DONE)


@_script
def _empty_stream(wire: Wire) -> None:
    wire.stream()


@_script
def _hang_before_head(wire: Wire) -> None:
    wire.hang()


@_script
def _hang_after_head(wire: Wire) -> None:
    wire.stream()
    wire.hang()


@_script
def _hang_in_stream(wire: Wire) -> None:
    wire.stream(*wire.tokens()[:2])
    wire.hang()


@_script
def _flood(wire: Wire) -> None:
    wire.stream()
    for _ in range(10_000):
        if wire.is_stopping:
            return
        wire.send(b": flood " * 4096)


@_script
def _reset(wire: Wire) -> None:
    wire.reset()


@_script
def _reset_in_stream(wire: Wire) -> None:
    wire.stream(*wire.tokens()[:2])
    wire.reset()


@_script
def _reset_at_once(wire: Wire) -> None:
    wire.reset()


@_script
def _close_at_once(wire: Wire) -> None:
    pass


@_script
def _close_without_answer(wire: Wire) -> None:
    pass


@_script
def _not_http(wire: Wire) -> None:
    wire.send(b"220 mail.test ESMTP\r\n\r\n")


@_script
def _not_http_at_once(wire: Wire) -> None:
    _not_http(wire)
    wire.hang()


@_script
def _usage_beside_choices(wire: Wire) -> None:
    *most, _ = wire.tokens()
    last = json.loads(streamed(wire.request, wire.asked_tokens - 1, True).removeprefix(b"data: "))
    wire.stream(*most, event({**last, "usage": usage(wire.request, wire.asked_tokens)}), DONE)


@_script
def _role_first(wire: Wire) -> None:
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    wire.stream(event({"choices": [choice]}), *wire.tokens(), wire.usage_event(), DONE)


@_script
def _reasoning(wire: Wire) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]})
    wire.stream(thought, *wire.tokens()[1:], wire.usage_event(), DONE)


@_script
def _comments(wire: Wire) -> None:
    noise = b": keep-alive\n\nevent: token\nid: 7\nretry: 10\nunknown: field\n"
    wire.stream(*(noise + token for token in wire.tokens()), wire.usage_event(), DONE)


@_script
def _crlf(wire: Wire) -> None:
    pieces = (*wire.tokens(), wire.usage_event(), DONE)
    wire.stream(*(piece.replace(b"\n", b"\r\n") for piece in pieces))


@_script
def _several_per_write(wire: Wire) -> None:
    wire.send(head() + b"".join((*wire.tokens(), wire.usage_event(), DONE)))


@_script
def _byte_per_write(wire: Wire) -> None:
    pieces = (*wire.tokens(), wire.usage_event(), DONE)
    whole = head("200 OK", *_framing(True)) + b"".join(map(chunk, pieces)) + chunk(b"")
    wire.send(*(whole[i : i + 1] for i in range(len(whole))))


@_script
def _bad_chunk(wire: Wire) -> None:
    wire.send(head("200 OK", *_framing(True)), chunk(wire.tokens()[0]), b"xyz\r\n")


@_script
def _short_body(wire: Wire) -> None:
    """Less than its Content-Length promised."""
    wire.send(head("500 Internal Server Error", "application/json", length=1000), b'{"error": "halfway')


@_script
def _short_stream(wire: Wire) -> None:
    wire.send(head(length=100_000), *wire.tokens()[:2])


@_script
def _long_body(wire: Wire) -> None:
    """More than its Content-Length promised."""
    wire.send(head("500 Internal Server Error", "text/plain", length=4) + b"oops, and more")
    wire.hang()


class _Listener:
    def __init__(self, script: Script, reads_first: bool, everything: bool, well_before: int) -> None:
        self._script, self._reads_first = script, reads_first
        self._everything, self._well_left = everything, well_before
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []
        self._tls: ssl.SSLContext | None = None

    def start(self, tls: ssl.SSLContext | None) -> str:
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._address = self._socket.getsockname()
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return f"{'https' if tls else 'http'}://127.0.0.1:{self._address[1]}"

    def stop(self) -> None:
        self._stopping.set()
        socket.create_connection(self._address).close()  # wakes accept() everywhere
        self._acceptor.join(10)
        self._socket.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        if self._errors:
            raise self._errors[0]

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._stopping.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connection = self._tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
            with self._lock:
                self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if isinstance(connection, ssl.SSLSocket):
                connection.do_handshake()
            wire = Wire(connection, self._stopping)
            if not self._reads_first:
                self._script(wire)
            elif wire.read_request():
                self._answer(wire)
        except OSError:
            pass  # the client went away, as clients do
        except BaseException as error:
            self._errors.append(error)
        finally:
            with self._lock:
                self._open.remove(connection)
                connection.close()

    def _answer(self, wire: Wire) -> None:
        if self._everything or "say" in wire.request.body:
            self._script(wire)
        elif not wire.request.is_streamed_completion:
            wire.send(plain_answer(wire.request))
        else:
            with self._lock:
                self._well_left -= 1
                is_well = self._well_left >= 0
            (_well if is_well else self._script)(wire)


@contextlib.contextmanager
def scripted_server(
    script: str | Script, *, everything: bool = False, well_before: int = 0, tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """The URL of a server that follows a script, one of ``SCRIPTS`` or one's own.

    What is no streamed completion it answers well unless ``everything`` is scripted, and so are the first
    ``well_before`` completions. Its threads are this process's, so it is of no use for timings.
    """
    function = SCRIPTS[script] if isinstance(script, str) else script
    listener = _Listener(function, script not in _WITHOUT_READING, everything, well_before)
    url = listener.start(tls)
    try:
        yield url
    finally:
        listener.stop()


@contextlib.contextmanager
def dead_url() -> Iterator[str]:
    """A URL where nothing listens, and nothing will while this lasts."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


if __name__ == "__main__":
    gc.disable()
    asyncio.run(_Truth(TruthServer(**json.loads(sys.argv[1]))).run())
