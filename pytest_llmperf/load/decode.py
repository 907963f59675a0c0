"""From the stamped bytes of a response to the times of its tokens; runs after the measurement.

HTTP/1.1 (RFC 9112: chunked, with a length, or until the connection closes) around server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html) around OpenAI's streaming objects. Any way
of splitting the bytes gives the same events, each with the time of the read that completed it.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request

_LINE_END = re.compile(rb"\r\n|\n|\r")
_STATUS = re.compile(r"[0-9]{3}")
_MAX_HEAD = 64 * 1024
MERGE_NS = 2_000_000


@dataclass(frozen=True)
class Trace:
    """One request as it went; times in monotonic ns.

    ``status`` is that of the HTTP response. ``token_ns`` has one entry for each stream event that carried
    text. ``merged_ns`` has one for each of them that was read together with a later one, so late that it may
    have arrived over 2 ms before the time it has: by how much at most. ``output_tokens``,
    ``prompt_tokens`` and ``cached_tokens`` are the server's usage figures (None: not told). ``error`` is
    ``kind: detail``, or None for a request that did all that was asked of it.
    """

    request: Request
    due_ns: int
    handed_ns: int
    sent_ns: int
    first_byte_ns: int | None
    token_ns: tuple[int, ...]
    merged_ns: tuple[int, ...]
    ended_ns: int
    status: int | None
    output_tokens: int | None
    prompt_tokens: int | None
    cached_tokens: int | None
    error: str | None

    @property
    def error_kind(self) -> str | None:
        return self.error.partition(":")[0] if self.error else None


class ResponseError(Exception):
    """The response is not what was asked for; ``str()`` is ``kind: detail``."""


def decode(exchange: Exchange) -> Trace:
    """Read one exchange; never raises for what a server sent."""
    stream, response = _Stream(), _Response(exchange.reads)
    error = exchange.failure
    if error is None and not exchange.sent_ns:
        error = "reset: the connection was closed before the request was due"
    try:
        for index, event in _events(response.body()):
            stream.take(index, event)
        if error is None:
            stream.check(exchange.request.output_tokens)
    except ResponseError as problem:
        # What a server managed to say explains a broken connection better than the break does.
        error = str(problem) if error is None or stream.is_explicit(problem) else error
    return Trace(
        # Prompts are large, and nobody needs them any more.
        request=replace(exchange.request, payload=b""),
        due_ns=exchange.due_ns,
        handed_ns=exchange.handed_ns,
        sent_ns=exchange.sent_ns,
        first_byte_ns=exchange.reads[0][0] if exchange.reads else None,
        token_ns=tuple(exchange.reads[index][0] for index in stream.text_reads),
        merged_ns=_merged(exchange, stream.text_reads),
        ended_ns=exchange.ended_ns,
        status=response.status,
        output_tokens=stream.usage("completion_tokens"),
        prompt_tokens=stream.usage("prompt_tokens"),
        cached_tokens=stream.cached_tokens(),
        error=error,
    )


def answer(reads: Sequence[tuple[int, bytes]]) -> str | None:
    """The text of a whole answer without its reasoning; None for one that broke off or was refused."""
    stream = _Stream()
    try:
        for index, event in _events(_Response(reads).body()):
            stream.take(index, event)
    except ResponseError:
        return None
    return "".join(stream.text) if stream.is_whole else None


def _merged(exchange: Exchange, text_reads: Sequence[int]) -> tuple[int, ...]:
    """For each event that shares a read with the one after it, what time that read may span, if over 2 ms."""
    spans = (
        exchange.reads[index][0] - exchange.since_ns[index]
        for index, following in itertools.pairwise(text_reads)
        if index == following
    )
    return tuple(span for span in spans if span > MERGE_NS)


class _Stream:
    """What the events of one completion add up to."""

    def __init__(self) -> None:
        self.text_reads: list[int] = []
        """The index of the read that completed each event with text."""
        self.text: list[str] = []
        self.is_whole = False
        self._usage: dict[str, Any] = {}

    def take(self, read: int, data: bytes) -> None:
        if data == b"[DONE]":
            self.is_whole = True
            return
        try:
            event = json.loads(data)
            problem = json.dumps(event["error"]) if isinstance(event, dict) and event.get("error") else None
        except (ValueError, RecursionError):
            raise ResponseError(f"malformed: an event that is not JSON: {_quote(data)}") from None
        if not isinstance(event, dict):
            raise ResponseError(f"malformed: an event that is not an object: {_quote(data)}")
        if problem is not None:
            raise ResponseError(f"stream error: {_quote(problem.encode())}")
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                if choice.get("finish_reason"):
                    self.is_whole = True
                if _has_text(choice):
                    self.text_reads.append(read)
                    self.text.append(_content(choice))

    def check(self, expected_tokens: int) -> None:
        """Whether the stream ended whole, with the tokens that were asked for."""
        if not self.is_whole:
            raise ResponseError(
                f"truncated: the stream ended after {len(self.text_reads)} events, unfinished"
            )
        returned = self.usage("completion_tokens")
        if returned is None and "completion_tokens" in self._usage:
            raise ResponseError(f"no usage: completion_tokens is {self._usage['completion_tokens']!r}"[:200])
        if returned is None:
            raise ResponseError(
                "no usage: the server does not count its tokens (stream_options.include_usage)"
            )
        if returned != expected_tokens:
            raise ResponseError(f"token count: {returned} output tokens instead of {expected_tokens}")
        if not self.text_reads:
            raise ResponseError(f"no text: {returned} output tokens, but not one event carried text")

    def usage(self, name: str) -> int | None:
        value = self._usage.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def cached_tokens(self) -> int | None:
        details = self._usage.get("prompt_tokens_details")
        value = details.get("cached_tokens") if isinstance(details, dict) else None
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    @staticmethod
    def is_explicit(problem: ResponseError) -> bool:
        """Whether the server itself named a problem, rather than that something is missing."""
        return str(problem).startswith(("HTTP ", "stream error"))


def _has_text(choice: dict[str, Any]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and bool(
        delta.get("content")
        or delta.get("reasoning_content")
        or delta.get("reasoning")
        or delta.get("tool_calls")
    )


def _content(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    content = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    return content if isinstance(content, str) else ""


def _quote(data: bytes, limit: int = 200) -> str:
    text = " ".join(data.decode(errors="replace").split())
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


def _events(body: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The ``data`` of each server-sent event with the index of the read that completed it."""
    buffer = b""
    data: list[bytes] = []
    index = 0
    after_cr = False
    for index, piece in body:
        if not piece:
            continue
        # A \r ends its line at once, not when it is known whether a \n follows.
        buffer += piece.removeprefix(b"\n") if after_cr else piece
        after_cr = piece.endswith(b"\r")
        start = 0
        for end in _LINE_END.finditer(buffer):
            line = buffer[start : end.start()]
            start = end.end()
            if line:
                _collect(line, data)
            elif data:
                yield index, b"\n".join(data)
                data.clear()
        buffer = buffer[start:]
    if buffer:
        _collect(buffer, data)
    # The specification drops an event without its blank line; the end mark is accepted without one.
    if data == [b"[DONE]"]:
        yield index, data[0]
    elif data:
        raise ResponseError(f"truncated: the stream ended within an event: {_quote(data[0])}")


def _collect(line: bytes, data: list[bytes]) -> None:
    field, _, value = line.partition(b":")
    if field == b"data":
        data.append(value.removeprefix(b" "))


class _Response:
    """The head of a response and the way to its body. ``status`` is None until it is known."""

    def __init__(self, reads: Sequence[tuple[int, bytes]]) -> None:
        self.status: int | None = None
        self._reads = reads

    def body(self) -> Iterator[tuple[int, bytes]]:
        """The pieces of the body of a 200 event stream, each with the index of its read.

        Raises :class:`ResponseError` for any other response, quoting it.
        """
        if not self._reads:
            raise ResponseError("truncated: the connection was closed without an answer")
        remaining = ((index, data) for index, (_, data) in enumerate(self._reads))
        index, head = next(remaining)
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD and (read := next(remaining, None)):
            index, head = read[0], head + read[1]
        if not head.startswith(b"HTTP/1."):
            raise ResponseError(f"not HTTP: {_quote(head)}")
        before, found, rest = head.partition(b"\r\n\r\n")
        if not found:
            raise ResponseError("truncated: the response ended within its head")
        self.status, headers = _parse_head(before)
        pieces: Iterator[tuple[int, bytes]] = itertools.chain([(index, rest)], remaining)
        if "chunked" in headers.get("transfer-encoding", "").lower():
            pieces = _dechunk(pieces)
        if self.status != 200:
            raise ResponseError(_refusal(self.status, headers, pieces))
        if not headers.get("content-type", "").lower().startswith("text/event-stream"):
            content = b"".join(piece for _, piece in pieces)
            raise ResponseError(
                f"not a stream: the answer is {headers.get('content-type', 'untyped')!r}: {_quote(content)}"
            )
        yield from pieces


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not _STATUS.fullmatch(words[1]):
        raise ResponseError(f"not HTTP: {_quote(first.encode())}")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def _refusal(status: int, headers: dict[str, str], pieces: Iterator[tuple[int, bytes]]) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirected to {headers.get('location', 'nowhere')!r}; name that URL instead"
    try:
        content = b"".join(piece for _, piece in pieces)
    except ResponseError:
        content = b""
    hint = " (LLMPERF_API_KEY is the key that is sent)" if status in (401, 403) else ""
    return f"HTTP {status}: {_quote(content)}{hint}"


def _dechunk(pieces: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The chunks' contents, as far as they have come with each piece (RFC 9112, 7.1)."""
    buffer = b""
    remaining = 0
    for index, piece in pieces:
        buffer += piece
        while buffer:
            if remaining > 2:
                content = buffer[: remaining - 2]
                yield index, content
                buffer = buffer[len(content) :]
                remaining -= len(content)
            elif remaining:
                skipped = min(remaining, len(buffer))
                buffer = buffer[skipped:]
                remaining -= skipped
            else:
                line, found, rest = buffer.partition(b"\r\n")
                if not found:
                    break
                remaining = _chunk_size(line) + 2
                buffer = rest
                if remaining == 2:
                    return


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", digits):
        raise ResponseError(f"malformed: a chunk of size {_quote(digits)}")
    return int(digits, 16)
