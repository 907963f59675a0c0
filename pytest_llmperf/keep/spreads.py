"""What former sessions know about how much launches differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.files import read_json
from pytest_llmperf.keep.record import KIND, VERSION, Store, now
from pytest_llmperf.keep.values import by_metric

MOST_RECORDS = 50
MOST_BYTES, MOST_BYTES_OF_ONE = 32_000_000, 20_000_000

Spreads = Mapping[str, Sequence[tuple[float, int]]]


class _Group(NamedTuple):
    """The launches of one subject in one session: values of a test's metric at a load point."""

    test: str
    point: str
    metric: str
    values: tuple[float, ...]

    def repeats(self, other: _Group) -> bool:
        """Whether both are of the same launches, which a record and a baseline may each have rounded."""
        alike = map(_are_one, sorted(self.values), sorted(other.values))
        return self[:3] == other[:3] and len(self.values) == len(other.values) and all(alike)


def _are_one(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=2e-5)


class PastSpreads:
    """The records and baselines of a store as they are now: what is written later is not of the past."""

    def __init__(self, store: Store) -> None:
        self._records = _newest_first(store.directory / "runs")[:MOST_RECORDS]
        self._baselines = sorted(store.baselines.glob("*.json"))
        self._began = now()
        self._known: list[tuple[Mapping[str, str], Spreads]] = []

    def of(self, environment: Mapping[str, str]) -> Spreads:
        """By the name of a metric: for each subject, session, test and load point the variance of the
        logarithms of its launches, and the degrees of freedom that it has.

        Of this environment only, and of runs that were valid. What is damaged or huge is left out.
        """
        for known, spreads in self._known:
            if known == environment:
                return spreads
        found: dict[str, list[tuple[float, int]]] = {}
        seen: dict[tuple[str, str, str], list[_Group]] = {}
        for group in self._groups(environment):
            alike = seen.setdefault(group[:3], [])
            if len(group.values) > 1 and min(group.values) > 0 and not any(map(group.repeats, alike)):
                alike.append(group)
                found.setdefault(group.metric, []).append(_variance(group.values))
        self._known.append((dict(environment), found))
        return found

    def _groups(self, environment: Mapping[str, str]) -> Iterator[_Group]:
        readers: tuple[tuple[list[Path], Callable[[Path, Mapping[str, str]], list[_Group]]], ...] = (
            (self._records, _of_record),
            (self._baselines, self._of_baseline),
        )
        left = MOST_BYTES
        for paths, read in readers:
            for path in paths:
                size = _size(path)
                if size > min(left, MOST_BYTES_OF_ONE):
                    continue
                left -= size
                try:
                    yield from read(path, environment)
                except (StoreError, KeyError, TypeError, AttributeError, ValueError):
                    continue  # the past is a help: what is wrong with it is no reason to stop

    def _of_baseline(self, path: Path, environment: Mapping[str, str]) -> list[_Group]:
        baseline = Baseline.read(path)
        if differences(baseline.environment, environment) or self._is_new(baseline):
            return []
        return [
            _Group(baseline.test, point, metric, tuple(values))
            for points in (baseline.points, _values_of_origins(baseline))
            for point, metrics in points.items()
            for metric, values in metrics.items()
        ]

    def _is_new(self, baseline: Baseline) -> bool:
        return datetime.fromisoformat(baseline.accepted) >= self._began.replace(microsecond=0)


def _newest_first(directory: Path) -> list[Path]:
    """By name, which begins with the time at which the session did."""
    return sorted(directory.glob("*.json"), key=lambda path: path.name, reverse=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say no


def _of_record(path: Path, environment: Mapping[str, str]) -> list[_Group]:
    return [
        _Group(entry["test"], point["key"], metric, tuple(values.values()))
        for entry in read_json(path, KIND, VERSION)["tests"]
        if not differences(entry["environment"], environment)
        for point in entry["points"]
        for runs in (point["runs"], point.get("base_runs") or [])
        for metric, values in by_metric(runs).items()
    ]


def _values_of_origins(baseline: Baseline) -> dict[str, dict[str, Sequence[float]]]:
    return {
        point: {metric: origin.values for metric, origin in metrics.items()}
        for point, metrics in baseline.origins.items()
    }


def _variance(values: Sequence[float]) -> tuple[float, int]:
    logs = [math.log(value) for value in values]
    mean = math.fsum(logs) / len(logs)
    return math.fsum((log - mean) ** 2 for log in logs) / (len(logs) - 1), len(logs) - 1
