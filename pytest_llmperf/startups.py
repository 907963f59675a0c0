"""Start-up in judgements: a launch has one, from cold or from warm caches, however much is measured in it."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Limit
from pytest_llmperf.keep.result import PointResult, Run, TestResult

_WARM, _COLD = MetricKey("startup"), MetricKey("cold_startup")


def is_judged_at(metric: MetricKey, key: str, result: TestResult) -> bool:
    """Whether a metric is judged at this load point: one of a launch is once in a test, at its first."""
    return metric.metric.per != "launch" or key == next(iter(result.points))


def may_come(metric: MetricKey, point: PointResult, *, side_by_side: bool) -> bool:
    """Whether the next start may have the value that is missing: it finds the caches that the last one
    filled, and never empty ones. Where the second found them empty too, nothing is kept."""
    if metric != _WARM:
        return False
    sides = [point.runs, point.base_runs] if side_by_side else [point.runs]
    return all(_values(side, _WARM) or len(_values(side, _COLD)) == 1 for side in sides)


def may_add(metric: MetricKey, point: PointResult) -> bool:
    """Whether another launch may add a value to those that there are: no cold start once one was warm."""
    return metric != _COLD or not _values(point.runs, _WARM)


def why_missing(metric: MetricKey, result: TestResult) -> str:
    """Why a comparison of start-ups has no values, in a few words."""
    if result.runs_already:
        return "not started from here"
    return "only cold starts" if metric == _WARM else "no cold start"


def unjudged(limit: Limit, point: PointResult, result: TestResult) -> str:
    """Why a limit on start-up cannot be judged, and the way out."""
    begun = f"the SLO {limit} cannot be judged: "
    if result.runs_already:
        return (
            f"{begun}{result.subject_text} runs already and was not started from here; leave "
            f"{limit.key.name} out, or name an engine to start (--llmperf-engine vllm)"
        )
    if limit.key == _WARM:
        once = len(_values(point.runs, _COLD)) == 1
        return (
            f"{begun}it is about starts that find their caches warm, and {_told(_COLD, point)} found them "
            "empty; "
            + ("--llmperf-launches 2 starts again with what is cached by then. Where " if once else "where ")
            + "nothing is kept from one start to the next, as in a new container, limit cold_startup_s= "
            "instead"
        )
    return (
        f"{begun}it is about starts that find their caches empty, and by the engine's log "
        f"{_told(_WARM, point)} did not, or it has none; empty them before the test run (for vLLM: a new "
        "VLLM_CACHE_ROOT), or limit startup_s= instead"
    )


def _told(metric: MetricKey, point: PointResult) -> str:
    """The starts that there were, and how long they took."""
    took = [metric.format(value) for value in _values(point.runs, metric)]
    return f"{'the only start' if len(took) == 1 else f'all {len(took)} starts'} ({', '.join(took)})"


def _values(runs: Iterable[Run], metric: MetricKey) -> list[float]:
    by_launch = {
        run.launch: value for run in runs if (value := run.measurement.values.get(metric.name)) is not None
    }
    return list(by_launch.values())
