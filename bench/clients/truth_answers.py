"""What the truth server reads and what it answers, as bytes."""

from __future__ import annotations

import functools
import hashlib
import json
import time
import uuid
from array import array
from dataclasses import dataclass, field
from typing import Any

MODEL = "truth"
_END_OF_CHUNKS = b"0\r\n\r\n"
_CREATED = int(time.time())
_ID = uuid.uuid4().hex


@dataclass(slots=True)
class Request:
    """A request as it was read, and for a streamed completion what was written for it."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    arrived_ns: int
    read_ns: int
    token_ns: array[int] = field(default_factory=lambda: array("q"))

    @property
    def is_chat(self) -> bool:
        return self.path.endswith("/chat/completions")

    @property
    def max_tokens(self) -> int:
        return int(self.body.get("max_completion_tokens") or self.body.get("max_tokens") or 16)

    @property
    def ends_connection(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"

    def prompt(self) -> str | list[int]:
        if self.is_chat:
            return " ".join(_text_of(message.get("content")) for message in self.body["messages"])
        prompt = self.body.get("prompt", "")
        return prompt if isinstance(prompt, list) else str(prompt)

    def usage(self) -> dict[str, int]:
        prompt = self.prompt()
        count = len(prompt) if isinstance(prompt, list) else len(prompt.split()) + 3 * self.is_chat
        answer = self.max_tokens
        return {"prompt_tokens": count, "completion_tokens": answer, "total_tokens": count + answer}

    def as_record(self) -> dict[str, object]:
        prompt = json.dumps(self.prompt())
        return {
            "id": self.headers.get("x-request-id", ""),
            "prompt": prompt[:60],
            "prompt_sha256": hashlib.sha256(prompt.encode()).hexdigest(),
            "arrived_ns": self.arrived_ns,
            "read_ns": self.read_ns,
            "asked": self.max_tokens,
            "token_ns": self.token_ns.tolist(),
        }


def _text_of(content: object) -> str:
    """The text of a chat message, whose content may come in parts."""
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content)
    return str(content or "")


def _event(data: object) -> bytes:
    """A server-sent event in an HTTP chunk of its own."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    line = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(line), line)


def _envelope(is_chat: bool, choices: list[dict[str, object]]) -> dict[str, object]:
    kind = "chat.completion.chunk" if is_chat else "text_completion"
    prefix = "chatcmpl" if is_chat else "cmpl"
    return {
        "id": f"{prefix}-{_ID}",
        "object": kind,
        "created": _CREATED,
        "model": MODEL,
        "choices": choices,
    }


def _choice(is_chat: bool, index: int, is_last: bool) -> dict[str, object]:
    said: dict[str, object] = {"delta": {"content": f" t{index}"}} if is_chat else {"text": f" t{index}"}
    reason = "length" if is_last else None
    return {"index": 0, **said, "logprobs": None, "finish_reason": reason, "stop_reason": None}


@functools.cache
def token_chunks(is_chat: bool, count: int) -> tuple[bytes, ...]:
    """The events of an answer's tokens; the same for all answers of this length."""
    return tuple(
        _event(_envelope(is_chat, [_choice(is_chat, index, index == count - 1)])) for index in range(count)
    )


def stream_start(request: Request, role_event: bool) -> bytes:
    """What is sent at once: the head, as engines do, and the empty first event of chat if it is asked for."""
    ending = "close" if request.ends_connection else "keep-alive"
    head = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
        f"Connection: {ending}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ).encode()
    if not (role_event and request.is_chat):
        return head
    delta = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
    return head + _event(_envelope(True, [delta]))


def stream_end(request: Request) -> bytes:
    """What follows the last token."""
    options = request.body.get("stream_options") or {}
    end = _event("[DONE]") + _END_OF_CHUNKS
    if not options.get("include_usage"):
        return end
    return _event({**_envelope(request.is_chat, []), "usage": request.usage()}) + end


def json_answer(request: Request, body: object, status: str = "200 OK") -> bytes:
    content = json.dumps(body).encode()
    ending = "close" if request.ends_connection else "keep-alive"
    lines = ("Content-Type: application/json", f"Content-Length: {len(content)}", f"Connection: {ending}")
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode() + content


def plain_answer(request: Request) -> bytes:
    """The answer to anything but a streamed completion."""
    if request.method == "GET" and request.path == "/v1/models":
        model = {"id": MODEL, "object": "model", "created": _CREATED, "owned_by": MODEL}
        return json_answer(request, {"object": "list", "data": [model]})
    if request.method == "GET" and request.path == "/health":
        return json_answer(request, {})
    if request.method == "GET" and request.path == "/version":
        return json_answer(request, {"version": "0"})
    if request.method == "POST" and request.path.endswith("/completions"):
        text = "".join(f" t{index}" for index in range(request.max_tokens))
        said: dict[str, object] = (
            {"message": {"role": "assistant", "content": text}} if request.is_chat else {"text": text}
        )
        choice = {"index": 0, **said, "finish_reason": "length"}
        answer = {**_envelope(request.is_chat, [choice]), "usage": request.usage()}
        return json_answer(request, answer)
    error = {"error": {"message": f"no {request.method} {request.path} here"}}
    return json_answer(request, error, "404 Not Found")
