"""What to run, for a person: per workload the best for throughput, latency and cost, and how to run it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.judge.advice import LATENCIES, Advice, Carried, Miss, Question, replicas
from pytest_llmperf.judge.ranking import Standing
from pytest_llmperf.keep.evidence import Configuration, Scene
from pytest_llmperf.keep.prices import Price
from pytest_llmperf.report.table import percent

HOURS_PER_MONTH = 730


def advice_lines(
    scene: Scene, answer: Advice, question: Question, slo: str, price: Price | None
) -> list[str]:
    """All that is to be said about one scene; ``slo`` as it was typed."""
    limits = ", ".join(str(limit) for limit in question.slo.limits)
    lines = [*_title(scene), f"  SLO: {limits}, and no errors", *_missed(answer)]
    for name, standings in answer.rankings.items():
        if standings:
            lines += _ranking(name, standings, answer, scene)
        elif answer.capacities:
            lines.append(f"  {_aim(name, answer, scene)}: {_why_none(name)}")
    lines += [f"  left out: {why}" for why in answer.left_out]
    configurations = dict(zip(scene.names(), scene.configurations, strict=True))
    for name in _chosen(answer):
        lines += _how(name, configurations[name], answer.capacities[name], question, slo, price)
    return lines


def _chosen(answer: Advice) -> list[str]:
    """As few as are among the best of every ranking, more or less."""
    chosen: list[str] = []
    for standings in answer.rankings.values():
        among = [one.entrant.name for one in standings if one.is_tie]
        if among and not set(among) & set(chosen):
            chosen.append(among[0])
    return chosen


def _title(scene: Scene) -> Iterator[str]:
    where = scene.environment.get("accelerators") or scene.environment.get("cpu") or "unknown machine"
    yield f"{scene.workload}, {_load(scene)} · {where} · {scene.environment.get('model', 'unknown model')}"
    launches = sum(len(one.runs) for one in scene.configurations)
    yield f"  {_count(len(scene.configurations), 'configuration')}, {_count(launches, 'launch', 'launches')}"


def _load(scene: Scene) -> str:
    return scene.load if scene.is_closed else f"{scene.load} arrivals"


def _missed(answer: Advice) -> Iterator[str]:
    if not answer.capacities and answer.misses:
        yield f"  nothing meets the SLO; the closest is {_miss(answer.misses[0])}"
    for miss in answer.misses[0 if answer.capacities else 1 :]:
        yield f"  misses the SLO at every load that was measured: {_miss(miss)}"


def _miss(miss: Miss) -> str:
    key = miss.limit.key
    has_ratio = miss.beyond <= 1e6 and not key.metric.share
    by = f", which is {miss.beyond * 100:.3g}% beyond" if has_ratio else ""
    return (
        f"{miss.name}: {key.label} is {key.format(miss.value)} at {miss.label}, "
        f"the limit {key.format(miss.limit.value)}{by}"
    )


def _aim(name: str, answer: Advice, scene: Scene) -> str:
    if name not in LATENCIES:
        return name
    at = "" if answer.load is None else f" at {answer.load:g}{' at once' if scene.is_closed else '/s'}"
    return f"{parse_metric(name).label}{at}"


def _why_none(name: str) -> str:
    if name == "cost":
        return "unknown: no price is known of this hardware (of a GPU, --prices takes one)"
    return "nothing that meets the SLO was measured there"


def _ranking(name: str, standings: Sequence[Standing], answer: Advice, scene: Scene) -> Iterator[str]:
    best, *others = standings
    ties = [one for one in others if one.is_tie]
    unit = ", per million output tokens" if name == "cost" else ""
    tie = f": a tie of {len(ties) + 1}" if ties else ""
    yield f"  {_aim(name, answer, scene)}{unit}{tie}"
    for one in standings:
        role = "best" if one is best else "tie" if one.is_tie else "worse"
        figure, why = _figure(name, one, answer)
        yield f"    {role:<5}  {figure}  {one.entrant.name}"
        yield f"           {why}{_versus(one)}"
    can_launch = [one for one in (best, *ties) if not one.entrant.name.startswith(("http://", "https://"))]
    if ties and min((len(one.entrant.values) for one in can_launch), default=3) < 3:
        yield "    more launches may tell them apart: --llmperf-launches 3, or launches = 3 in a matrix"


def _figure(name: str, one: Standing, answer: Advice) -> tuple[str, str]:
    """The figure, and where it comes from."""
    found = answer.capacities[one.entrant.name]
    launches = _count(len(one.entrant.values), "launch", "launches")
    interval = f"95% interval {_amount(name, one.low)} to {_amount(name, one.high)}; {launches}"
    if name in LATENCIES:
        return _amount(name, one.estimate), interval
    if found.kind == "above":
        bound = "at least" if name == "throughput" else "at most"
        why = "the SLO is met at every load that was measured"
        return f"{bound} {_amount(name, one.estimate)}", f"{launches}; {why}"
    return _amount(name, one.estimate), f"{interval}{_about(found)}"


def _about(found: Carried) -> str:
    between = f"; between {found.between[0]} and {found.between[1]}" if found.between else ""
    if found.is_saturated:
        return f"{between}; beyond, its queue grows without bound"
    limits = f"; {found.limit.key.label} is what limits it" if found.limit is not None else "; searched"
    return between + limits


def _versus(one: Standing) -> str:
    if one.difference is None or one.difference_low is None or one.difference_high is None:
        return ""
    low, high = percent(one.difference_low), percent(one.difference_high)
    return f"; {percent(one.difference)} from the best ({low} to {high})"


def _amount(name: str, value: float) -> str:
    if name == "throughput":
        return f"{value:.3g}/s"
    if name == "cost":
        return f"${value:.3g}"
    return parse_metric(name).format(value)


def _how(
    name: str, one: Configuration, found: Carried, question: Question, slo: str, price: Price | None
) -> Iterator[str]:
    yield f"  {name}"
    if one.command:
        yield f"    run it:      {one.command}"
    words = ["pytest", "--llmperf", "--llmperf-engine", one.text]
    words += ["--llmperf-model", one.model] if one.model else []
    yield f"    measure it:  {shlex.join([*words, '--llmperf-slo', slo])}"
    if one.fields["engine"].startswith(("http://", "https://")):
        return
    count, why = 1, "one replica"
    if question.load is not None:
        count = replicas(question.load, found)
        least = "at least " if found.kind == "above" else ""
        why = f"{question.load:g}/s need {_count(count, 'replica')} of {least}{found.low:.3g}/s"
    if price is not None:
        hourly = count * price.usd_per_hour
        why += (
            f": ${hourly:,.2f} per hour, ${hourly * HOURS_PER_MONTH:,.0f} per month "
            f"({price.source}, {price.date})"
        )
    if question.load is not None or price is not None:
        yield f"    to have it:  {why}"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def advice_json(scene: Scene, answer: Advice, price: Price | None) -> Mapping[str, object]:
    """The same for programs."""
    return {
        "workload": scene.workload,
        "load": scene.load,
        "environment": dict(scene.environment),
        "price": None if price is None else vars(price),
        "capacities": {
            name: {
                "kind": found.kind,
                "per_s": found.rate,
                "low": found.low,
                "high": found.high,
                "launches": len(found.rates),
                "between": found.between,
                "limited_by": None if found.limit is None or found.is_saturated else found.limit.key.name,
                "saturated_beyond": found.is_saturated,
            }
            for name, found in answer.capacities.items()
        },
        "rankings": {
            name: [
                {
                    "configuration": one.entrant.name,
                    "value": one.estimate,
                    "low": one.low,
                    "high": one.high,
                    "is_tie": one.is_tie,
                    "difference": one.difference,
                }
                for one in standings
            ]
            for name, standings in answer.rankings.items()
        },
        "latencies_at": answer.load,
        "misses": [
            {
                "configuration": miss.name,
                "load": miss.label,
                "metric": miss.limit.key.name,
                "limit": miss.limit.value,
                "value": miss.value,
            }
            for miss in answer.misses
        ],
        "left_out": answer.left_out,
    }
