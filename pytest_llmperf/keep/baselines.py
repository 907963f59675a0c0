"""All baselines of a store, or of what else is compared with."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.environment import differences, environment_key
from pytest_llmperf.keep.source import Directory, Source


class Baselines:
    """Baselines by test and environment: read from ``source``, else from the ``directory`` that they are
    written to."""

    def __init__(self, directory: Path, source: Source | None = None) -> None:
        self.directory = directory
        self._source = source or Directory(directory)

    def path(self, test: str, environment: Mapping[str, str]) -> Path:
        """Where the baseline of a test in an environment is written to."""
        return self.directory / _name(test, environment)

    def find(self, test: str, environment: Mapping[str, str]) -> Baseline | None:
        """The baseline of this test in this environment. Raises :class:`StoreError` if it is damaged."""
        name = _name(test, environment)
        if self._source.has(name):
            return self._source.read(name)
        return next((b for b in self._others(test) if b.environment == environment), None)

    def elsewhere(self, test: str, environment: Mapping[str, str]) -> list[list[str]]:
        """How this environment differs from each that has a readable baseline of the test, closest first."""
        found = [differences(other.environment, environment) for other in self._others(test)]
        return sorted(found, key=len)

    def _others(self, test: str) -> Iterator[Baseline]:
        for name in self._source.names(f"{_slug(test)}."):
            with contextlib.suppress(StoreError):  # it is for a test run in its own environment to complain
                if (baseline := self._source.read(name)).test == test:
                    yield baseline


def _name(test: str, environment: Mapping[str, str]) -> str:
    return f"{_slug(test)}.{environment_key(environment)}.json"


def _slug(test: str) -> str:
    """A file name that a person recognises and that two tests never share."""
    file, _, function = test.partition("::")
    name = f"{file.rpartition('/')[2].removesuffix('.py')}-{function}"
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")
    return f"{readable[:80]}-{hashlib.sha256(test.encode()).hexdigest()[:6]}"
