"""Sessions of a history, with figures of our choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pytest_llmperf.keep.history import Result, Session

TEST, POINT, TTFT = "test_it.py::test_it", "1024 in / 128 out, poisson 4/s for 30 s", "ttft_p95_ms"
BEGIN = datetime(2026, 9, 1, 2, 0, tzinfo=UTC)
HERE = {"place": "local process", "model": "m sha256:1", "accelerators": "NVIDIA H100 80GB HBM3"}
VLLM = {"engine": "vllm", "version": "0.22.1"}


def result(
    *values: float,
    test: str = TEST,
    side: str = "candidate",
    point: str = POINT,
    metric: str = TTFT,
    subject: Mapping[str, str] = VLLM,
    environment: Mapping[str, str] = HERE,
) -> Result:
    text = f"{subject['engine']}=={subject['version']}"
    points = {point: {metric: values}}
    unknown = {point: {metric: (0.01,) * len(values)}}
    return Result(test, side, "pass", text, subject, environment, points, unknown)


def session(number: int, *results: Result, commit: str = "c" * 40, **changed: object) -> Session:
    """One a night, the first one number 0."""
    started = BEGIN + timedelta(days=number)
    path = f"/p/.llmperf/runs/{number}.json"
    known = Session(f"s{number:04}", started, "complete", commit, False, path, results)
    return Session(**{**vars(known), **changed})


def nightly(values: Sequence[float], since: int = 0) -> list[Session]:
    """One launch a night of one test."""
    return [session(since + number, result(value)) for number, value in enumerate(values)]
