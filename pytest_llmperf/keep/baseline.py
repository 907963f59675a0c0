"""Accepted measurements, one small file for each test and environment, meant to be committed."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.environment import differences, environment_key
from pytest_llmperf.keep.files import WAY_OUT, read_json, rounded, write_json

KIND, VERSION = "llmperf_baseline", 1


@dataclass(frozen=True)
class Baseline:
    """What a test once measured: metric values by point, one for each launch, and for those over requests
    how badly the launch's requests know them."""

    test: str
    accepted: str
    environment: Mapping[str, str]
    subject: Mapping[str, str]
    subject_text: str
    points: Mapping[str, Mapping[str, Sequence[float]]]
    uncertainty: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Raises :class:`StoreError` for a file that is damaged, foreign or incomplete."""
        content = read_json(path, KIND, VERSION)
        try:
            return cls(
                test=str(content["test"]),
                accepted=str(content["accepted"]),
                environment=_texts(content["environment"]),
                subject=_texts(content["subject"]["fields"]),
                subject_text=str(content["subject"]["text"]),
                points=_by_point(content["points"]),
                uncertainty=_by_point(content.get("uncertainty", {})),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StoreError(f"{path} is damaged: {type(error).__name__}: {error}; {WAY_OUT}") from None

    def write(self, path: Path) -> None:
        """Atomically. Raises :class:`StoreError`."""
        write_json(
            path,
            {
                KIND: VERSION,
                "test": self.test,
                "accepted": self.accepted,
                "subject": {"text": self.subject_text, "fields": dict(self.subject)},
                "environment": dict(self.environment),
                "points": _rounded(self.points),
                "uncertainty": _rounded(self.uncertainty),
            },
        )

    @property
    def launches(self) -> int:
        """The number of launches behind it (of its best known metric)."""
        return max((len(v) for metrics in self.points.values() for v in metrics.values()), default=0)


def _texts(value: Any) -> dict[str, str]:
    return {str(name): str(text) for name, text in value.items()}


def _by_point(content: Any) -> dict[str, dict[str, tuple[float, ...]]]:
    return {
        str(key): {str(metric): _launches(values) for metric, values in metrics.items()}
        for key, metrics in content.items()
    }


def _rounded(points: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, list[float]]]:
    return {
        key: {metric: [rounded(value) for value in values] for metric, values in metrics.items()}
        for key, metrics in points.items()
    }


def _launches(values: Any) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError("a metric without a list of values")
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
        raise ValueError("a value that is not a number")
    if min(values) < 0:
        raise ValueError("a value below 0")
    return tuple(map(float, values))


class Baselines:
    """The directory of baselines."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, test: str, environment: Mapping[str, str]) -> Path:
        """Where the baseline of a test in an environment is, or would be."""
        return self.directory / f"{_slug(test)}.{environment_key(environment)}.json"

    def find(self, test: str, environment: Mapping[str, str]) -> Baseline | None:
        """The baseline of this test in this environment. Raises :class:`StoreError` if it is damaged."""
        path = self.path(test, environment)
        if path.exists():
            return Baseline.read(path)
        return next((b for b in self._others(test) if b.environment == environment), None)

    def elsewhere(self, test: str, environment: Mapping[str, str]) -> list[list[str]]:
        """How this environment differs from each that has a readable baseline of the test, closest first."""
        found = [differences(other.environment, environment) for other in self._others(test)]
        return sorted(found, key=len)

    def _others(self, test: str) -> Iterator[Baseline]:
        for path in sorted(self.directory.glob(f"{_slug(test)}.*.json")):
            with contextlib.suppress(StoreError):  # it is for a test run in its own environment to complain
                if (baseline := Baseline.read(path)).test == test:
                    yield baseline


def _slug(test: str) -> str:
    """A file name that a person recognises and that two tests never share."""
    file, _, function = test.partition("::")
    name = f"{file.rpartition('/')[2].removesuffix('.py')}-{function}"
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return f"{readable[:80]}-{hashlib.sha256(test.encode()).hexdigest()[:6]}"
