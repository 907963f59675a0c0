"""What a bisection is to do, as its command line said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.bisect.arguments import shown
from pytest_llmperf.bisect.commits import Recipe
from pytest_llmperf.bisect.kind import Kind

MEASURES = "--llmperf-gate"


@dataclass(frozen=True)
class BisectOrder:
    """Between what and what, by which tests, and where everything is kept.

    ``kind`` None: what the ends differ in. ``arguments`` are those for pytest.
    """

    good: str
    bad: str
    kind: Kind | None
    arguments: Sequence[str]
    out: Path
    confidence: float
    pairs: int
    budget_s: float | None = None
    metric: str | None = None
    repository: Path = Path()
    paths: Sequence[str] = ()
    recipe: Recipe | None = None
    with_pre: bool = False
    with_yanked: bool = False
    lists: bool = False
    retries_unusable: bool = False
    json: Path | None = None
    markdown: Path | None = None

    @property
    def pytest_arguments(self) -> list[str]:
        """Those of the person, and the metric that is to be followed."""
        return [*self.arguments, *([f"{MEASURES}={self.metric}"] if self.metric else [])]

    def between(self, good: str, bad: str) -> BisectOrder:
        """The same between other ends."""
        return dataclasses.replace(self, good=good, bad=bad)

    def command(self, kind: Kind) -> list[str]:
        """What a person types for it, without secrets."""
        words = ["llmperf", "bisect", "--good", self.good, "--bad", self.bad, kind]
        if self.recipe is not None:
            words += ["--repository", str(self.repository)] if self.repository != Path() else []
            words += ["--subject", self.recipe.subject]
            words += ["--build", self.recipe.build] if self.recipe.build else []
            words += ["--wheel", self.recipe.wheel] if self.recipe.wheel else []
            words += [word for path in self.paths for word in ("--paths", path)]
        words += ["--metric", self.metric] if self.metric else []
        return [*words, "--", *shown(tuple(self.arguments))]

    def comparison(self, good: str, bad: str) -> list[str]:
        """What a person types to measure two subjects side by side with the same tests."""
        return [
            *("pytest", "--llmperf", "--llmperf-engine", bad, "--llmperf-against", good),
            *("--llmperf-launches", "3..8", *shown(tuple(self.pytest_arguments))),
        ]


@dataclass(frozen=True)
class StepOrder:
    """Which commit to judge, by which tests; ``good`` and ``bad`` None: what git bisect was told first."""

    recipe: Recipe
    arguments: Sequence[str]
    out: Path
    pairs: int
    metric: str | None = None
    repository: Path = Path()
    good: str | None = None
    bad: str | None = None

    @property
    def pytest_arguments(self) -> list[str]:
        """Those of the person, and the metric that is to be followed."""
        return [*self.arguments, *([f"{MEASURES}={self.metric}"] if self.metric else [])]
