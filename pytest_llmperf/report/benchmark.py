"""A session as pytest-benchmark writes one, for ``pytest-benchmark compare`` and what else reads its files.

There everything is a time, of which less is better, so this is what becomes one: latencies, start-ups, and of
what is counted per second its reciprocal. Shares and costs are no times, and are told beside them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pytest_llmperf.declare.metrics import METRICS, Metric, MetricKey, parse_metric
from pytest_llmperf.declare.nodeid import split_name
from pytest_llmperf.errors import DeclarationError
from pytest_llmperf.keep.environment import environment_key
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.keep.values import by_metric
from pytest_llmperf.report.printable import printable
from pytest_llmperf.report.tukey import stats

FORMAT = "5.3.1"
"""The release of pytest-benchmark whose files these are like."""
_SAYS_NOTHING = ("invalid", "error")
_RECIPROCALS = {
    "output_tokens": "s_per_output_token",
    "requests": "s_per_request",
    "good_requests": "s_per_good_request",
    "capacity": "s_per_request_at_capacity",
}
_SIDES = {"candidate": "runs", "base": "base_runs"}
_MOST = 160
_Json = Mapping[str, Any]


def as_benchmarks(record: _Json) -> dict[str, Any]:
    """The content of such a file. Of a test that says nothing about its engine there is nothing in it."""
    tests = [test for test in record["tests"] if test["verdict"] not in _SAYS_NOTHING]
    return {
        "machine_info": _machine(record, tests),
        "commit_info": _commit(record),
        "benchmarks": [entry for test in tests for entry in _of_test(test)],
        "datetime": record["started"],
        "version": FORMAT,
    }


class _Place(NamedTuple):
    """Where in a session an entry is from; ``load`` is what it is called there."""

    test: _Json
    point: _Json
    load: str
    side: str


def _of_test(test: _Json) -> Iterator[dict[str, Any]]:
    labels = [point["load"] for point in test["points"]]
    told: set[tuple[str, str]] = set()
    for point in test["points"]:
        load = point["load"] if labels.count(point["load"]) == 1 else point["key"]
        for side, runs in _SIDES.items():
            found = by_metric(point.get(runs) or [])
            for name, launches in found.items():
                key = _key(name)
                if key is None or not _is_of(key.metric, point):
                    continue
                if key.metric.per == "launch" and (side, name) in told:
                    continue  # a launch has one start, however many load points
                told.add((side, name))
                place = _Place(test, point, "" if key.metric.per == "launch" else load, side)
                if (values := _seconds(key, list(launches.values()))) is not None:
                    yield _entry(place, key, values, _beside(found))


def _key(name: str) -> MetricKey | None:
    """None for a metric of another release, or for one that is no time."""
    try:
        key = parse_metric(name)
    except DeclarationError:
        return None
    return key if key.metric.unit in ("ms", "s") or key.metric_name in _RECIPROCALS else None


def _is_of(metric: Metric, point: _Json) -> bool:
    """Whether it says something about the engine at such a point, as
    :meth:`~pytest_llmperf.declare.load.LoadPoint.concerns` has it."""
    load = (point.get("declared") or {}).get("load") or {}
    if metric.per == "launch":
        return True
    if load.get("seeks") is not None or metric.name == METRICS["capacity"].name:
        return metric.per == "search"
    return load.get("batch") is None or metric.per == "run"


def _seconds(key: MetricKey, values: Sequence[float]) -> list[float] | None:
    """The values as times; None where one of them would take forever."""
    if key.metric_name not in _RECIPROCALS:
        scale = 1e-3 if key.metric.unit == "ms" else 1.0
        return [rounded(value * scale) for value in values]
    return [rounded(1 / value) for value in values] if min(values) > 0 else None


def _beside(found: Mapping[str, Mapping[int, float]]) -> dict[str, float]:
    """What is no time, as the mean over launches."""
    told = {}
    for name in ("goodput", "error_rate", "cost_usd_per_mtok"):
        if launches := found.get(name):
            told[name] = rounded(math.fsum(launches.values()) / len(launches))
    return told


def _entry(place: _Place, key: MetricKey, values: Sequence[float], beside: _Json) -> dict[str, Any]:
    test, side = place.test, place.side
    metric = _name(key)
    path, last = split_name(printable(test["test"]))
    separator = "::" if path else ""
    function, bracket, params = last.partition("[")
    given = [params.removesuffix("]")] if bracket else []
    said = [*given, *([printable(place.load)] if place.load else []), metric]
    if side == "base":
        said.append("base")
    param = _short("-".join(said))
    name = f"{_short(function)}[{param}]"
    of_test = _short(f"{path}{separator}{function}{bracket}{params}")
    return {
        "group": f"{of_test} {metric}",
        "name": name,
        "fullname": f"{_short(path)}{separator}{name}",
        "params": {"load": _short(place.load), "metric": metric, "side": side},
        "param": param,
        "extra_info": _extra_info(place, key, beside),
        "options": {},
        "stats": stats(values),
    }


def _extra_info(place: _Place, key: MetricKey, beside: _Json) -> dict[str, Any]:
    test, point = place.test, place.point
    compared = test.get("compared_with")
    is_base = place.side == "base"
    runs = [run for run in point[_SIDES[place.side]] if not run["health"]["problems"]]
    subject = test["subject"]
    if is_base and compared is not None:
        subject = {"text": compared["text"], "fields": compared["fields"]}
    told: dict[str, Any] = {
        "test": test["test"],
        "workload": point["workload"],
        "load": point["key"],
        "metric": key.name,
        "requests": sum(run["requests"] for run in runs),
        "subject": subject["text"],
        "version": subject["fields"].get("version"),
        "engine_commit": subject["fields"].get("commit"),
        "environment": dict(test["environment"]),
        "fingerprint": environment_key(test["environment"]),
        **beside,
    }
    if not is_base:
        told["slo"] = list(test["slo"])
        told["verdict"] = test["verdict"]
        told["objective"] = _of_metric(point.get("objectives") or [], key)
        change = _of_metric(point.get("changes") or [], key)
        if change is not None and compared is not None:
            change["from"] = compared["text"]
        told["change"] = change
    return {name: value for name, value in told.items() if value is not None}


def _of_metric(judged: Sequence[_Json], key: MetricKey) -> dict[str, Any] | None:
    return next((dict(one) for one in judged if one["metric"] == key.name), None)


def _name(key: MetricKey) -> str:
    """``ttft_p95``, ``s_per_request``: without the unit, which is the second."""
    name = _RECIPROCALS.get(key.metric_name, key.metric_name)
    return f"{name}_{key.statistic}" if key.statistic else name


def _short(text: str) -> str:
    """What fits into a table and a file name, and is still another one for another text."""
    shown = printable(text)
    if len(shown) <= _MOST:
        return shown
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{shown[: _MOST - 9]}…{digest}"


def _machine(record: _Json, tests: Sequence[_Json]) -> dict[str, Any]:
    """What all tests agree on; the engine's machine, which may not be that of pytest."""
    environments = [test["environment"] for test in tests]
    first = environments[0] if environments else {}
    agreed = {
        name: value for name, value in first.items() if all(one.get(name) == value for one in environments)
    }
    system, _, machine = agreed.get("machine", "").partition(" ")
    cpus = agreed.get("cpus", "")
    return {
        "node": agreed.get("place", ""),
        "processor": agreed.get("cpu", ""),
        "machine": machine,
        "python_version": record.get("versions", {}).get("python", ""),
        "release": agreed.get("kernel", ""),
        "system": system,
        "cpu": {"brand_raw": agreed.get("cpu", ""), **({"count": int(cpus)} if cpus.isdecimal() else {})},
        "environment": agreed,
    }


def _commit(record: _Json) -> dict[str, Any]:
    """That of the tests: what a ``pytest_llmperf_record`` hook says, else what is checked out."""
    repository = record.get("repository") or {}
    checked_out, said = repository.get("commit"), record.get("commit")
    commit = said if isinstance(said, str) else checked_out
    return {
        "id": commit if isinstance(commit, str) else "unknown",
        "time": None,
        "author_time": None,
        "dirty": commit == checked_out and bool(repository.get("changed")),
        "project": "",
        "branch": "(unknown)",
    }
