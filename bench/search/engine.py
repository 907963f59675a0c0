"""A simulated engine with continuous batching: seconds of its time cost milliseconds."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pytest_llmperf.measure.timeline import Timeline

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Engine:
    """Each step gives every running sequence a token and spends what is left of ``budget`` tokens on prompts,
    first come, first served, with ``max_seqs`` sequences at most (Yu et al., Orca, 2022; Agrawal et al.,
    Sarathi-Serve, 2024, for the chunks).

    A step takes ``step_ms`` + ``sequence_ms`` for each sequence + ``prefill_ms`` for each token of a prompt.
    Prompts and answers have log-normal lengths of that mean and coefficient of variation ``spread``.
    ``jitter``: the standard deviation of the logarithm of a run's speed. ``stall_s``: how long it does
    nothing at all, once in ``stall_every_s`` on average and at random (0: never).
    """

    name: str
    step_ms: float
    sequence_ms: float
    prefill_ms: float
    budget: int
    max_seqs: int
    prompt: int
    output: int
    spread: float = 0.3
    jitter: float = 0.0
    stall_s: float = 0.0
    stall_every_s: float = 60.0

    def lengths(self, rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
        """Tokens of ``count`` prompts and of their answers (two at least: a TPOT takes two)."""
        sigma = math.sqrt(math.log1p(self.spread**2))
        prompts, answers = np.exp(rng.normal(-(sigma**2) / 2, sigma, (2, count)))
        return (
            np.maximum(1, np.rint(self.prompt * prompts)).astype(int).tolist(),
            np.maximum(2, np.rint(self.output * answers)).astype(int).tolist(),
        )


@dataclass(frozen=True)
class Served:
    """A run: for each request, when it was due, its first and its last token (s), and its tokens."""

    due: Array
    first: Array
    last: Array
    tokens: Array

    @property
    def ttft(self) -> Array:
        """Seconds to the first token."""
        return self.first - self.due

    @property
    def tpot(self) -> Array:
        """Seconds for each token after the first."""
        return (self.last - self.first) / (self.tokens - 1)

    def since(self, begun_s: float) -> Served:
        """Without the requests that were due before, and with the clock set to 0 there."""
        kept = self.due >= begun_s
        due, first, last = (column[kept] - begun_s for column in (self.due, self.first, self.last))
        return Served(due, first, last, self.tokens[kept])

    def timeline(self, scheduled_s: float) -> Timeline:
        """The run as the plugin would have recorded it."""
        due, first, last = ((1e9 * column).astype(np.int64) for column in (self.due, self.first, self.last))
        return Timeline(
            requests=self.due.size,
            window_s=max(scheduled_s, float(self.last.max(initial=0.0))),
            due_ns=due,
            first_ns=first,
            last_ns=last,
            tokens=self.tokens.astype(np.int64),
            gaps_ns=np.empty(0, dtype=np.int64),
            errors={},
        )


def open_loop(engine: Engine, rate: float, duration_s: float, seed: int) -> Served:
    """Poisson arrivals, whose number is rate × duration (as :mod:`pytest_llmperf.load.schedule` has them),
    until the last is answered."""
    rng = np.random.default_rng(seed)
    count = max(1, round(rate * duration_s))
    due: list[float] = np.sort(rng.uniform(0, duration_s, count)).tolist()
    return _serve(engine, due, *engine.lengths(rng, count), _speed(engine, rng), _stalls(engine, rng))


def closed_loop(engine: Engine, concurrency: int, duration_s: float, seed: int) -> Served:
    """So many at once: each answer that ends before ``duration_s`` is followed by another request."""
    rng = np.random.default_rng(seed)
    most = 1 + concurrency + round(duration_s * 1000)
    prompts, answers = engine.lengths(rng, min(most, 20_000))
    at_once = [0.0] * concurrency
    return _serve(engine, at_once, prompts, answers, _speed(engine, rng), _stalls(engine, rng), duration_s)


def burst(engine: Engine, count: int, concurrency: int, seed: int) -> Served:
    """So many requests, so many at once."""
    rng = np.random.default_rng(seed)
    at_once, lengths = [0.0] * concurrency, engine.lengths(rng, count)
    return _serve(engine, at_once, *lengths, _speed(engine, rng), _stalls(engine, rng), math.inf)


def _speed(engine: Engine, rng: np.random.Generator) -> float:
    return math.exp(rng.normal(0.0, engine.jitter)) if engine.jitter else 1.0


def _stalls(engine: Engine, rng: np.random.Generator) -> Iterator[float]:
    """When it begins to do nothing (s), without end."""
    at_s = 0.0 if engine.stall_s else math.inf
    while True:
        at_s += rng.exponential(engine.stall_every_s) if engine.stall_s else 0.0
        yield at_s


def _serve(
    engine: Engine,
    due: list[float],
    prompts: list[int],
    answers: list[int],
    speed: float,
    stalls: Iterator[float],
    again_until: float = 0.0,
) -> Served:
    """Step by step; steps between which nothing comes or goes are taken at once."""
    step_s, sequence_s, prefill_s = (
        ms / 1e3 / speed for ms in (engine.step_ms, engine.sequence_ms, engine.prefill_ms)
    )
    due = list(due)
    first, last = [0.0] * len(due), [0.0] * len(due)
    ends: list[tuple[int, int]] = []  # the step after which a sequence is complete
    waiting: deque[list[int]] = deque()  # request and tokens left of its prompt
    now, step, arrived, prefilling = 0.0, 0, 0, 0
    stall_at = next(stalls)
    while True:
        while arrived < len(due) and due[arrived] <= now:
            waiting.append([arrived, prompts[arrived]])
            arrived += 1
        if not waiting and not ends:
            if arrived == len(due):
                break
            now = due[arrived]
            continue
        running = len(ends)
        left, tokens = engine.budget - running, 0
        filled: list[int] = []
        prefilling = 0
        while waiting and left > 0 and running + len(filled) + prefilling < engine.max_seqs:
            head = waiting[0]
            chunk = min(left, head[1])
            left, tokens = left - chunk, tokens + chunk
            head[1] -= chunk
            if head[1]:
                prefilling = 1
                break
            filled.append(head[0])
            waiting.popleft()
        took = step_s + sequence_s * running + prefill_s * tokens
        steps = 1
        if not tokens:
            steps = ends[0][0] - step
            if running < engine.max_seqs and arrived < len(due):
                steps = max(1, min(steps, math.ceil((due[arrived] - now) / took)))
        step, now = step + steps, now + steps * took
        while stall_at <= now:
            now, stall_at = now + engine.stall_s, next(stalls)
        for one in filled:
            first[one] = now
            heapq.heappush(ends, (step + answers[one] - 1, one))
        while ends and ends[0][0] <= step:
            _, one = heapq.heappop(ends)
            last[one] = now
            if now < again_until and len(due) < len(prompts):
                due.append(now)
                first.append(0.0)
                last.append(0.0)
    return Served(np.array(due), np.array(first), np.array(last), np.array(answers[: len(due)], dtype=float))
