"""Workloads in, traces out: what drives one server."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import httpx

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.openai import ask, excerpt
from pytest_llmperf.engines.protocol import Description, Engine
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.decode import Trace, decode
from pytest_llmperf.load.driver import Drive, Driver
from pytest_llmperf.load.health import Health, examine
from pytest_llmperf.load.prompts import Prompts, RoughPrompts, TokenIdPrompts, calibrate_words
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.schedule import arrival_offsets
from pytest_llmperf.load.target import Target

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
_FIRST = Workload(input_tokens=16, output_tokens=8)
_FIRST_CHAT = Workload(input_tokens=512, output_tokens=8, chat=True)  # a template may take hundreds
_REFUSALS = ("HTTP 400", "HTTP 422")
_CLUMSY_REFUSALS = ("HTTP 500", "reset", "truncated")
_OTHER_ANSWERS = ("no usage", "token count")


@dataclass(frozen=True)
class LoadRun:
    """One load point driven once: what each request did, and how the generator did."""

    traces: tuple[Trace, ...]
    started_ns: int
    health: Health


class Client:
    """Drives load against one ready server.

    ``watch(sent, ended)`` is called while a run is under way; what it raises ends the run. ``note`` is told
    what cannot be had here and the client then does without; with None, that is an error.
    """

    def __init__(
        self,
        target: Target,
        control: httpx.Client,
        engine: Engine,
        description: Description,
        *,
        timeout_s: float,
        watch: Callable[[int, int], None] = lambda sent, ended: None,
        note: Callable[[str], None] | None = None,
    ) -> None:
        self._target, self._control = target, control
        self._engine, self._description = engine, description
        self._timeout_s, self._watch = timeout_s, watch
        self._note = note
        self._sends_exact_length = self._knows_prompt_lengths = True
        self._takes_token_ids = description.token_ids is not None
        self._words: dict[bool, Prompts] = {}

    def first_answer(self, chat: bool | None = None) -> Trace:
        """Generate one short answer, and learn on the way what the server takes.

        Token ids and the fields for an exact length are given up, in this order, if the server rejects a
        request over them; a server without completions is asked for a chat, unless ``chat`` says which of
        the two it has to be. Raises :class:`EngineError` if no answer is as asked.
        """
        refusals = _REFUSALS if self._note is None else (*_REFUSALS, *_CLUMSY_REFUSALS)
        tried: list[str] = []
        kind: str | None = None
        for workload in (_FIRST, _FIRST_CHAT) if chat is None else (_FIRST_CHAT if chat else _FIRST,):
            for exact, ids in itertools.product((True, False), (True, False)):
                if ids and (workload.chat or self._description.token_ids is None):
                    continue
                self._sends_exact_length, self._takes_token_ids = exact, ids
                how = (
                    _path(workload.chat),
                    *(["token ids"] if ids else []),
                    *([] if exact else ["max_tokens alone"]),
                )
                try:
                    trace = self.burst(workload, count=1)[0]
                except EngineError as error:
                    tried.append(f"{', '.join(how)}: {error}")
                    continue  # words of one token may not be had where token ids are taken
                if self._will_do(trace):
                    return trace
                tried.append(f"{', '.join(how)}: {trace.error}")
                kind = trace.error_kind
                if kind not in refusals:
                    break
            if kind not in ("HTTP 404", "HTTP 405"):
                break
        raise EngineError("\n  ".join(("the first streamed answer was not as asked", *tried)))

    def _will_do(self, trace: Trace) -> bool:
        """Whether to go on after this first answer."""
        if self._note is None:
            return trace.error is None
        if trace.error is not None:
            if not trace.token_ns or trace.error_kind not in _OTHER_ANSWERS:
                return False
            self._note(f"the first answer was not as asked ({trace.error})")
        sent, counted = trace.request.prompt_tokens, trace.prompt_tokens
        if None not in (sent, counted) and sent != counted:
            self._note(f"prompt lengths are not verified: the server counts {sent} tokens as {counted}")
            self._knows_prompt_lengths = False
        return True

    def burst(self, workload: Workload, count: int, concurrency: int | None = None) -> list[Trace]:
        """``count`` requests in a closed loop, all at once unless ``concurrency`` says less."""
        driver = self._driver(workload)
        drive = driver.closed_loop(
            self._requests(workload), min(count, concurrency or count), duration_s=None, count=count
        )
        return [decode(exchange) for exchange in drive.exchanges]

    def run(self, workload: Workload, point: LoadPoint, seed: int) -> LoadRun:
        """Drive one load point, its arrivals from ``seed``, its prompts from nowhere but this moment."""
        drive = self._drive(workload, point, seed)
        traces = tuple(decode(exchange) for exchange in drive.exchanges)
        health = examine(drive.account, traces, is_open_loop=point.rate is not None)
        return LoadRun(traces, drive.account.started_ns, health)

    def _drive(self, workload: Workload, point: LoadPoint, seed: int) -> Drive:
        driver, requests = self._driver(workload), self._requests(workload)
        if point.concurrency is not None:
            return driver.closed_loop(
                requests, point.concurrency, duration_s=point.duration_s, count=point.requests
            )
        offsets = arrival_offsets(point, seed)
        return driver.open_loop(list(itertools.islice(requests, len(offsets))), offsets.tolist())

    def _driver(self, workload: Workload) -> Driver:
        # A stream event is some 200 to 500 bytes; far beyond that, it is no answer to this request.
        limit_bytes = 1_000_000 + 20_000 * workload.output_tokens
        return Driver(self._target, timeout_s=self._timeout_s, limit_bytes=limit_bytes, watch=self._watch)

    def _requests(self, workload: Workload) -> Iterator[Request]:
        prompts = self._prompts(workload)
        rng = random.Random(secrets.randbits(128))
        run_id = secrets.token_hex(4)
        for number in itertools.count():
            prompt = prompts.make(workload.input_tokens, rng)
            body = {
                "model": self._description.model,
                **_asking(prompt, workload.chat),
                "stream": True,
                "stream_options": {"include_usage": True},
                "temperature": 0,
                **self._length(workload.output_tokens),
            }
            name = f"llmperf-{run_id}-{number}"
            yield Request(
                name,
                self._target.request(_path(workload.chat), body, name),
                workload.output_tokens,
                workload.input_tokens if self._knows_prompt_lengths else None,
                prompts.shared_tokens,
            )

    def _length(self, output_tokens: int) -> Mapping[str, object]:
        if self._sends_exact_length:
            return self._engine.exact_length(output_tokens)
        return {"max_tokens": output_tokens}

    def _prompts(self, workload: Workload) -> Prompts:
        ids = self._description.token_ids
        if not workload.chat and self._takes_token_ids and ids is not None:
            return TokenIdPrompts(ids)
        if workload.chat not in self._words:
            self._words[workload.chat] = self._calibrated(workload.chat)
        return self._words[workload.chat]

    def _calibrated(self, chat: bool) -> Prompts:
        try:
            return calibrate_words(lambda text: self._count_tokens(text, chat=chat))
        except EngineError as error:
            if self._note is None:
                raise
            self._note(f"prompt lengths are not verified: a token is taken for a common word ({error})")
            self._knows_prompt_lengths = False
            return RoughPrompts()

    def _count_tokens(self, text: str, *, chat: bool) -> int:
        path = _path(chat)
        body = {
            "model": self._description.model,
            **_asking(text, chat),
            "max_tokens": 1,
        }
        try:
            answer = ask(self._control, "POST", path, body=body, timeout_s=self._timeout_s)
            count = answer.json()["usage"]["prompt_tokens"]
        except httpx.HTTPError as error:
            raise EngineError(f"POST {path}: {type(error).__name__}: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise EngineError(
                f"POST {path}: HTTP {answer.status_code}, no usage.prompt_tokens: {excerpt(answer.text)}"
            ) from None
        if isinstance(count, bool) or not isinstance(count, int):
            raise EngineError(f"POST {path}: usage.prompt_tokens is {count!r}")
        return count


def _path(chat: bool) -> str:
    return CHAT if chat else COMPLETIONS


def _asking(prompt: str | list[int], chat: bool) -> Mapping[str, object]:
    """The field of a request that carries the prompt."""
    return {"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt}
