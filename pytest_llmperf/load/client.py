"""Workloads in, traces out: what drives one server."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.openai import ask, excerpt
from pytest_llmperf.engines.protocol import Description, Engine
from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.decode import Trace, decode
from pytest_llmperf.load.driver import Drive, Driver
from pytest_llmperf.load.health import Health, examine
from pytest_llmperf.load.prompts import Prompts, TokenIdPrompts, WordPrompts, calibrate_words
from pytest_llmperf.load.requests import LENGTH, Requests, asking, path_of
from pytest_llmperf.load.schedule import arrival_offsets
from pytest_llmperf.load.target import Target

# The same lengths in every burst, or their medians would differ for no reason of the server's.
_BURST_SEED = 0
_FIRST = Workload(input_tokens=16, output_tokens=8)
_FIRST_CHAT = Workload(input_tokens=512, output_tokens=8, chat=True)  # a template may take hundreds


@dataclass(frozen=True)
class LoadRun:
    """One load point driven once: what each request did, and how the generator did."""

    traces: tuple[Trace, ...]
    started_ns: int
    health: Health


class Client:
    """Drives load against one ready server.

    ``watch(sent, ended)`` is called while a run is under way; what it raises ends the run.
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
    ) -> None:
        self._target, self._control = target, control
        self._engine, self._description = engine, description
        self._timeout_s, self._watch = timeout_s, watch
        self._sends_exact_length = True
        self._takes_token_ids = description.token_ids is not None
        self._words: dict[bool, Prompts] = {}

    def first_answer(self) -> Trace:
        """Generate one short answer, and learn on the way what the server takes.

        Token ids and the fields for an exact length are given up, in this order, if the server rejects a
        request over them; a server without completions is asked for a chat. Raises :class:`EngineError` if
        no answer is as asked.
        """
        tried: list[str] = []
        kind: str | None = None
        for workload in (_FIRST, _FIRST_CHAT):
            for exact, ids in itertools.product((True, False), (True, False)):
                if ids and (workload.chat or self._description.token_ids is None):
                    continue
                self._sends_exact_length, self._takes_token_ids = exact, ids
                how = (
                    path_of(workload.chat),
                    *(["token ids"] if ids else []),
                    *([] if exact else ["max_tokens alone"]),
                )
                try:
                    trace = self.burst(workload, count=1)[0]
                except EngineError as error:
                    tried.append(f"{', '.join(how)}: {error}")
                    continue  # words of one token may not be had where token ids are taken
                if trace.error is None:
                    return trace
                tried.append(f"{', '.join(how)}: {trace.error}")
                kind = trace.error_kind
                if kind not in ("HTTP 400", "HTTP 422"):
                    break
            if kind not in ("HTTP 404", "HTTP 405"):
                break
        raise EngineError("\n  ".join(("the first streamed answer was not as asked", *tried)))

    def burst(self, workload: Workload, count: int, concurrency: int | None = None) -> list[Trace]:
        """``count`` requests in a closed loop, all at once unless ``concurrency`` says less."""
        driver = self._driver(workload)
        drive = driver.closed_loop(
            iter(self._requests(workload, _BURST_SEED)),
            min(count, concurrency or count),
            duration_s=None,
            count=count,
        )
        return [decode(exchange) for exchange in drive.exchanges]

    def run(self, workload: Workload, point: LoadPoint, seed: int) -> LoadRun:
        """Drive one load point, its arrivals and lengths from ``seed``, the contents of its prompts from
        nowhere but this moment."""
        drive = self._drive(workload, point, seed)
        traces = tuple(decode(exchange) for exchange in drive.exchanges)
        health = examine(drive.account, traces, is_open_loop=point.concurrency is None)
        return LoadRun(traces, drive.account.started_ns, health)

    def _drive(self, workload: Workload, point: LoadPoint, seed: int) -> Drive:
        driver, requests = self._driver(workload), iter(self._requests(workload, seed))
        if point.concurrency is not None:
            return driver.closed_loop(
                requests, point.concurrency, duration_s=point.duration_s, count=point.requests
            )
        traced = workload.trace_file.requests if workload.trace_file else ()
        offsets = arrival_offsets(point, seed, [request.at_s for request in traced])
        return driver.open_loop(list(itertools.islice(requests, len(offsets))), offsets.tolist())

    def _driver(self, workload: Workload) -> Driver:
        # A stream event is some 200 to 500 bytes; far beyond that, it is no answer to this request.
        limit_bytes = 1_000_000 + 20_000 * workload.most_output_tokens
        return Driver(self._target, timeout_s=self._timeout_s, limit_bytes=limit_bytes, watch=self._watch)

    def _requests(self, workload: Workload, seed: int) -> Requests:
        """Those of a new run."""
        exact = self._sends_exact_length
        return Requests(
            self._target,
            self._description.model,
            workload,
            self._prompts(workload),
            self._engine.exact_length(LENGTH) if exact else {"max_tokens": LENGTH},
            seed,
            run_key=secrets.token_hex(16),
        )

    def _prompts(self, workload: Workload) -> Prompts:
        if workload.dataset_file is not None:
            # It brings its own words; only what every prompt has in common is to be known.
            return WordPrompts((), self._count_tokens(WORDS[0], chat=workload.chat))
        ids = self._description.token_ids
        if not workload.chat and self._takes_token_ids and ids is not None:
            return TokenIdPrompts(ids)
        if workload.chat not in self._words:
            self._words[workload.chat] = calibrate_words(
                lambda text: self._count_tokens(text, chat=workload.chat)
            )
        return self._words[workload.chat]

    def _count_tokens(self, text: str, *, chat: bool) -> int:
        path = path_of(chat)
        body = {
            "model": self._description.model,
            **asking(text, chat),
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
