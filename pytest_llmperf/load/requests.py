"""From a workload to the requests of one run."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pytest_llmperf.declare.dataset import Dataset
from pytest_llmperf.declare.lengths import draw_length
from pytest_llmperf.declare.trace_file import BLOCK_TOKENS, TraceFile
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.prompts import Prompts
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.target import Target

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
LENGTH = 1_234_567
"""Stands for the number of output tokens in ``Requests.length_fields``."""
ANY = 1 << 40


@dataclass(frozen=True)
class Requests:
    """The source of the requests of one run; it can be pickled.

    What they look like comes from ``seed`` (lengths, which prefix), and what they
    say from ``run_key``, a fresh secret of the run. Request k is the same whoever makes it, so several
    processes can share a run. ``length_fields`` are those of the body that make an answer exactly ``LENGTH``
    tokens long. ``knows_lengths``: whether the server counts the prompts' tokens as they were made.
    ``unused``: the numbers below it are prompts of a data set that the server has not seen.
    """

    target: Target
    model: str
    workload: Workload
    prompts: Prompts
    length_fields: Mapping[str, object]
    seed: int
    run_key: str
    knows_lengths: bool = True
    unused: int = 0

    def make(self, number: int) -> Request:
        """Request ``number``, or the first turn of that conversation; 0, 1, … of a run, −1, −2, … to warm up.

        Raises :class:`~pytest_llmperf.errors.EngineError` if a prompt of its length cannot be made.
        """
        if self.workload.dataset_file is not None:
            return self._quoted(self.workload.dataset_file, number)
        if self.workload.trace_file is not None:
            return self._traced(self.workload.trace_file, number)
        input_tokens, output_tokens = self._lengths(number, turn=1)
        begin = self._prefix(number)
        if begin and input_tokens < (least := self.prompts.least_tokens + len(begin)):
            raise EngineError(
                f"input_tokens={input_tokens} cannot be had after a prefix of {len(begin)}: ask for at least "
                f"{least}"
            )
        prompt = self.prompts.make(input_tokens, self._fresh(number, 1), begin)
        shared = self.prompts.shared_tokens + len(begin)
        return self._request(asking(prompt, self.workload.chat), number, output_tokens, input_tokens, shared)

    def after(self, request: Request, answer: str | None) -> tuple[Request, float] | None:
        """The next turn of a request's conversation and how many seconds after the answer it is due.

        None where there is none, and after an ``answer`` of None, which failed.
        """
        turn = request.turn + 1
        if answer is None or turn > self.workload.turns:
            return None
        asked = json.loads(request.payload.partition(b"\r\n\r\n")[2])["messages"]
        input_tokens, output_tokens = self._lengths(request.number, turn)
        prompt = self.prompts.make(input_tokens, self._fresh(request.number, turn))
        told = {"role": "assistant", "content": answer}
        messages = [*asked, told, {"role": "user", "content": prompt}]
        # All that went before may be known. What the engine will count for the answer is not certain, but
        # a token has at least one byte.
        before = request.prompt_tokens
        if before is None:
            before = request.shared_tokens + self._lengths(request.number, request.turn)[0]
        shared = before + max(request.output_tokens, len(answer.encode("utf-8", "surrogatepass")))
        following = self._request(
            {"messages": messages}, request.number, output_tokens, None, shared, turn=turn
        )
        return following, self.workload.think_s

    # -- three kinds of workloads -------------------------------------------------------------------

    def _lengths(self, number: int, turn: int) -> tuple[int, int]:
        """Tokens of the prompt and of the answer, the same in every run of the test."""
        workload, rng = self.workload, random.Random(f"{self.seed} lengths {number} {turn}")
        assert workload.input_tokens is not None
        assert workload.output_tokens is not None
        return draw_length(workload.input_tokens, rng), draw_length(workload.output_tokens, rng)

    def _prefix(self, number: int) -> list[Any]:
        """The pieces that the prompt begins with."""
        tokens = self.workload.shared_prefix_tokens
        if not tokens:
            return []
        which = random.Random(f"{self.seed} prefix {number}").randrange(self.workload.prefixes)
        return self.prompts.draw(tokens, random.Random(f"{self.run_key} prefix {which}"))

    def _traced(self, trace: TraceFile, number: int) -> Request:
        """A request of the trace, in its order; after the last one it begins anew with fresh contents."""
        again, index = divmod(number, len(trace.requests))
        traced = trace.requests[index]
        blocks = (random.Random(f"{self.run_key} block {again} {hash_id}") for hash_id in traced.hash_ids)
        begin = [piece for rng in blocks for piece in self.prompts.draw(BLOCK_TOKENS, rng)]
        input_tokens = max(traced.input_tokens, self.prompts.least_tokens)
        prompt = self.prompts.make(input_tokens, self._fresh(number, 1), begin)
        shared = self.prompts.shared_tokens + BLOCK_TOKENS * traced.shared_blocks
        body = asking(prompt, self.workload.chat)
        return self._request(body, number, traced.output_tokens, input_tokens, shared)

    def _quoted(self, dataset: Dataset, number: int) -> Request:
        """A prompt of the data set, always in the same order; after the last one it begins anew."""
        prompt = dataset.prompts[self._order[number % len(self._order)]]
        output_tokens = prompt.output_tokens
        if output_tokens is None:
            assert self.workload.output_tokens is not None
            rng = random.Random(f"{self.seed} lengths {number} 1")
            output_tokens = draw_length(self.workload.output_tokens, rng)
        is_text = prompt.messages is None
        body = asking(prompt.text, self.workload.chat) if is_text else {"messages": prompt.messages}
        # What prompts that nobody sent before have in common, they have in common in real life as well.
        shared = ANY if 0 <= number < self.unused else self.prompts.shared_tokens
        return self._request(body, number, output_tokens, None, shared, is_quoted=True)

    @cached_property
    def _order(self) -> list[int]:
        assert self.workload.dataset_file is not None
        size = len(self.workload.dataset_file.prompts)
        return random.Random(self.workload.dataset_file.file.digest).sample(range(size), size)

    # -- one request --------------------------------------------------------------------------------

    def _fresh(self, number: int, turn: int) -> random.Random:
        return random.Random(f"{self.run_key} {number} {turn}")

    def _request(
        self,
        prompt: Mapping[str, object],
        number: int,
        output_tokens: int,
        prompt_tokens: int | None,
        shared_tokens: int,
        turn: int = 1,
        is_quoted: bool = False,
    ) -> Request:
        body = {
            "model": self.model,
            **prompt,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": 0,
            **dict(self.workload.sampling),
            **_exact(self.length_fields, output_tokens),
        }
        name = f"llmperf-{self.run_key[:8]}-" + (f"{number}" if number >= 0 else f"w{-1 - number}")
        if self.workload.turns > 1:
            name += f"-t{turn}"
        return Request(
            name,
            self.target.request(path_of(self.workload.chat), body, name),
            output_tokens,
            prompt_tokens if self.knows_lengths else None,
            shared_tokens,
            expects_more=turn < self.workload.turns,
            number=number,
            turn=turn,
            is_quoted=is_quoted,
        )


def _exact(value: Any, output_tokens: int) -> Any:
    """``value`` with the number of output tokens wherever ``LENGTH`` stands for it."""
    if isinstance(value, Mapping):
        return {name: _exact(one, output_tokens) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(one, output_tokens) for one in value]
    return output_tokens if value == LENGTH else value


def path_of(chat: bool) -> str:
    return CHAT if chat else COMPLETIONS


def asking(prompt: str | list[int] | None, chat: bool) -> Mapping[str, object]:
    """The field of a request that carries the prompt."""
    return {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
