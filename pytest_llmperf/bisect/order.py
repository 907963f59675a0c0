"""What a bisection is to do, as its command line said."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.bisect.arguments import following, shown
from pytest_llmperf.bisect.commits import Recipe
from pytest_llmperf.bisect.kind import Kind
from pytest_llmperf.declare.bisection import CONFIDENCE, MOST_PAIRS, OUT
from pytest_llmperf.declare.number import MAX_SECONDS
from pytest_llmperf.declare.subject import as_shown


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
        return following(self.arguments, self.metric)

    def between(self, good: str, bad: str) -> BisectOrder:
        """The same between other ends."""
        return dataclasses.replace(self, good=good, bad=bad, retries_unusable=False)

    def retrying(self) -> BisectOrder:
        """The same, and what could not be measured is tried again."""
        return dataclasses.replace(self, retries_unusable=True)

    def longer(self) -> BisectOrder:
        """The same with twice the pairs, and twice the time."""
        budget = None if self.budget_s is None else min(2 * self.budget_s, MAX_SECONDS)
        return dataclasses.replace(self, pairs=2 * self.pairs, budget_s=budget, retries_unusable=False)

    @property
    def shown_ends(self) -> tuple[str, str]:
        """As they were typed, without secrets."""
        return as_shown(self.good), as_shown(self.bad)

    def command(self, kind: Kind) -> list[str]:
        """What a person types for it, without secrets."""
        good, bad = self.shown_ends
        words = ["llmperf", "bisect", "--good", good, "--bad", bad, kind]
        if self.recipe is not None:
            words += ["--repository", str(self.repository)] if self.repository != Path() else []
            words += self.recipe.words
            words += [word for path in self.paths for word in ("--paths", path)]
        words += ["--pre"] if self.with_pre else []
        words += ["--yanked"] if self.with_yanked else []
        words += ["--metric", self.metric] if self.metric else []
        words += ["--pairs", str(self.pairs)] if self.pairs != MOST_PAIRS else []
        words += ["--confidence", f"{100 * self.confidence:g}%"] if self.confidence != CONFIDENCE else []
        words += ["--budget", f"{self.budget_s:.0f}s"] if self.budget_s is not None else []
        words += ["--out", str(self.out)] if self.out != OUT else []
        words += ["--retry-unusable"] if self.retries_unusable else []
        return [*words, "--", *shown(tuple(self.arguments))]

    def comparison(self, good: str, bad: str, launches: str) -> list[str]:
        """What a person types to measure two subjects side by side with the same tests."""
        return [
            *("pytest", "--llmperf", "--llmperf-engine", bad, "--llmperf-against", good),
            *("--llmperf-launches", launches, *shown(tuple(self.pytest_arguments))),
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
        return following(self.arguments, self.metric)
