"""What the measurements of a session mean: verdicts on all its tests, and which want another launch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_llmperf.accepting import accept
from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.errors import InvalidRun, StoreError
from pytest_llmperf.judge.change import SESSION_ERROR, Change, Comparison, judge_changes
from pytest_llmperf.judge.objective import Objective, judge_limit
from pytest_llmperf.judge.prior import RUN_SPREAD, Prior, learn
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.environment import differences
from pytest_llmperf.keep.prices import why_unknown
from pytest_llmperf.keep.result import Base, Creep, PointResult, Run, TestResult
from pytest_llmperf.keep.spreads import PastSpreads
from pytest_llmperf.measure.metrics import is_supported
from pytest_llmperf.startups import is_judged_at, may_add, may_come, unjudged, why_missing
from pytest_llmperf.validity import check_limits, check_runs


class Judge:
    """Judges the tests of one session, after each round of launches."""

    def __init__(self, settings: Settings, baselines: Baselines, spreads: PastSpreads | None = None) -> None:
        self._settings, self._baselines, self._spreads = settings, baselines, spreads
        self._bases: dict[str, Baseline | None] = {}

    def judge(self, results: Iterable[TestResult], family: int = 0) -> None:
        """Judge all ``results`` of the session on what was measured until now.

        Sets verdict, error, objectives, changes and ``wants_launch`` of each that has points and is not over;
        one that is over keeps what it has, but tells how far launches are apart. ``family`` is how many
        comparisons the session will have, if some are still to come. Raises nothing for a verdict.
        """
        matches: list[_Match] = []
        measured = [result for result in results if result.points]
        limits = sum(
            _is_judged(limit.key, key, result)
            for result in measured
            for key, point in result.points.items()
            for limit in result.slo.with_no_errors().limits
            if not point.is_explored
        )
        self._slo_error = SESSION_ERROR / max(limits, 1)
        for result in measured:
            try:
                base = self._base(result)
                if not result.is_over:
                    self._begin(result, base)
                matches += self._matches(result, base)
            except (InvalidRun, StoreError) as error:
                if not result.is_over:
                    is_invalid = isinstance(error, InvalidRun)
                    result.verdict = Verdict.INVALID if is_invalid else Verdict.ERROR
                    result.error, result.wants_launch = str(error), False
        changes = judge_changes([match.comparison for match in matches], family)
        for match, change in zip(matches, changes, strict=True):
            if not match.result.is_over:
                match.keep(change)
        for result in measured:
            if not result.is_over and result.error is None:
                result.verdict = self._verdict(result)
                result.wants_launch = self._wants_launch(result)
                if result.undecided_origins:
                    since = ", ".join(result.undecided_origins)
                    result.baseline += f"; undecided against what it grew from: {since}"

    def accept(self, result: TestResult) -> None:
        """Make what was measured the baseline of its test, unless its SLO is broken. Raises
        :class:`StoreError`."""
        accept(result, self._baselines, self._settings.gate)

    # -- one test -----------------------------------------------------------------------------------

    def _base(self, result: TestResult) -> Baseline | None:
        """The stored one, if that is what the test is compared with, as it was at the first look: what is
        accepted is not compared with itself. Raises :class:`StoreError`."""
        if self._settings.against is not None:
            return None
        if result.nodeid not in self._bases:
            self._bases[result.nodeid] = self._baselines.find(result.nodeid, result.environment)
        return self._bases[result.nodeid]

    def _begin(self, result: TestResult, base: Baseline | None) -> None:
        """What can be said of a test for itself. Raises :class:`InvalidRun`."""
        result.error, result.wants_decision, result.compared_with = None, False, None
        result.wants_value = False
        result.undecided_origins = []
        result.decided = set()
        for key, point in result.points.items():
            point.objectives, point.changes, point.creep = [], {}, {}
            if base is not None and base.past:
                point.course = {m: base.course(key, m.name) for m in self._settings.gate}
        check_runs(result)
        check_limits(result)
        for key, point in result.points.items():
            point.objectives = self._objectives(key, point, result)
        if self._settings.against is not None:
            result.compared_with = Base(
                "side by side", result.base_subject_text, result.base_subject, _base_launches(result)
            )
            result.baseline = f"measured side by side with {result.base_subject_text}"
        elif base is not None:
            result.compared_with = Base(
                "baseline",
                base.subject_text,
                base.subject,
                base.launches,
                base.accepted,
                self._settings.baseline,
            )
            result.baseline = (
                f"compared with {base.subject_text}, accepted {base.accepted[:10]}, "
                f"{base.launches} launch{'es' if base.launches != 1 else ''}"
            )
        else:
            elsewhere = self._baselines.elsewhere(result.nodeid, result.environment)
            result.baseline = _not_compared(elsewhere, self._settings.baseline)
        if result.compared_with is not None:
            result.subject_differences = differences(result.compared_with.fields, result.subject)
            self._say_what_is_missing(result, base)

    def _say_what_is_missing(self, result: TestResult, base: Baseline | None) -> None:
        missing: dict[str, None] = {}
        unknown: dict[str, None] = {}
        for key, point in result.points.items():
            if base is not None and key not in base.points:
                missing[point.point.label] = None
                continue
            for metric in self._gate(key, result):
                if not _is_known(metric, point):
                    unknown[f"{metric.label} at {point.point.label}"] = None
                    continue
                values = _base_values(base, key, point, metric)
                if not _have_logarithms(values, point.values(metric)):
                    where = f"at {point.point.label}"
                    lacks_start = base is None or (values and not point.values(metric))
                    if metric.metric.per == "launch" and lacks_start:
                        where = f"({why_missing(metric, result)})"
                        result.wants_value |= self._may_come(metric, point, result)
                    missing[f"{metric.label} {where}"] = None
        if missing:
            result.baseline += f"; not compared: {', '.join(missing)}"
        if unknown:
            result.baseline += f"; too few requests for {', '.join(unknown)}"
        if base is not None and base.is_weak:
            result.baseline += f"; {base.weakness}"
        result.is_compared = not missing

    def _gate(self, key: str, result: TestResult) -> list[MetricKey]:
        """The metrics that are compared at a load point."""
        return [metric for metric in self._settings.gate if _is_judged(metric, key, result)]

    def _may_come(self, metric: MetricKey, point: PointResult, result: TestResult) -> bool:
        """Whether a value that is missing may be there after another launch, and there may be one."""
        against = self._settings.against
        if result.runs_already or result.is_last_look or (against is not None and against.url is not None):
            return False
        is_left = result.rounds - result.replaced < self._settings.launches.most
        return is_left and may_come(metric, point, side_by_side=against is not None)

    def _objectives(self, key: str, point: PointResult, result: TestResult) -> list[Objective]:
        """Raises :class:`InvalidRun` for a limit on something that was not measured."""
        objectives = []
        for limit in result.slo.with_no_errors().limits:
            if not _is_judged(limit.key, key, result):
                continue
            if values := point.values(limit.key):
                prior, sampling = self._known(result, limit.key, point.uncertainty(limit.key))
                if result.runs_already:  # one launch, and its SLO is that launch's own
                    prior = Prior(RUN_SPREAD)
                requests = sum(run.measurement.requests for run in point.runs if run.is_valid)
                launches = self._settings.launches
                looks = 1 if result.runs_already or launches.are_fixed else launches.most
                error = self._slo_error / looks
                objectives.append(judge_limit(limit, values, prior, sampling, requests, error))
            elif self._may_come(limit.key, point, result):
                result.wants_value = True
            elif limit.key.metric.per == "launch":
                raise InvalidRun(unjudged(limit, point, result))
            elif any(run.measurement.values.get("error_rate", 1.0) < 1 for run in point.runs):
                name = limit.key.metric_name
                way_out = "; ask for more output tokens" if name in ("tpot", "itl") else ""
                if name == "cost":
                    way_out = f", {why_unknown(result.environment)}"
                raise InvalidRun(
                    f"the SLO {limit} cannot be judged at {point.point.label}: it has no value there{way_out}"
                )
        return objectives

    # -- all of them --------------------------------------------------------------------------------

    def _matches(self, result: TestResult, base: Baseline | None) -> Iterator[_Match]:
        """The comparisons of a test, with its base and with what that base grew from."""
        for key, point in result.points.items():
            for metric in self._gate(key, result):
                values = _base_values(base, key, point, metric)
                if not _is_known(metric, point) or not _have_logarithms(values, point.values(metric)):
                    continue
                known = base.uncertainty.get(key, {}).get(metric.name, ()) if base else ()
                known = known or point.base_uncertainty(metric)
                yield _Match(result, key, metric, self._comparison(result, point, metric, values, known))
                origin = base.origin(key, metric.name) if base else None
                if origin is not None and _have_logarithms(origin.values):
                    since = self._comparison(
                        result, point, metric, origin.values, origin.uncertainty, "origin "
                    )
                    creep = Creep(origin.accepted, origin.subject_text, origin.steps)
                    yield _Match(result, key, metric, since, creep)

    def _comparison(
        self,
        result: TestResult,
        point: PointResult,
        metric: MetricKey,
        base: Sequence[float],
        known: Sequence[float],
        group: str = "",
    ) -> Comparison:
        lacking, base_lacking = point.lacking(metric)
        # Launches without a value are no looks.
        least, most = (max(1, looks - lacking) for looks in self._looks(result))
        prior, sampling = self._known(result, metric, [*known, *point.uncertainty(metric)])
        return Comparison(
            group=f"{group}{metric.name}",
            base=base,
            candidate=point.values(metric),
            better=metric.metric.better,
            tolerance=result.tolerances.of(metric),
            prior=prior,
            sampling=sampling,
            least=least,
            most=most,
            is_paired=self._settings.against is not None and self._settings.against.url is None,
            is_gapless=not (result.replaced or lacking or base_lacking),
        )

    def _known(
        self, result: TestResult, metric: MetricKey, uncertainty: Sequence[float]
    ) -> tuple[Prior, float]:
        """What is known of the spread between launches, and what a launch's requests leave unknown beside
        it."""
        former = self._spreads.of(result.environment).get(metric.name, ()) if self._spreads else ()
        return learn(Prior(metric.metric.spread), former), _mean_square_root(uncertainty)

    def _looks(self, result: TestResult) -> tuple[int, int]:
        """The fewest and the most launches of a comparison; what is to be accepted is looked at once."""
        if result.runs_already:
            return 1, 1
        launches = self._settings.launches
        least = launches.first(compares=True)
        if self._settings.update:
            return least, least
        now = result.rounds - result.replaced
        return (min(least, now), now) if result.is_last_look else (least, launches.most)

    def _verdict(self, result: TestResult) -> Verdict:
        limits = {objective.verdict for _, objective in _binding(result)}
        changes = {change.verdict for point in result.points.values() for change in point.changes.values()}
        if any(point.creep for point in result.points.values()):
            changes.add(Verdict.REGRESSED)
        if result.undecided_origins:
            changes.add(Verdict.INCONCLUSIVE)
        if self._settings.update:
            changes = set()
        for verdict in (Verdict.SLO_BROKEN, Verdict.REGRESSED, Verdict.INCONCLUSIVE):
            if verdict in limits | changes:
                return verdict
        if self._settings.inconclusive == "fail" and not result.is_compared and not self._settings.update:
            return Verdict.INCONCLUSIVE
        return Verdict.IMPROVED if Verdict.IMPROVED in changes else Verdict.PASS

    def _wants_launch(self, result: TestResult) -> bool:
        """Whether it has not had all the launches that every test gets, or is undecided and may have more."""
        launches = self._settings.launches
        compares = result.compared_with is not None or self._settings.update
        is_once = result.runs_already and not launches.are_fixed
        rounds = result.rounds - result.replaced
        if rounds < (1 if is_once else launches.first(compares=compares)):
            return True
        if result.runs_already or rounds >= launches.most:
            return False
        if result.verdict in (Verdict.SLO_BROKEN, Verdict.REGRESSED):
            return False
        if result.wants_value or any(
            objective.verdict is Verdict.INCONCLUSIVE and may_add(objective.limit.key, point)
            for point, objective in _binding(result)
        ):
            return True
        return result.wants_decision and not self._settings.update


@dataclass(frozen=True)
class _Match:
    """One comparison, whose it is, and what it is compared with if that is not the base itself."""

    result: TestResult
    key: str
    metric: MetricKey
    comparison: Comparison
    origin: Creep | None = None

    def keep(self, change: Change) -> None:
        """Put it where it belongs. A change from the origin counts only where the last step is none."""
        point = self.result.points[self.key]
        self.result.wants_decision |= change.wants_launch and may_add(self.metric, point)
        if change.verdict in (Verdict.REGRESSED, Verdict.IMPROVED):
            self.result.decided.add((self.key, self.metric))
        if self.origin is None:
            point.changes[self.metric] = change
            return
        if change.verdict is Verdict.INCONCLUSIVE:
            since = f"{self.metric.label} at {point.point.label}, since {self.origin.since[:10]}"
            self.result.undecided_origins.append(since)
        is_seen = point.changes[self.metric].verdict is Verdict.REGRESSED
        if change.verdict is Verdict.REGRESSED and not is_seen:
            point.creep[self.metric] = self.origin.seen(change)


def _not_compared(others: Sequence[Sequence[str]], name: str | None) -> str:
    """Why there is nothing to compare with; ``others`` are the differences from baselines elsewhere,
    ``name`` what ``--llmperf-baseline`` said."""
    if not others and name is not None:
        return f"not compared: {name} has no baseline of this test"
    if not others:
        return "no baseline yet (--llmperf-update accepts one)"
    closest = "; ".join(others[0])
    if len(others) == 1:
        return f"not compared: the baseline is from another environment ({closest})"
    return f"not compared: all {len(others)} baselines are from other environments (the closest: {closest})"


def _is_judged(metric: MetricKey, key: str, result: TestResult) -> bool:
    return result.points[key].point.concerns(metric.metric) and is_judged_at(metric, key, result)


def _binding(result: TestResult) -> Iterator[tuple[PointResult, Objective]]:
    """The limits that break something where they are missed."""
    for point in result.points.values():
        yield from () if point.is_explored else ((point, objective) for objective in point.objectives)


def _base_values(base: Baseline | None, key: str, point: PointResult, metric: MetricKey) -> Sequence[float]:
    if base is None:
        return point.base_values(metric)
    if metric.metric.per == "launch":  # kept at one load point, which may not be the first any more
        return next((values[metric.name] for values in base.points.values() if metric.name in values), ())
    return base.points.get(key, {}).get(metric.name, ())


def _have_logarithms(*sides: Sequence[float]) -> bool:
    return all(side and min(side) > 0 for side in sides)


def _is_known(metric: MetricKey, point: PointResult) -> bool:
    """Whether every run had the requests that the percentile needs: what is marked ~ fails no build."""
    if metric.metric.per != "request":
        return True
    runs = (run for run in (*point.runs, *point.base_runs) if run.is_valid)
    return all(is_supported(metric, _succeeded(run)) for run in runs)


def _succeeded(run: Run) -> int:
    return run.measurement.requests - sum(count for count, _ in run.measurement.errors.values())


def _base_launches(result: TestResult) -> int:
    runs = (run for point in result.points.values() for run in point.base_runs)
    return len({run.launch for run in runs if run.is_valid})


def _mean_square_root(deviations: Sequence[float]) -> float:
    return math.hypot(*deviations) / math.sqrt(len(deviations)) if deviations else 0.0
