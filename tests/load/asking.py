"""Short ways to send requests to a server of the tests."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator

from pytest_llmperf.load.decode import Trace, decode
from pytest_llmperf.load.driver import Driver, Then
from pytest_llmperf.load.exchange import Exchange
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target

TOKENS = 4


def ask(target: Target, number: int = 0, tokens: int = TOKENS, chat: bool = False) -> Request:
    prompt = {"messages": [{"role": "user", "content": "the end"}]} if chat else {"prompt": [5, 6]}
    path = "/v1/chat/completions" if chat else "/v1/completions"
    body = {**prompt, "stream": True, "max_tokens": tokens}
    return Request(f"r-{number}", target.request(path, body, f"r-{number}"), tokens)


def asking(target: Target, tokens: int = TOKENS) -> Iterator[Request]:
    return (ask(target, number, tokens) for number in itertools.count())


def saying(target: Target, response: bytes, tokens: int = 1) -> Request:
    """A request that contains its response, for the script ``say``."""
    body = {"say": base64.b64encode(response).decode()}
    return Request("r-0", target.request("/v1/completions", body, "r-0"), tokens)


def driver(
    target: Target,
    timeout_s: float = 30.0,
    limit_bytes: int = 1_000_000,
    watch: Callable[[int, int], None] = lambda sent, ended: None,
    then: Then = lambda ended: None,
) -> Driver:
    return Driver(target, timeout_s=timeout_s, limit_bytes=limit_bytes, watch=watch, then=then)


def exchange_with(target: Target, request: Request, timeout_s: float = 30.0) -> Exchange:
    return driver(target, timeout_s).open_loop([request], [0.0]).exchanges[0]


def answer_of(url: str, *, chat: bool = False, timeout_s: float = 30.0) -> Trace:
    """One streamed answer, decoded."""
    target = Target.of(url)
    return decode(exchange_with(target, ask(target, chat=chat), timeout_s))
