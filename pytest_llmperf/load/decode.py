"""From the stamped bytes of a response to the times of its tokens; runs after the measurement."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.response import Response, ResponseError, quote

# What stands in a JSON string as it is.
_PLAIN = re.compile(rb"[ !#-\[\]-~]+")
_MAX_FRAMES = 8
_NO_COUNT = 1 << 40
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

    def moved(self, by_ns: int) -> Trace:
        """The same on a clock that is ahead by so much; 0 stays "never"."""
        return replace(
            self,
            due_ns=self.due_ns + by_ns,
            handed_ns=self.handed_ns and self.handed_ns + by_ns,
            sent_ns=self.sent_ns and self.sent_ns + by_ns,
            first_byte_ns=self.first_byte_ns and self.first_byte_ns + by_ns,
            token_ns=tuple(at + by_ns for at in self.token_ns),
            ended_ns=self.ended_ns and self.ended_ns + by_ns,
        )


def decode(exchange: Exchange) -> Trace:
    """Read one exchange; never raises for what a server sent."""
    stream, response = _Stream(), Response(exchange.reads)
    error = exchange.failure
    if error is None and not exchange.sent_ns:
        error = "reset: the connection was closed before the request was due"
    try:
        for index, event in response.events():
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
        for index, event in Response(reads).events():
            stream.take(index, event)
    except ResponseError:
        return None
    return stream.text if stream.is_whole else None


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
        self.is_whole = False
        self._usage: dict[str, Any] = {}
        self._text: list[bytes | str] = []
        self._frame = (b"", b"")
        self._frames = 0

    def take(self, read: int, data: bytes) -> None:
        before, after = self._frame
        if before and data.startswith(before) and data.endswith(after):
            end = len(data) - len(after)
            if _PLAIN.fullmatch(data, len(before), end):
                # The event before but for its text, which is all that is to be known of this one.
                self.text_reads.append(read)
                self._text.append(data[len(before) : end])
                return
        if data == b"[DONE]":
            self.is_whole = True
        else:
            self._take_object(read, data)

    def _take_object(self, read: int, data: bytes) -> None:
        try:
            event = json.loads(data)
            problem = json.dumps(event["error"]) if isinstance(event, dict) and event.get("error") else None
        except (ValueError, RecursionError):
            raise ResponseError(f"malformed: an event that is not JSON: {quote(data)}") from None
        if not isinstance(event, dict):
            raise ResponseError(f"malformed: an event that is not an object: {quote(data)}")
        if problem is not None:
            raise ResponseError(f"stream error: {quote(problem.encode())}")
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict):
                if choice.get("finish_reason"):
                    self.is_whole = True
                if _has_text(choice):
                    self.text_reads.append(read)
                    self._text.append(_content(choice))
        if self._frames < _MAX_FRAMES and not self.is_whole and not self._usage:
            self._frame = _frame_of(data, choices)
            self._frames += 1

    @property
    def text(self) -> str:
        """All text but for the reasoning."""
        return "".join(piece if isinstance(piece, str) else piece.decode() for piece in self._text)

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
        return _count(self._usage.get(name))

    def cached_tokens(self) -> int | None:
        details = self._usage.get("prompt_tokens_details")
        return _count(details.get("cached_tokens")) if isinstance(details, dict) else None

    @staticmethod
    def is_explicit(problem: ResponseError) -> bool:
        """Whether the server itself named a problem, rather than that something is missing."""
        return str(problem).startswith(("HTTP ", "stream error"))


def _count(value: Any) -> int | None:
    """A number of tokens, as far as that is one."""
    return value if type(value) is int and 0 <= value < _NO_COUNT else None


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


def _frame_of(data: bytes, choices: Any) -> tuple[bytes, bytes]:
    """What surrounds the text of an event that has nothing else to tell; empty if it is not that simple.

    Any event that differs from this one in nothing but the plain characters of a JSON string means the same
    with another text.
    """
    if isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], dict):
        text = _content(choices[0]).encode(errors="replace")
        quoted = b'"' + text + b'"'
        if _PLAIN.fullmatch(text) and data.count(quoted) == 1:
            before, _, after = data.partition(quoted)
            if before.rstrip().endswith((b'"text":', b'"content":')):
                return before + b'"', b'"' + after
    return b"", b""
