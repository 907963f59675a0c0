"""Did it get worse? All metrics of a session's tests, a candidate's launches against a base's.

An alarm fails a build, so the promise is for the whole session: whatever the number of tests, load points and
metrics, and however often one looks again after another launch, at most one session in a hundred in which
nothing changed raises one. Each of its comparisons may spend the same share of that (Bonferroni), over the
looks as in :mod:`~pytest_llmperf.judge.boundary`, and none at the first: a suspect is measured again in fresh
launches.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pytest_llmperf.judge.boundary import levels
from pytest_llmperf.judge.effect import chance_beyond
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.spread import Logs, contrasts
from pytest_llmperf.judge.student import t_quantile, t_tail
from pytest_llmperf.judge.verdict import Verdict

CONFIDENCE = 0.95
SESSION_ERROR = 0.007
"""The share of unchanged sessions that may raise an alarm. Below one in a hundred, because launches are not
as normal as the theory has them; ``bench/judge`` counts what comes of it."""
RISK = 0.05
"""A change that is worse than the tolerance with less than this probability is a pass, if one of twice the
tolerance can be ruled out as well."""

Direction = Literal["lower", "higher"]


@dataclass(frozen=True)
class Comparison:
    """One metric at one load point: a positive value for each launch of either side.

    Comparisons of one ``group`` (the same metric, say) tell each other how far launches are apart. ``prior``
    is what is known of that beforehand, ``sampling`` what a launch's own requests leave unknown, as standard
    deviations of a launch's logarithm. The candidate is launched ``least`` to ``most`` times, and the base
    with it where the comparison ``is_paired``; ``is_gapless``: no launch of either is missing.
    """

    group: str
    base: Sequence[float]
    candidate: Sequence[float]
    better: Direction
    tolerance: float
    prior: Prior
    sampling: float = 0.0
    least: int = 3
    most: int = 8
    is_paired: bool = True
    is_gapless: bool = True


@dataclass(frozen=True)
class Change:
    """Candidate relative to base: ``estimate`` +0.12 means 12 % more.

    ``base`` and ``candidate`` are the means over their launches (robust, of logarithms), ``spread`` the
    standard deviation of a launch's logarithm, ``error`` that of the change's, both known with ``degrees`` of
    freedom. ``p_value`` is that of "not worse" against "worse", ``level`` what it is held against at this
    look, and ``final_level`` at the last one. ``risk`` is the probability that the change is worse than the
    tolerance, and ``p_twice`` the p-value of one that is worse than twice as much.
    """

    base: float
    candidate: float
    base_launches: int
    candidate_launches: int
    most: int
    tolerance: float
    better: Direction
    spread: float
    error: float
    degrees: float
    p_value: float
    level: float
    final_level: float
    risk: float
    p_twice: float
    verdict: Verdict

    @property
    def estimate(self) -> float:
        return self.candidate / self.base - 1

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval, of this comparison for itself."""
        return math.expm1(math.log(self.candidate / self.base) - self._half)

    @property
    def high(self) -> float:
        return math.expm1(math.log(self.candidate / self.base) + self._half)

    @property
    def _half(self) -> float:
        return t_quantile(0.5 + CONFIDENCE / 2, self.degrees) * self.error

    @property
    def worse(self) -> float:
        """The logarithm of the change, counted upwards where it is for the worse."""
        return (1 if self.better == "lower" else -1) * math.log(self.candidate / self.base)

    @property
    def wants_launch(self) -> bool:
        """Whether another launch may decide it."""
        return self.verdict is Verdict.INCONCLUSIVE and self.candidate_launches < self.most


def judge_changes(comparisons: Sequence[Comparison], family: int | None = None) -> list[Change]:
    """Judge all comparisons of a session, in their order; to be called again whenever there are more
    launches.

    ``family`` is how many comparisons the session will have in the end, if more are to come.

    ``regressed``: worse than the tolerance by the estimate, and worse than nothing as surely as the session's
    promise needs. ``improved``: the same in the other direction. ``pass``: worse than the tolerance with a
    probability below 5 %, and worse than twice the tolerance with a p-value below 5 %, so that it does not
    come of the prior alone. Anything else is ``inconclusive``. Raises :class:`ValueError` for a comparison
    without a launch on either side, or with a value that has no logarithm.
    """
    if not comparisons:
        return []
    logs = [
        Logs(
            one.group,
            _logs(one.base),
            _logs(one.candidate),
            one.prior,
            one.sampling,
            one.is_paired and one.is_gapless,
        )
        for one in comparisons
    ]
    found = contrasts(logs)
    signs = np.array([1.0 if one.better == "lower" else -1.0 for one in comparisons])
    worse = signs * (found.means[:, 1] - found.means[:, 0])
    limits = np.array([worst_change(one.better, one.tolerance) for one in comparisons])
    tails = t_tail(np.abs(worse) / found.error, found.degrees)
    p_values = np.where(worse >= 0, tails, 1 - tails)
    risks = chance_beyond(worse, found.error, found.degrees, limits)
    p_twice = t_tail((2 * limits - worse) / found.error, found.degrees)
    each = SESSION_ERROR / max(len(comparisons), family or 0)
    changes = []
    for i, one in enumerate(comparisons):
        level, final = _levels(one, each)
        change = Change(
            base=math.exp(found.means[i, 0]),
            candidate=math.exp(found.means[i, 1]),
            base_launches=len(one.base),
            candidate_launches=len(one.candidate),
            most=one.most,
            tolerance=one.tolerance,
            better=one.better,
            spread=float(found.spread[i]),
            error=float(found.error[i]),
            degrees=float(found.degrees[i]),
            p_value=float(p_values[i]),
            level=level,
            final_level=final,
            risk=float(risks[i]),
            p_twice=float(p_twice[i]),
            verdict=Verdict.INCONCLUSIVE,
        )
        is_better = bool(worse[i] < -limits[i] and tails[i] <= each)
        changes.append(dataclasses.replace(change, verdict=_verdict(change, limits[i], is_better)))
    return changes


def worst_change(better: Direction, tolerance: float) -> float:
    """The tolerance as a logarithm: 5 % more of what should be low, or 5 % less of what should be high."""
    return math.log1p(tolerance) if better == "lower" else -math.log1p(-tolerance)


def _verdict(change: Change, limit: float, is_better: bool) -> Verdict:
    if change.worse > limit and change.p_value < change.level:
        return Verdict.REGRESSED
    if is_better:
        return Verdict.IMPROVED
    is_within = change.risk < RISK and change.p_twice < RISK
    return Verdict.PASS if is_within else Verdict.INCONCLUSIVE


def _levels(one: Comparison, each: float) -> tuple[float, float]:
    """The p-values that count as an alarm at this look and at the last; none do at the first, if there are
    more."""
    looks = range(min(one.least + 1, one.most), one.most + 1)
    information = [_information(one, launches) for launches in looks]
    spent = levels(each, [known / information[-1] for known in information])
    now = min(len(one.candidate), one.most) - looks.start
    return (spent[now] if now >= 0 else 0.0), spent[-1]


def _information(one: Comparison, launches: int) -> float:
    base = launches if one.is_paired else len(one.base)
    return base * launches / (base + launches)


def launches_to_decide(change: Change, most: int = 24) -> int | None:
    """About how many launches a side would decide an inconclusive change, were its estimate the truth.

    Assumes the spread of the change; None if more than ``most``.
    """
    limit = worst_change(change.better, change.tolerance)
    have = 1 / change.base_launches + 1 / change.candidate_launches
    known = change.base_launches + change.candidate_launches
    for launches in range(max(change.base_launches, change.candidate_launches) + 1, most + 1):
        error = change.error * math.sqrt(2 / launches / have)
        degrees = change.degrees + 2 * launches - known
        figures = (np.array([figure]) for figure in (change.worse, error, degrees, limit))
        then = dataclasses.replace(
            change,
            error=error,
            degrees=degrees,
            p_value=float(t_tail(change.worse / error, degrees)),
            level=change.final_level,
            risk=float(chance_beyond(*figures)[0]),
            p_twice=float(t_tail((2 * limit - change.worse) / error, degrees)),
        )
        if _verdict(then, limit, is_better=False) is not Verdict.INCONCLUSIVE:
            return launches
    return None


def _logs(values: Sequence[float]) -> list[float]:
    if any(not value > 0 for value in values):
        raise ValueError("logarithms need positive values")
    return [math.log(value) for value in values]
