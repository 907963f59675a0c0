"""Workloads in, traces out: what drives one server."""

from __future__ import annotations

import functools
import itertools
import math
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from pytest_llmperf.declare.dataset import Dataset
from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.protocol import MOMENTS, TOTALS, Description, Engine
from pytest_llmperf.errors import EngineDied, EngineError, NotReadyYet
from pytest_llmperf.load.capacity import processes_for
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.dialect import Dialect, Note
from pytest_llmperf.load.gauge import Gauge, Moment
from pytest_llmperf.load.health import Health, examine
from pytest_llmperf.load.job import Job
from pytest_llmperf.load.loop import Watch
from pytest_llmperf.load.requests import Requests, path_of
from pytest_llmperf.load.schedule import arrival_offsets, peak_rate
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.workers import perform, perform_at
from pytest_llmperf.places.protocol import Vantage

# The same lengths in every burst, or their medians would differ for no reason of the server's.
_BURST_SEED = 0
_MOST_STOCK = 20_000
_FIRST = Workload(input_tokens=16, output_tokens=8)
_FIRST_CHAT = Workload(input_tokens=512, output_tokens=8, chat=True)  # a template may take hundreds
_REFUSALS = ("HTTP 400", "HTTP 422")
_CLUMSY_REFUSALS = ("HTTP 500", "reset", "truncated")
_OTHER_ANSWERS = ("no usage", "token count")


@dataclass(frozen=True)
class LoadRun:
    """One load point driven once: what each request did, and how the generator did.

    ``counters``: by how much the engine's own totals grew; ``moments``: how busy it was before the first
    request, by its own word. What it does not count is missing. ``busy`` is how that went on, as far as
    somebody else asked: this process drives the load. ``gave_up``: sent less than asked, because the engine's
    queue grew without bound.
    """

    traces: tuple[Trace, ...]
    started_ns: int
    health: Health
    counters: Mapping[str, float]
    moments: Mapping[str, float]
    busy: tuple[Moment, ...] = ()
    gave_up: bool = False


class Client:
    """Drives load against one ready server.

    ``workers`` processes share a run (None: as many as the load takes), on this machine or at ``vantage``;
    ``target`` is the server as seen from there. ``is_fresh``: nobody has asked this
    server anything before. ``watch(sent, ended)`` is called while a run is under way; what it raises ends the
    run. ``note`` is told what cannot be had here and the client then does without; with None, that is an
    error. ``gauge`` asks the engine how busy it is meanwhile.
    """

    def __init__(
        self,
        target: Target,
        control: httpx.Client,
        engine: Engine,
        description: Description,
        *,
        timeout_s: float,
        workers: int | None = None,
        vantage: Vantage | None = None,
        is_fresh: bool = True,
        watch: Watch = lambda sent, ended: None,
        note: Note | None = None,
        gauge: Gauge | None = None,
    ) -> None:
        self._gauge = gauge or Gauge(engine, "", None)
        self._target, self._control = target, control
        self._engine, self._description = engine, description
        self._timeout_s, self._workers, self._watch, self._note = timeout_s, workers, watch, note
        self._cores = vantage.cores if vantage else None
        self._perform = functools.partial(perform_at, vantage) if vantage else perform
        self._is_fresh = is_fresh
        self._used: Counter[Dataset | None] = Counter()
        self._used_to_warm_up: Counter[Dataset | None] = Counter()
        self._dialect = Dialect(control, engine, description, timeout_s=timeout_s, note=note)

    def first_answer(self, chat: bool | None = None) -> Trace:
        """Generate one short answer, and learn on the way what the server takes.

        Token ids and the fields for an exact length are given up, in this order, if the server rejects a
        request over them; a server without completions is asked for a chat, unless ``chat`` says which of
        the two it has to be. Raises :class:`EngineError` if no answer is as asked, and as
        :class:`NotReadyYet` if that may change by itself.
        """
        refusals = _REFUSALS if self._note is None else (*_REFUSALS, *_CLUMSY_REFUSALS)
        tried: list[str] = []
        kind: str | None = None
        for workload in (_FIRST, _FIRST_CHAT) if chat is None else (_FIRST_CHAT if chat else _FIRST,):
            for exact, ids in itertools.product((True, False), (True, False)):
                if ids and (workload.chat or self._description.token_ids is None):
                    continue
                self._dialect.takes_exact_length, self._dialect.takes_token_ids = exact, ids
                how = (
                    path_of(workload.chat),
                    *(["token ids"] if ids else []),
                    *([] if exact else ["max_tokens alone"]),
                )
                try:
                    trace = self.burst(workload, count=1)[0]
                except EngineDied:
                    raise
                except EngineError as error:
                    tried.append(f"{', '.join(how)}: {error}")
                    continue  # words of one token may not be had where token ids are taken
                if self._will_do(trace):
                    return trace
                tried.append(f"{', '.join(how)}: {trace.error}")
                kind = trace.error_kind
                if kind not in refusals:
                    break
            if kind not in (None, "HTTP 404", "HTTP 405"):
                break
        problem = NotReadyYet if kind == "HTTP 503" else EngineError
        raise problem("\n  ".join(("the first streamed answer was not as asked", *tried)))

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
            self._dialect.knows_prompt_lengths = False
        return True

    def burst(self, workload: Workload, count: int, concurrency: int | None = None) -> list[Trace]:
        """``count`` requests in a closed loop, all at once unless ``concurrency`` says less; of conversations
        the first turns, of a data set prompts from its end."""
        first = -1 - self._used_to_warm_up[workload.dataset_file]
        if workload.dataset_file is not None:
            self._used_to_warm_up[workload.dataset_file] += count
        job = self._job(
            workload,
            _BURST_SEED,
            concurrency=min(count, concurrency or count),
            count=count,
            first=first,
            step=-1,
            is_single=True,
        )
        return list(self._perform(job, 1, self._watch).traces)

    def run(
        self,
        workload: Workload,
        point: LoadPoint,
        seed: int,
        latency_s: float | None = None,
        *,
        gives_up: bool = False,
    ) -> LoadRun:
        """Drive one load point, its arrivals and lengths from ``seed``, the contents of its prompts from
        nowhere but this moment; of a data set those that no run before had, as far as there are any.
        ``latency_s``: how long a request takes, as far as that is known. ``gives_up``: an open loop is to end
        early where the engine cannot keep up."""
        before = self._engine.counters(self._control)
        if point.concurrency is not None:
            rate = point.concurrency / latency_s if latency_s else 0.0
            job = self._job(
                workload,
                seed,
                concurrency=point.concurrency,
                duration_s=point.duration_s,
                count=point.requests,
                first=self._used[workload.dataset_file],
                stock=_stock(rate, point),
            )
        else:
            traced = workload.trace_file.requests if workload.trace_file else ()
            offsets = arrival_offsets(point, seed, [request.at_s for request in traced]).tolist()
            bearable = point.mean_rate if gives_up else None
            first = self._used[workload.dataset_file]
            job = self._job(workload, seed, offsets_s=offsets, first=first, bearable_rate=bearable)
            rate = peak_rate(offsets) * workload.turns
        self._gauge.begin(point.expected_s)
        try:
            outcome = self._perform(job, self._workers or self._processes(workload, rate), self._watch)
        finally:
            busy = self._gauge.end()
        if workload.dataset_file is not None:
            self._used[workload.dataset_file] = 1 + max(trace.request.number for trace in outcome.traces)
        after = self._engine.counters(self._control)
        grown = {name: after[name] - before.get(name, 0.0) for name in TOTALS if name in after}
        moments = {name: before[name] for name in MOMENTS if name in before}
        is_open_loop = point.concurrency is None
        health = examine(outcome.account, outcome.traces, is_open_loop=is_open_loop, counted=grown)
        started_ns, gave_up = outcome.account.started_ns, outcome.gave_up
        return LoadRun(outcome.traces, started_ns, health, grown, moments, busy, gave_up)

    def _unused(self, dataset: Dataset | None) -> int:
        """How many prompts of a data set, from its start, this server has surely not seen, but for the runs
        that came before."""
        if dataset is None or not self._is_fresh:
            return 0
        return len(dataset.prompts) - self._used_to_warm_up[dataset]

    def _processes(self, workload: Workload, rate: float) -> int:
        tokens_per_s = rate * workload.mean_output_tokens
        is_secure = self._target.tls is not None
        return processes_for(tokens_per_s, rate, is_secure=is_secure, cores=self._cores)

    def _job(self, workload: Workload, seed: int, **load: Any) -> Job:
        """One run of its own, with prompts that no other has."""
        dialect = self._dialect
        requests = Requests(
            self._target,
            self._description.model,
            workload,
            dialect.prompts(workload),
            dialect.length_fields,
            seed,
            run_key=secrets.token_hex(16),
            knows_lengths=dialect.knows_prompt_lengths,
            unused=self._unused(workload.dataset_file),
        )
        # A stream event is some 200 to 500 bytes; far beyond that, it is no answer to this request.
        limit_bytes = 1_000_000 + 20_000 * workload.most_output_tokens
        return Job(self._target, requests, self._timeout_s, limit_bytes, **load)


def _stock(rate: float, point: LoadPoint) -> int:
    """How many requests of a closed loop to build beforehand: all of them, as far as that can be known."""
    expected = math.inf if point.duration_s is None else 2 * rate * point.duration_s
    return int(min(_MOST_STOCK, expected, point.requests or math.inf))
