"""From the raw bytes of a response to its events.

HTTP/1.1 (RFC 9112: chunked, with a length, or until the connection closes) around server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html). Any way of splitting the bytes gives the
same events, each with the read that completed it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

_LINE_END = re.compile(rb"\r\n|\n|\r")
_STATUS = re.compile(r"[0-9]{3}")
_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")
_MAX_HEAD = 64 * 1024


class ResponseError(Exception):
    """The response is not what was asked for; ``str()`` is ``kind: detail``."""


class Response:
    """The raw reads of one response. ``status`` is None until it is known."""

    def __init__(self, reads: Sequence[tuple[int, bytes]]) -> None:
        self.status: int | None = None
        self._reads = reads

    def events(self) -> Iterator[tuple[int, bytes]]:
        """The ``data`` of each event of a 200 event stream, with the index of the read that completed it.

        Raises :class:`ResponseError` for any other response, quoting it.
        """
        if not self._reads:
            raise ResponseError("truncated: the connection was closed without an answer")
        remaining = ((index, data) for index, (_, data) in enumerate(self._reads))
        index, head = next(remaining)
        while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD and (read := next(remaining, None)):
            index, head = read[0], head + read[1]
        if not head.startswith(b"HTTP/1."):
            raise ResponseError(f"not HTTP: {quote(head)}")
        before, found, rest = head.partition(b"\r\n\r\n")
        if not found:
            raise ResponseError("truncated: the response ended within its head")
        self.status, headers = _parse_head(before)
        pieces: Iterator[tuple[int, bytes]] = itertools.chain([(index, rest)], remaining)
        is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        if is_chunked:
            pieces = _dechunk(pieces)
        if self.status != 200:
            raise ResponseError(_refusal(self.status, headers, pieces))
        if not headers.get("content-type", "").lower().startswith("text/event-stream"):
            content = b"".join(piece for _, piece in pieces)
            raise ResponseError(
                f"not a stream: the answer is {headers.get('content-type', 'untyped')!r}: {quote(content)}"
            )
        regular = _regular_events(self._reads, len(before) + len(found)) if is_chunked else None
        yield from _events(pieces) if regular is None else regular


def _regular_events(reads: Sequence[tuple[int, bytes]], start: int) -> list[tuple[int, bytes]] | None:
    """The events of a chunked body that begins at ``start``, if each chunk has whole events of one line each,
    as nearly all servers send them; None for any other body, also a broken one."""
    raw = b"".join([data for _, data in reads])
    ends = list(itertools.accumulate([len(data) for _, data in reads]))
    events: list[tuple[int, bytes]] = []
    index, position = 0, start
    while True:
        line_end = raw.find(b"\r\n", position, position + 10)
        if line_end < 0 or not _SIZE.fullmatch(raw, position, line_end):
            return None
        begin = line_end + 2
        end = begin + int(raw[position:line_end], 16)
        if end == begin:
            return events
        chunk = raw[begin:end]
        if not (chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") and raw.startswith(b"\r\n", end)):
            return None
        if b"\r" in chunk:
            return None
        position = begin
        for event in chunk[6:-2].split(b"\n\ndata: "):
            if b"\n" in event:
                return None
            position += len(event) + 8
            while ends[index] < position:
                index += 1
            events.append((index, event))
        position = end + 2


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
        raise ResponseError(f"truncated: the stream ended within an event: {quote(data[0])}")


def _collect(line: bytes, data: list[bytes]) -> None:
    field, _, value = line.partition(b":")
    if field == b"data":
        data.append(value.removeprefix(b" "))


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) < 2 or not _STATUS.fullmatch(words[1]):
        raise ResponseError(f"not HTTP: {quote(first.encode())}")
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
    return f"HTTP {status}: {quote(content)}{hint}"


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
    if not _SIZE.fullmatch(digits):
        raise ResponseError(f"malformed: a chunk of size {quote(digits)}")
    return int(digits, 16)


def quote(data: bytes, limit: int = 200) -> str:
    """The beginning of ``data`` on one line, for an error message."""
    text = " ".join(data.decode(errors="replace").split())
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
