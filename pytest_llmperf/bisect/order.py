"""What a bisection is to do, as its command line said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.bisect.arguments import shown
from pytest_llmperf.bisect.commits import BUILD_TIMEOUT_S, Recipe
from pytest_llmperf.bisect.kind import Kind
from pytest_llmperf.bisect.search import CONFIDENCE
from pytest_llmperf.declare.subject import as_shown, without_credentials

MEASURES = "--llmperf-gate"
OUT = Path(".llmperf/bisect")
"""Where bisections are kept unless a person says otherwise."""


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
        words = ["llmperf", "bisect", "--good", as_shown(self.good), "--bad", as_shown(self.bad), kind]
        words += ["--pre"] if self.with_pre else []
        words += ["--yanked"] if self.with_yanked else []
        if self.recipe is not None:
            words += ["--repository", str(self.repository)] if self.repository != Path() else []
            words += self._recipe_words(self.recipe)
            words += [word for path in self.paths for word in ("--paths", path)]
        words += ["--metric", self.metric] if self.metric else []
        words += [f"--confidence={100 * self.confidence:g}%"] if self.confidence != CONFIDENCE else []
        words += ["--out", str(self.out)] if self.out != OUT else []
        return [*words, "--", *shown(tuple(self.arguments))]

    @staticmethod
    def _recipe_words(recipe: Recipe) -> list[str]:
        words = ["--subject", as_shown(recipe.subject)]
        words += ["--build", without_credentials(recipe.build)] if recipe.build else []
        words += ["--wheel", without_credentials(recipe.wheel)] if recipe.wheel else []
        if recipe.build_timeout_s != BUILD_TIMEOUT_S:
            words += ["--build-timeout", f"{recipe.build_timeout_s:g}"]
        return words

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
