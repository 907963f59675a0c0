"""A source of requests that worker processes can take along."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target


@dataclass(frozen=True)
class Numbered:
    """Requests ``r-0``, ``r-1`` … of ``tokens`` tokens; ``broken_from``: this one cannot be made, by
    a mistake of ours, and ``refused_from`` by none."""

    target: Target
    tokens: int = 4
    turns: int = 1
    broken_from: int = 1_000_000
    refused_from: int = 1_000_000

    def make(self, number: int) -> Request:
        if number >= self.broken_from:
            raise RuntimeError(f"no request {number}")
        if number >= self.refused_from:
            raise EngineError(f"prompt {number} cannot be had")
        return self._request(f"r-{number}", turn=1)

    def after(self, request: Request, answer: str | None) -> tuple[Request, float] | None:
        turn = int(request.id.rpartition("-t")[2]) if "-t" in request.id else 1
        if answer is None or turn == self.turns:
            return None
        return self._request(f"{request.id.partition('-t')[0]}-t{turn + 1}", turn + 1), 0.0

    def _request(self, name: str, turn: int) -> Request:
        body = {"prompt": [5, 6], "stream": True, "max_tokens": self.tokens}
        payload = self.target.request("/v1/completions", body, name)
        return Request(name, payload, self.tokens, expects_more=turn < self.turns)
