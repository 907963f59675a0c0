"""Which part of an engine got worse, as far as its metrics and its own counters tell.

Counters of both sides are there only where they were measured side by side: a baseline keeps none. Then what
the candidate's counters alone can prove is said, and nothing else.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmperf.declare.metrics import parse_metric

# What a phase has to explain of a rise to be called its place; what makes a difference worth a word.
_MOST_OF_IT = 0.5
_FEWER = 0.8
_LESS_ACCEPTED = 0.03
_PREEMPTED = 0.01
_MOST_CLUES = 3
_DECODE = ("tpot", "itl")

Point = Mapping[str, Any]
Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Clue:
    """What points to ``part`` of what was measured, in words; not ``is_told`` if it may have been so before,
    or may be chance."""

    part: str
    text: str
    is_told: bool = True


@dataclass(frozen=True)
class Cause:
    """The part of a serving system where a change for the worse lies, and what that is based on."""

    part: str
    basis: tuple[str, ...]
    is_told: bool


def likely_cause(entry: Mapping[str, Any]) -> Cause | None:
    """What the regressed metrics of an entry have in common; None where nothing points anywhere.

    Counters go before the pattern of the metrics, which only narrows it down.
    """
    pattern, counted = _pattern(entry["points"]), _counted(entry["points"])
    clues = [*([pattern] if pattern else []), *counted]
    if not clues:
        return None
    sure = [clue for clue in counted if clue.is_told]
    parts = dict.fromkeys(clue.part for clue in sure or ([pattern] if pattern else counted))
    return Cause(" and ".join(parts), tuple(clue.text for clue in clues), is_told=bool(sure))


# -- metrics ------------------------------------------------------------------------------------------


def _pattern(points: Sequence[Point]) -> Clue | None:
    """What it means where TTFT and TPOT went, over the load points."""
    compared = [point for point in points if point["changes"]]
    first = [point for point in compared if _went(point, "ttft") == "worse"]
    later = [point for point in compared if _went(point, *_DECODE) == "worse"]
    if first and later:
        part = "every step of the model, or too many requests at once"
        if first == later:
            return Clue(part, f"TTFT and {_rose(later)} rose {_where(first, compared)}")
        where = f"TTFT rose {_where(first, compared)}, {_rose(later)} {_where(later, compared)}"
        return Clue(part, where)
    if first and all(_went(point, *_DECODE) == "not worse" for point in first):
        part = "waiting rather than prefill" if _quieter(first, compared) else "waiting or prefill"
        return Clue(part, f"TTFT rose {_where(first, compared)}, {_known_of(first)} did not")
    if later and all(_went(point, "ttft") == "not worse" for point in later):
        return Clue("decode", f"{_rose(later)} rose {_where(later, compared)}, TTFT did not")
    return None


def _rose(points: Sequence[Point]) -> str:
    return " and ".join(dict.fromkeys(_name(c) for point in points for c in _regressed(point, *_DECODE)))


def _known_of(points: Sequence[Point]) -> str:
    found = (c for point in points for c in point["changes"])
    names = (_name(c) for c in found if parse_metric(c["metric"]).metric_name in _DECODE)
    return " and ".join(dict.fromkeys(names))


def _name(change: Mapping[str, Any]) -> str:
    """TTFT, TPOT, …: a label without its statistic."""
    return str(change["label"]).partition(" ")[0]


def _went(point: Point, *metrics: str) -> str:
    verdicts = {c["verdict"] for c in point["changes"] if parse_metric(c["metric"]).metric_name in metrics}
    if "regressed" in verdicts:
        return "worse"
    return "not worse" if verdicts and verdicts <= {"pass", "improved"} else "unknown"


def _where(those: Sequence[Point], compared: Sequence[Point]) -> str:
    if len(those) == len(compared) > 1:
        return "at every load"
    quiet = _quieter(those, compared)
    return f"at {_loads(those)}{f' (not at {_loads(quiet)})' if quiet else ''}"


def _quieter(those: Sequence[Point], compared: Sequence[Point]) -> list[Point]:
    """The lower loads of the same workload at which latencies are known not to be worse."""
    workloads = {point["workload"] for point in those}
    return [
        point
        for point in compared
        if point["workload"] in workloads
        and _went(point, "ttft", *_DECODE) == "not worse"
        and _load(point) < min(map(_load, those))
    ]


def _loads(points: Sequence[Point]) -> str:
    *others, last = (point["load"] for point in points)
    return f"{', '.join(others)} and {last}" if others else str(last)


def _load(point: Point) -> float:
    declared = point["declared"]["load"]
    number = declared.get("rate") or declared.get("concurrency") or declared.get("replay")
    return float(number) if isinstance(number, int | float) else math.nan


# -- counters -----------------------------------------------------------------------------------------


def _counted(points: Sequence[Point]) -> list[Clue]:
    """What the counters tell, each part at the load point where most got worse."""
    worse = sorted((point for point in points if _worst(point)), key=_worst, reverse=True)
    clues: dict[str, Clue] = {}
    for point in worse:
        for clue in _clues(point):
            clues.setdefault(clue.part, clue)
    return list(clues.values())[:_MOST_CLUES]


def _worst(point: Point) -> float:
    changes = [c for c in point["changes"] if c["verdict"] == "regressed"]
    return max((abs(math.log1p(change["estimate"])) for change in changes), default=0.0)


def _clues(point: Point) -> Iterator[Clue]:
    yield from _machine(point)
    yield from _client(point)
    yield from _preemption(point)
    if point["base_runs"]:
        yield from _cache(point)
        yield from _drafts(point)
        yield from _phases(point)
        yield from _steps(point)
    else:
        yield from _phases_alone(point)


def _machine(point: Point) -> Iterator[Clue]:
    base = {text for run in point["base_runs"] for text in run["disturbances"]}
    new = [text for run in point["runs"] for text in run["disturbances"] if text not in base]
    if new:
        yield Clue("the machine", f"at {point['load']} the machine was disturbed: {new[0]}", is_told=False)


def _client(point: Point) -> Iterator[Clue]:
    """The load generator, where its own lateness is of the size of what TTFT rose by."""
    rises = [c["candidate"] - c["base"] for c in _regressed(point, "ttft")]
    late = _mean(point["runs"], _late_ms)
    before = _mean(point["base_runs"], _late_ms) or 0.0
    if rises and late is not None and late - before > _MOST_OF_IT * max(rises):
        yield Clue(
            "the load generator itself",
            f"at {point['load']} the load generator was {_ms(late)} late (p99), within its limits, but much "
            f"of the {_ms(max(rises))} that TTFT rose by",
            is_told=False,
        )


def _late_ms(run: Mapping[str, Any]) -> float:
    health = run["health"]
    read = 0.0 if health["clock"] == "kernel" else health["read_lag_p99_ms"]
    return float(health["dispatch_lag_p99_ms"] + read)


def _preemption(point: Point) -> Iterator[Clue]:
    now, base = _sides(point, lambda run: _each(run, "preemptions"))
    if not now or statistics.fmean(now) < _PREEMPTED:
        return
    said = f"at {point['load']} the engine ran out of KV cache {_per_100(now)}"
    if base is None:
        yield Clue("preemption", f"{said}; a baseline does not tell whether it did before", is_told=False)
    elif base and min(now) > max(base) and statistics.fmean(now) > 2 * statistics.fmean(base):
        yield Clue("preemption", f"{said}, the other side {_per_100(base)}")


def _per_100(shares: Sequence[float]) -> str:
    return f"{statistics.fmean(shares) * 100:.2g} times in 100 requests"


def _cache(point: Point) -> Iterator[Clue]:
    now, base = _sides(point, lambda run: _each(run, "cached_prompt_tokens"))
    if _has_fallen(now, base) and _regressed(point, "ttft"):
        yield Clue(
            "the prefix cache",
            f"at {point['load']} {_mean_of(base):.0f} tokens of a prompt came from the prefix cache, now "
            f"{_mean_of(now):.0f}",
        )


def _drafts(point: Point) -> Iterator[Clue]:
    now, base = _sides(point, lambda run: _ratio(run, "accepted_tokens", "draft_tokens"))
    if not base or not _regressed(point, "tpot", "itl", "e2e", "output_tokens"):
        return
    if now and min(base) - max(now) > 0 and _mean_of(base) - _mean_of(now) > _LESS_ACCEPTED:
        yield Clue(
            "speculative decoding",
            f"at {point['load']} {_mean_of(now):.0%} of the drafted tokens were accepted, on the other side "
            f"{_mean_of(base):.0%}",
        )
    elif not now:
        yield Clue("speculative decoding", "the other side drafts tokens, this one does not")


def _phases(point: Point) -> Iterator[Clue]:
    """Which phase has most of what TTFT rose by on average."""
    ttft, ttft_before = _sides(point, lambda run: run["values"].get("ttft_mean_ms"))
    if not (ttft and ttft_before and _regressed(point, "ttft")):
        return
    rise = _mean_of(ttft) - _mean_of(ttft_before)
    for part, name, of in _PHASES:
        now, base = _sides(point, of)
        if rise > 0 and now and base and min(now) > max(base):
            grown = _mean_of(now) - _mean_of(base)
            if grown > _MOST_OF_IT * rise:
                yield Clue(
                    part,
                    f"at {point['load']} {name} rose from {_ms(_mean_of(base))} to {_ms(_mean_of(now))} a "
                    f"request, TTFT by {_ms(rise)} (means)",
                )


def _phases_alone(point: Point) -> Iterator[Clue]:
    """A phase that lasts longer now than the whole TTFT did cannot have lasted as long before.

    The mean of what is skewed lies above its median: against that it has to be twice as long.
    """
    before = [(c["base"], c["label"]) for c in point["changes"] if c["metric"].startswith("ttft_")]
    if not (before and _regressed(point, "ttft")):
        return
    most, label = max(before)
    needed = 2 * most if label.endswith("p50") else most
    for part, name, of in _PHASES:
        now = _known(point["runs"], of)
        if now and min(now) > needed:
            yield Clue(
                part,
                f"at {point['load']} {name} is {_ms(_mean_of(now))} a request (mean), more than {label} was "
                f"({_ms(most)})",
            )


def _steps(point: Point) -> Iterator[Clue]:
    now, base = _sides(point, lambda run: _ratio(run, "step_tokens", "steps"))
    if _has_fallen(now, base) and _regressed(point, "ttft", "output_tokens"):
        yield Clue(
            "smaller batches",
            f"at {point['load']} a step of the model took {_mean_of(now):.0f} tokens, on the other side "
            f"{_mean_of(base):.0f}",
        )


def _queue_ms(run: Mapping[str, Any]) -> float | None:
    return _each(run, "queue_s", 1e3)


def _prefill_ms(run: Mapping[str, Any]) -> float | None:
    return _each(run, "prefill_s", 1e3)


def _unexplained_ms(run: Mapping[str, Any]) -> float | None:
    """What is left of TTFT where the engine counts its prefill, but no time in a queue."""
    prefill, ttft = _prefill_ms(run), run["values"].get("ttft_mean_ms")
    if prefill is None or ttft is None or "queue_s" in run["counters"]:
        return None
    return max(0.0, float(ttft) - prefill)


def _outside_ms(run: Mapping[str, Any]) -> float | None:
    """What is left of TTFT beside the engine's queue and its prefill."""
    queue, prefill, ttft = _queue_ms(run), _prefill_ms(run), run["values"].get("ttft_mean_ms")
    if queue is None or prefill is None or ttft is None:
        return None
    return max(0.0, float(ttft) - queue - prefill)


_PHASES: tuple[tuple[str, str, Callable[[Mapping[str, Any]], float | None]], ...] = (
    ("waiting", "the engine's own queue time", _queue_ms),
    ("prefill", "the engine's own prefill time", _prefill_ms),
    ("waiting", "what the engine's own prefill time leaves of TTFT", _unexplained_ms),
    ("the HTTP server, the tokenizer or the network", "TTFT outside of queue and prefill", _outside_ms),
)


# -- figures ------------------------------------------------------------------------------------------


def _regressed(point: Point, *metrics: str) -> list[Mapping[str, Any]]:
    return [
        change
        for change in point["changes"]
        if change["verdict"] == "regressed" and parse_metric(change["metric"]).metric_name in metrics
    ]


def _sides(
    point: Point, of: Callable[[Mapping[str, Any]], float | None]
) -> tuple[list[float], list[float] | None]:
    """The figure of each run, the candidate's and the base's; None for a base that was not measured now."""
    base = point["base_runs"]
    return _known(point["runs"], of), _known(base, of) if base else None


def _known(runs: Runs, of: Callable[[Mapping[str, Any]], float | None]) -> list[float]:
    return [figure for run in runs if (figure := of(run)) is not None]


def _each(run: Mapping[str, Any], name: str, scale: float = 1.0) -> float | None:
    """A counter for each request: as many as the engine counted beside it, else as many as were answered."""
    counters = run["counters"]
    answered = run["requests"] - sum(error["count"] for error in run["errors"].values())
    requests = counters.get("timed_requests", answered) if name.endswith("_s") else answered
    return float(counters[name]) * scale / requests if name in counters and requests > 0 else None


def _ratio(run: Mapping[str, Any], part: str, whole: str) -> float | None:
    counters = run["counters"]
    return counters[part] / counters[whole] if counters.get(whole) and part in counters else None


def _has_fallen(now: Sequence[float], base: Sequence[float] | None) -> bool:
    """Clearly, and in every run."""
    return bool(now and base) and max(now) < min(base or ()) and _mean_of(now) < _FEWER * _mean_of(base)


def _mean_of(figures: Sequence[float] | None) -> float:
    return statistics.fmean(figures or (0.0,))


def _mean(runs: Runs, of: Callable[[Mapping[str, Any]], float]) -> float | None:
    return statistics.fmean(map(of, runs)) if runs else None


def _ms(value: float) -> str:
    return parse_metric("ttft_mean_ms").format(value)
