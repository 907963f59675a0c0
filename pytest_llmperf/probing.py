"""Probes: what a test tries out in the current launch, without a load point of its own for each.

They are for searches by others, as Hypothesis, which asks for one workload after the other, and for some of
them again. So the same question has the same answer for as long as the launch is tested, an answer that is
not sure is none, and after the budget there are no more.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pytest_llmperf.collect import check_engine
from pytest_llmperf.declare.by_hand import load_command
from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.nodeid import short_name
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError, EngineError
from pytest_llmperf.judge.breaking import MOST, judge_breaking
from pytest_llmperf.judge.objective import Objective
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.files import rounded
from pytest_llmperf.measure.measurement import Measurement
from pytest_llmperf.places.postmortem import command_line
from pytest_llmperf.report.progress import Progress, Told, duration
from pytest_llmperf.rig import Rig
from pytest_llmperf.session import PerformanceSession

Answer = Literal["met", "broken", "undecided", "invalid", "assumed"]
_ANSWERS: Mapping[Verdict, Answer] = {
    Verdict.PASS: "met",
    Verdict.SLO_BROKEN: "broken",
    Verdict.INCONCLUSIVE: "undecided",
}
_NOTHING = {"invalid": "invalid, because the load generator was late", "assumed": "not measured"}


@dataclass(frozen=True, repr=False)
class Probe:
    """Whether a workload breaks its limits in the current launch.

    ``answer`` is ``met``, ``broken``, ``undecided`` (the limit is within the interval of three runs),
    ``invalid`` (the load generator was late, twice) or ``assumed`` (nothing was measured: the budget was
    spent, or the engine does not start). As a text it has the numbers, and how to measure it alone.
    """

    workload: Workload
    point: LoadPoint
    answer: Answer
    objectives: tuple[Objective, ...] = ()
    runs: int = 0
    by_hand: tuple[str, ...] = ()

    @property
    def breaks(self) -> bool:
        """Only what is known to: whatever else there is to say counts as passing."""
        return self.answer == "broken"

    def check(self) -> None:
        """Raises :class:`AssertionError` with the numbers if it breaks its limits."""
        __tracebackhide__ = True
        if self.breaks:
            raise AssertionError(str(self))

    @property
    def told(self) -> str:
        """On one line."""
        what = f"{self.workload}, {self.point.key}"
        if not self.objectives:
            return f"{what}: {_NOTHING[self.answer]}"
        broken = [one for one in self.objectives if one.verdict is Verdict.SLO_BROKEN]
        shown = broken or [one for one in self.objectives if one.limit.value] or self.objectives
        runs = f"{self.runs} run{'s' if self.runs != 1 else ''}"
        return f"{what}: {'; '.join(map(_told, shown))}: {self.answer} in {runs}"

    def __repr__(self) -> str:
        return f"<Probe {self.told}>"

    def __str__(self) -> str:
        return "\n".join((self.told, *self.by_hand))


class Probing:
    """All probes of one test in one launch."""

    def __init__(self, session: PerformanceSession, nodeid: str, plan: Plan) -> None:
        self._session, self._nodeid, self._plan = session, nodeid, plan
        self._known: dict[object, Probe | EngineError] = {}
        self._not_starting: set[Subject] = set()
        self._began: float | None = None
        self.has_moved = False
        """Whether another engine was probed, so that the test's own may not run any more."""
        self._summary: dict[str, Any] = dict.fromkeys(("probes", "runs", "repeated"), 0)
        self._summary |= {"seconds": 0.0, "answers": {}, "last_broken": None}

    def probe(
        self, workload: Workload, point: LoadPoint, slo: Slo, engine: str | None, budget_s: float
    ) -> Probe:
        """Measure, or answer as before. Raises :class:`DeclarationError` for an engine that is not known, and
        :class:`EngineError` if it does not start or does not survive: for the next one it is started anew."""
        plan = self._planned(engine)
        key = plan.subject, str(workload), point.key, slo
        if (found := self._known.get(key)) is not None:
            self._summary["repeated"] += 1
        else:
            begun = time.monotonic()
            self._began = begun if self._began is None else self._began
            found = self._known[key] = self._answer(workload, point, slo, plan, budget_s)
            self._count(found, time.monotonic() - begun)
        if isinstance(found, EngineError) or found.breaks:
            self._summary["last_broken"] = {
                "workload": str(workload),
                "load": point.key,
                "engine": str(plan.subject),
                **_broken(found, f"{workload}, {point.key}"),
            }
        if isinstance(found, EngineError):
            raise type(found)(*found.args)
        return found

    def _planned(self, engine: str | None) -> Plan:
        if engine is None:
            return self._plan
        if self._session.settings.against is not None:
            raise DeclarationError(
                "llmperf.probe(engine=…): side by side, the engines are those of the session"
            )
        subject = parse_subject(engine)
        check_engine(subject, self._session.launches.engines)
        self.has_moved |= subject != self._plan.subject
        return dataclasses.replace(self._plan, subject=subject)

    def _answer(
        self, workload: Workload, point: LoadPoint, slo: Slo, plan: Plan, budget_s: float
    ) -> Probe | EngineError:
        assert self._began is not None
        subject = self._session.launches.subject(plan)
        is_spent = time.monotonic() - self._began > budget_s
        if is_spent:
            self._session.note(
                f"{self._nodeid}: its probes had {duration(budget_s)} (@sweep(budget=…), "
                "--llmperf-sweep-budget); what was asked after that counts as passing, whatever it is"
            )
        if is_spent or subject in self._not_starting:
            return Probe(workload, point, "assumed")
        try:
            self._session.launches.start(subject)
        except EngineError as error:
            # Asked again, it would fail for any other workload, and the smallest would be blamed.
            self._not_starting.add(subject)
            return error
        try:
            return self._measured(self._session.rig(self._nodeid, plan), workload, point, slo)
        except EngineError as error:
            return error

    def _measured(self, rig: Rig, workload: Workload, point: LoadPoint, slo: Slo) -> Probe:
        """Once where that is clear, again where it is not, or breaks the limits."""
        test = short_name(self._nodeid)
        rig.progress.phase(f"{test}: probe {self._summary['probes'] + 1}: {workload}, {point.label}")
        quiet = dataclasses.replace(rig, progress=Progress(_quietly))
        runs: list[Measurement] = []
        while True:
            run = quiet.measure(workload, point)
            if not run.is_valid:
                return Probe(workload, point, "invalid", runs=len(runs))
            runs.append(run.measurement)
            verdict, objectives = judge_breaking(slo, runs)
            if verdict is not Verdict.INCONCLUSIVE or len(runs) == MOST:
                hand = _by_hand(rig, workload, point)
                return Probe(workload, point, _ANSWERS[verdict], objectives, len(runs), hand)

    def _count(self, found: Probe | EngineError, seconds: float) -> None:
        """The record has what came of all of them together; the base decides nothing, and has none."""
        answer = "engine failed" if isinstance(found, EngineError) else found.answer
        told = self._summary
        told["probes"] += 1
        told["runs"] += 0 if isinstance(found, EngineError) else found.runs
        told["seconds"] = rounded(told["seconds"] + seconds)
        told["answers"][answer] = told["answers"].get(answer, 0) + 1
        if not self._session.launches.measures_base:
            self._session.results[self._nodeid].probed = told


def _broken(found: Probe | EngineError, what: str) -> dict[str, Any]:
    if isinstance(found, EngineError):
        return {"text": f"{what}: {str(found).splitlines()[0]}", "by_hand": [], "values": {}}
    values = {one.limit.key.name: rounded(one.value) for one in found.objectives}
    return {"text": found.told, "by_hand": list(found.by_hand), "values": values}


def _told(objective: Objective) -> str:
    limit = objective.limit
    key = limit.key
    shown = f"{key.label} {key.format(objective.value)}"
    if objective.low < objective.high:
        shown += f" (95% interval {key.format(objective.low)} to {key.format(objective.high)})"
    return f"{shown}, limit {key.format(limit.value)}"


def _by_hand(rig: Rig, workload: Workload, point: LoadPoint) -> tuple[str, ...]:
    """What one types to measure it alone, after the engine was started as it is here."""
    launch = rig.launch
    command = load_command(workload, point, launch.subject.url)
    if command is None:
        return ()
    start = () if launch.command is None else (f"engine: {command_line(launch.command)}",)
    return (*start, f"alone:  {command}")


def _quietly(told: Told, is_transient: bool) -> None:
    """What a probe does need not be told step by step."""
