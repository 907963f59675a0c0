"""The markers of a test, and what they and the settings come to."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pytest_llmperf.declare.load import USUAL_S, LoadPoint, Sweep
from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.declare.options import MARKERS
from pytest_llmperf.declare.search import Search
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.subject import Subject, parse_subject
from pytest_llmperf.declare.tolerance import Tolerances
from pytest_llmperf.errors import DeclarationError


def slo(**limits: float) -> pytest.MarkDecorator:
    """Limits that every load point of the test has to meet, as in ``@slo(ttft_ms=300, tpot_p99_ms=60)``.

    A latency without a statistic is a p95 unless ``--llmperf-percentile`` says otherwise. Checked when
    the test is collected.
    """
    return pytest.mark.slo(**limits)


def sweep(
    *,
    rates: Sequence[float | str] | str | None = None,
    concurrency: Sequence[int] | None = None,
    replay: Sequence[float] | None = None,
    duration: float | None = None,
    requests: int | None = None,
    arrivals: str | None = None,
    budget: float | str | None = None,
) -> pytest.MarkDecorator:
    """The load points of the test: open loop at ``rates`` requests/s (``"1..10"`` is a ramp), closed loop by
    ``concurrency``, or ``replay`` of the workload's trace at these speeds. A sweep that says none of these
    finds its own rates: a single request at a time and a throughput run bound them, and points go where the
    curve bends and where it crosses a limit of the SLO, as many as ``budget`` (seconds, or ``"5m"``) has time
    for in each launch. ``rates="adaptive:8"`` has eight at most, ``rates="linear:10"`` ten equally far apart.

    ``duration`` in seconds and ``requests`` bound each point; ``arrivals`` is ``"poisson"``, ``"constant"``
    or ``"gamma:0.5"``. Checked when the test is collected.
    """
    said = {
        "rates": rates,
        "concurrency": concurrency,
        "replay": replay,
        "duration": duration,
        "requests": requests,
        "arrivals": arrivals,
        "budget": budget,
    }
    return pytest.mark.sweep(**{name: value for name, value in said.items() if value is not None})


def tolerance(others: str | float | None = None, /, **metrics: str | float) -> pytest.MarkDecorator:
    """How much worse than its base the test may be, as in ``@tolerance("3%", ttft_p95_ms="10%")``.

    The first is for every metric that is not named; without it those keep the tolerance that they have.
    Checked when the test is collected.
    """
    return pytest.mark.tolerance(*(() if others is None else (others,)), **metrics)


@dataclass(frozen=True)
class Plan:
    """What a test asks for before its body runs."""

    subject: Subject
    slo: Slo
    settings: Settings
    marked: Sweep
    tolerances: Tolerances

    def points(self, call: Sweep | None = None) -> list[LoadPoint]:
        """The load points, given what the call of the fixture says; none that have to be found first."""
        return self.sweep(call).points()

    def sweep(self, call: Sweep | None = None) -> Sweep:
        """What all that was said comes to, given what the call of the fixture says.

        A call that names its own rate, concurrency or replay measures that one: an option replaces the sweep
        of a test, not the single points that its body compares.
        """
        call = call or Sweep()
        above = self.settings.above.sweep
        if call.names_points:
            above = dataclasses.replace(above, rates=None, concurrency=None, replay=None, search=None)
        return self.settings.below.sweep.updated(self.marked).updated(call).updated(above)

    @property
    def expected_points(self) -> int:
        """About how many load points the declared sweep has."""
        sweep = self.sweep()
        if sweep.search is None:
            return len(sweep.points())
        usual_s = sweep.at(1.0).duration_s or USUAL_S
        return 2 + (sweep.search.points or math.ceil(sweep.allowed_s / usual_s))

    @property
    def expected_s(self) -> float | None:
        """About how long the declared sweep drives load; None if the body names its points, or for a point
        whose length nobody knows."""
        declared = self.settings.below.sweep.updated(self.marked).updated(self.settings.above.sweep)
        if declared.search is not None:
            return declared.allowed_s
        known = [point.expected_s for point in self.points()]
        if not declared.names_points or None in known:
            return None
        return sum(filter(None, known))


def read_plan(marks: Iterable[pytest.Mark], settings: Settings) -> Plan:
    """Read the markers of one test, closest first.

    Raises :class:`DeclarationError` that shows the marker as written.
    """
    slo_, sweep_, tolerances = settings.below.slo, Sweep(), settings.below.tolerances
    subject: Subject | None = None
    marks = list(marks)
    for mark in reversed(marks):
        try:
            if mark.name == "slo":
                slo_ = slo_.updated(Slo.of(_only_named(mark), settings.percentile))
            elif mark.name == "sweep":
                sweep_ = sweep_.updated(_read_sweep(mark))
            elif mark.name == "tolerance":
                tolerances = tolerances.updated(_read_tolerances(mark, settings.percentile))
            elif mark.name == "engine":
                subject = _read_engine(mark)
        except DeclarationError as error:
            raise DeclarationError(f"{_shown(mark)}: {error}") from None
    is_swept = any(mark.name == "sweep" for mark in marks)
    if is_swept and not settings.below.sweep.updated(sweep_).names_points:
        sweep_ = dataclasses.replace(sweep_, search=Search())
    subject = settings.above.engine or subject or settings.below.engine
    assert subject is not None, "the engine setting has a default"
    return Plan(
        subject,
        slo_.updated(settings.above.slo),
        settings,
        sweep_,
        tolerances.updated(settings.above.tolerances),
    )


def _only_named(mark: pytest.Mark) -> dict[str, Any]:
    if mark.args:
        raise DeclarationError(f"takes named values only, as in {MARKERS[mark.name].split(':')[0]}")
    if not mark.kwargs:
        raise DeclarationError(f"says nothing; expected {MARKERS[mark.name].split(':')[0]}")
    return dict(mark.kwargs)


def _read_sweep(mark: pytest.Mark) -> Sweep:
    named = dict(mark.kwargs)
    if mark.args:
        named = _only_named(mark)
    valid = ("rates", "concurrency", "replay", "duration", "requests", "arrivals", "budget")
    if unknown := [name for name in named if name not in valid]:
        raise DeclarationError(f"unknown {', '.join(unknown)}; valid: {', '.join(valid)}")
    said = Sweep.of(**named)
    return dataclasses.replace(said, search=Search()) if not named else said


def _read_tolerances(mark: pytest.Mark, percentile: str) -> Tolerances:
    shares = [*mark.args, *mark.kwargs.values()]
    if len(mark.args) > 1 or not all(isinstance(s, str) or finite_number(s) is not None for s in shares):
        raise DeclarationError("takes percentages, as in tolerance('3%', ttft_p95_ms='10%')")
    named = (f"{name}={share}" for name, share in mark.kwargs.items())
    return Tolerances.read((*map(str, mark.args), *named), percentile)


def _read_engine(mark: pytest.Mark) -> Subject:
    if len(mark.args) != 1 or mark.kwargs or not isinstance(mark.args[0], str):
        raise DeclarationError("takes one string, as in engine('llamacpp --parallel 8')")
    return parse_subject(mark.args[0])


def _shown(mark: pytest.Mark) -> str:
    arguments = [*map(repr, mark.args), *(f"{name}={value!r}" for name, value in mark.kwargs.items())]
    # A subject may carry a secret in a flag or a variable; an error must not show it.
    return f"@{mark.name}(…)" if mark.name == "engine" else f"@{mark.name}({', '.join(arguments)})"
