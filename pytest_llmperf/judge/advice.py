"""Which configuration for one workload in one environment, under an SLO: for throughput, latency and cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Limit, Slo
from pytest_llmperf.judge.change import CONFIDENCE
from pytest_llmperf.judge.fit import ORDER, Fit, Point, at_load, fit, moved
from pytest_llmperf.judge.margin import margin_to
from pytest_llmperf.judge.objective import half_width, mean_value
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.ranking import Entrant, Standing, rank
from pytest_llmperf.measure.cost import usd_per_million

Aim = Literal["throughput", "latency", "cost"]
AIMS: tuple[Aim, ...] = ("throughput", "latency", "cost")
LATENCIES = ("ttft_p50_ms", "e2e_p50_ms")
CAPACITY_SPREAD = 0.05
"""The standard deviation of a capacity's logarithm between launches of one build: that of the latencies that
limit it, as long as nothing better is known."""
_NEAR = math.log(1.15)


@dataclass(frozen=True)
class Launch:
    """What was measured of one launch; ``searched`` are capacity searches under the SLO that is asked for."""

    points: tuple[Point, ...]
    searched: tuple[Fit, ...] = ()


@dataclass(frozen=True)
class Candidate:
    """A configuration: its launches, the output tokens of a request, and the dollars per hour of one replica
    of it (None: unknown)."""

    name: str
    launches: tuple[Launch, ...]
    tokens_per_request: float | None = None
    usd_per_hour: float | None = None


@dataclass(frozen=True)
class Question:
    """What is asked: limits, for which of ``aims``, at which ``load`` in requests/s latencies are compared,
    and what is out of the question: less than ``min_rate`` requests/s, or more than ``max_cost`` dollars per
    million output tokens. Where one launch was not measured at the load, latencies are those at the lightest
    load that all were."""

    slo: Slo
    aims: tuple[Aim, ...] = AIMS
    load: float | None = None
    min_rate: float | None = None
    max_cost: float | None = None


@dataclass(frozen=True)
class Carried:
    """What a candidate carries under the SLO, in requests/s; see :class:`~pytest_llmperf.judge.fit.Fit`.

    ``rates`` has one for each launch, ``low`` and ``high`` are the 95 % interval of their mean ``rate``.
    ``above``: nothing says that it does not carry more. ``is_saturated``: beyond, the queue grew without
    bound.
    """

    candidate: Candidate
    kind: Literal["found", "above", "below"]
    rates: tuple[float, ...]
    sampling: float
    rate: float
    low: float
    high: float
    between: tuple[str, str] | None
    limit: Limit | None
    is_saturated: bool = False


@dataclass(frozen=True)
class Miss:
    """How close a candidate comes to an SLO that it misses at every load: at ``label``, ``limit`` is missed
    with ``value``, by ``beyond`` as a share of the limit (inf for a limit of 0), or for goodput and the like
    of what may be missing to all."""

    name: str
    label: str
    limit: Limit
    value: float
    beyond: float


@dataclass(frozen=True)
class Advice:
    """The answer: capacities of what meets the SLO, what misses it (the closest first), rankings by
    ``throughput``, ``cost`` and the latencies' names, at which load those are, and what was left out of them
    and why."""

    capacities: dict[str, Carried]
    misses: list[Miss]
    rankings: dict[str, list[Standing]]
    load: float | None
    left_out: list[str] = field(default_factory=list)


def advise(candidates: Sequence[Candidate], question: Question, *, is_closed: bool = False) -> Advice:
    """Answer for candidates of one workload in one environment, which are called by different names."""
    left_out: list[str] = []
    capacities: dict[str, Carried] = {}
    misses: list[Miss] = []
    for candidate in candidates:
        found = capacity(candidate, question.slo, is_closed=is_closed)
        if found is None:
            names = ", ".join(limit.key.name for limit in question.slo.limits)
            left_out.append(f"{candidate.name}: was not measured at any load with all of {names}")
        elif found.kind == "below":
            if (miss := _miss(candidate, question.slo)) is not None:
                misses.append(miss)
            else:
                left_out.append(
                    f"{candidate.name}: misses the SLO, or is saturated, at every rate that was tried"
                )
        elif why := _out_of_question(found, question):
            left_out.append(f"{candidate.name}: {why}")
        else:
            capacities[candidate.name] = found
    answer = Advice(capacities, sorted(misses, key=lambda miss: miss.beyond), {}, None, left_out)
    if "throughput" in question.aims:
        answer.rankings["throughput"] = _by_capacity(answer)
    if "latency" in question.aims:
        for load in (None if is_closed else question.load, _lightest(answer)):
            answer = replace(answer, load=load)
            rankings = {name: _by_latency(answer, name, is_closed=is_closed) for name in LATENCIES}
            if all(rankings.values()):
                break
        answer.rankings.update(rankings)
    if "cost" in question.aims:
        answer.rankings["cost"] = _by_cost(answer)
    return answer


def capacity(candidate: Candidate, slo: Slo, *, is_closed: bool = False) -> Carried | None:
    """What a candidate carries: by its capacity searches if there are any, else by its sweeps.

    None if it was not measured with all that the SLO is about.
    """
    fits = [one for launch in candidate.launches for one in _searched(launch)]
    if not fits:
        fits = _swept(candidate, slo, is_closed=is_closed)
    if not fits:
        return None
    fits = [one if one.rate > 0 else replace(one, kind="below") for one in fits]
    if 2 * sum(one.kind == "below" for one in fits) > len(fits):
        return Carried(candidate, "below", (), 0.0, 0.0, 0.0, 0.0, None, None)
    fits = [one for one in fits if one.rate > 0]
    logs = [math.log(one.rate) for one in fits]
    sampling = statistics.median(one.deviation for one in fits)
    mean = math.fsum(logs) / len(logs)
    half = half_width(logs, Prior(CAPACITY_SPREAD), sampling, (1 - CONFIDENCE) / 2)
    # What was taken along the slope of others does not know itself what is beyond.
    telling = [one for one in fits if one.between is not None] or fits
    typical = min(telling, key=lambda one: abs(math.log(one.rate) - mean))
    around = {one.between for one in fits}
    return Carried(
        candidate,
        "above" if 2 * sum(one.kind == "above" for one in fits) >= len(fits) else "found",
        tuple(one.rate for one in fits),
        sampling,
        math.exp(mean),
        math.exp(mean - half),
        math.exp(mean + half),
        typical.between if len(around) == 1 else None,
        typical.limit,
        typical.is_saturated,
    )


def _swept(candidate: Candidate, slo: Slo, *, is_closed: bool) -> list[Fit]:
    """The fit of each launch that says something beside the others: to miss the SLO at a load beyond what
    others carry, or to meet it at one within, is no news."""
    each = [fit(launch.points, slo, is_closed=is_closed) for launch in candidate.launches]
    fits = [one for one in each if one is not None]
    found = [one for one in fits if one.kind == "found"]
    if not found and len({one.kind for one in fits}) == 2:  # none was driven both within the SLO and beyond
        pooled = [point for launch in candidate.launches for point in launch.points]
        found = [one for one in [fit(pooled, slo, is_closed=is_closed)] if one and one.kind == "found"]
    if not found:
        edges = {"above": max, "below": min}
        loads = {kind: [one.rate for one in fits if one.kind == kind] for kind in edges}
        return [one for one in fits if one.rate == edges[one.kind](loads[one.kind])]
    carried = statistics.median(one.rate for one in found)
    slope = statistics.median(one.slope for one in found)
    telling = [one if one.kind == "found" else moved(one, slope) for one in fits if _tells(one, carried)]
    return telling or found


def _tells(one: Fit, carried: float) -> bool:
    """Whether a fit says something of launches that carry ``carried``: close to it, both sides do."""
    is_near = min(one.rate, carried) > 0 and abs(math.log(one.rate / carried)) < _NEAR
    beyond = one.rate <= carried if one.kind == "below" else one.rate >= carried
    return one.kind == "found" or is_near or beyond


def _searched(launch: Launch) -> list[Fit]:
    """One a launch: searches of one launch are put together."""
    if not launch.searched:
        return []
    rates = [one.rate for one in launch.searched if one.rate > 0]
    kind = min((one.kind for one in launch.searched), key=ORDER.__getitem__)
    rate = math.exp(math.fsum(map(math.log, rates)) / len(rates)) if rates else 0.0
    deviation = math.hypot(*(one.deviation for one in launch.searched)) / len(launch.searched)
    return [Fit(rate, kind, deviation, is_saturated=any(one.is_saturated for one in launch.searched))]


def replicas(load: float, found: Carried) -> int:
    """How many replicas surely carry ``load`` requests/s: by the lower end of the capacity's interval."""
    return max(1, math.ceil(load / found.low))


def _out_of_question(found: Carried, question: Question) -> str:
    if question.min_rate is not None and found.low < question.min_rate:
        return f"may carry only {found.low:.3g}/s, and {question.min_rate:g}/s are asked for"
    if question.max_cost is not None:
        costs = _costs(found)
        if costs is None:
            return "what it costs is not known"
        dearest = usd_per_million(found.candidate.usd_per_hour or 0.0, _tokens(found) * found.low)
        if dearest > question.max_cost:
            return (
                f"may cost ${dearest:.3g} per million tokens, and at most ${question.max_cost:g} is asked for"
            )
    return ""


def _tokens(found: Carried) -> float:
    return found.candidate.tokens_per_request or 0.0


def _costs(found: Carried) -> tuple[float, ...] | None:
    usd, tokens = found.candidate.usd_per_hour, _tokens(found)
    return (
        None
        if usd is None or not tokens
        else tuple(usd_per_million(usd, rate * tokens) for rate in found.rates)
    )


def _miss(candidate: Candidate, slo: Slo) -> Miss | None:
    """The load at which its worst limit is missed by the least, of those that it kept up with; None where
    there is no such load, or only a search was recorded."""
    at: dict[str, list[Point]] = {}
    for launch in candidate.launches:
        for point in launch.points:
            if not point.is_saturated:
                at.setdefault(point.label, []).append(point)
    misses = []
    for label, points in at.items():
        found = []
        for limit in slo.with_no_errors().limits:
            values = [p.values[limit.key.name] for p in points if limit.key.name in p.values]
            if values:
                value, requests = mean_value(limit.key, values), sum(point.requests for point in points)
                over, _ = margin_to(limit, {limit.key.name: value}, {}, requests)
                found.append((over, limit, value))
        if found:
            far, limit, value = max(found, key=lambda one: one[0])
            misses.append(Miss(candidate.name, label, limit, value, math.expm1(min(far, 700.0))))
    return min(misses, key=lambda miss: miss.beyond, default=None)


def _by_capacity(answer: Advice) -> list[Standing]:
    entrants = [
        Entrant(name, found.rates, found.sampling, may_be_better=found.kind == "above")
        for name, found in answer.capacities.items()
    ]
    return rank(entrants, "higher", Prior(CAPACITY_SPREAD))


def _by_cost(answer: Advice) -> list[Standing]:
    entrants = [
        Entrant(name, costs, found.sampling, may_be_better=found.kind == "above")
        for name, found in answer.capacities.items()
        if (costs := _costs(found)) is not None
    ]
    return rank(entrants, "lower", Prior(CAPACITY_SPREAD))


def _lightest(answer: Advice) -> float | None:
    """The lightest load that all were measured at or above, and kept up with."""
    lightest = [
        min(loads)
        for found in answer.capacities.values()
        if (
            loads := [
                p.load for launch in found.candidate.launches for p in launch.points if not p.is_saturated
            ]
        )
    ]
    return max(lightest, default=None)


def _by_latency(answer: Advice, name: str, *, is_closed: bool) -> list[Standing]:
    entrants = []
    for called, found in answer.capacities.items():
        launches = found.candidate.launches
        if not is_closed and found.kind == "found" and answer.load is not None and found.high < answer.load:
            continue  # its latency there is beyond the SLO
        values = [
            value
            for launch in launches
            if answer.load is not None and (value := at_load(launch.points, name, answer.load)) is not None
        ]
        known = [p.uncertainty[name] for one in launches for p in one.points if name in p.uncertainty]
        if values:
            entrants.append(Entrant(called, tuple(values), statistics.median(known) if known else 0.0))
    return rank(entrants, "lower", Prior(parse_metric(name).metric.spread))
