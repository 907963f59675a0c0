"""What the ``llmperf`` fixture gives to a test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.declare.load import LoadPoint, Sweep
from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurement import Measurement, Measurements
    from pytest_llmperf.probing import Probe, Probing
    from pytest_llmperf.session import PerformanceSession


def _check_workload(called: str, workload: object) -> None:
    if not isinstance(workload, Workload):
        raise DeclarationError(f"{called}({workload!r}): expected a Workload")


class Llmperf:
    """Measures workloads against the engine of its test; that engine runs already."""

    def __init__(self, session: PerformanceSession, nodeid: str, plan: Plan) -> None:
        self._session, self._nodeid, self._plan = session, nodeid, plan
        self._probing: Probing | None = None
        launch = session.prepare(nodeid, plan)
        self.url: str = launch.server.url
        """Where the engine answers, for what a test wants to ask it itself."""
        self.model: str = launch.description.model
        """The name under which the engine serves its model."""

    def __repr__(self) -> str:
        return f"<llmperf at {self.url}>"  # Hypothesis shows it with every example

    def __call__(
        self,
        workload: Workload,
        *,
        rate: float | str | None = None,
        concurrency: int | None = None,
        replay: float | None = None,
        duration: float | None = None,
        requests: int | None = None,
        arrivals: str | None = None,
    ) -> Measurements:
        """Measure ``workload`` at every load point of the test's sweep, or at ``rate``, ``concurrency`` or
        ``replay``, which are what :func:`~pytest_llmperf.declare.markers.sweep` takes lists of.

        The SLO and the baseline are judged when the test has ended without an error of its own. Raises
        :class:`DeclarationError` for impossible arguments and
        :class:`~pytest_llmperf.errors.EngineError` if the engine does not survive.
        """
        __tracebackhide__ = True
        try:
            self._check_workload("llmperf", workload)
            call = Sweep.of(
                rates=None if rate is None else [rate],
                concurrency=None if concurrency is None else [concurrency],
                replay=None if replay is None else [replay],
                duration=duration,
                requests=requests,
                arrivals=arrivals,
            )
            self._check_sweep(workload, self._plan.sweep(call))
        except DeclarationError as error:
            raise error.with_traceback(None) from None  # the mistake is the caller's: that line is shown
        return self._session.measure(self._nodeid, self._plan, workload, call)

    def _check_workload(self, called: str, workload: object) -> None:
        _check_workload(called, workload)
        if self._probing is not None and self._probing.has_moved:
            raise DeclarationError(
                f"{called}(…): after llmperf.probe(engine=…), the engine of the test is gone; "
                "measure load points first, or in another test"
            )

    def _check_sweep(self, workload: Workload, sweep: Sweep) -> None:
        if sweep.search is not None and (unfit := self._plan.slo.of_throughput()):
            raise DeclarationError(
                f"a sweep that finds its own rates has no load for the limit {unfit[0]}: ask for "
                "capacity_per_s= and llmperf.capacity(…), or for a batch"
            )
        for point in sweep.points():
            if point.replay is not None and workload.trace_file is None:
                raise DeclarationError(f"{point.label}: needs a workload with a trace: Workload(trace=…)")

    def capacity(
        self,
        workload: Workload,
        *,
        duration: float | None = None,
        requests: int | None = None,
        arrivals: str | None = None,
        budget: float | str | None = None,
        **limits: float,
    ) -> Measurement:
        """Search for the highest rate in requests/s that meets ``limits`` (as in ``ttft_ms=300``), or else
        the SLO of the test; each launch does so within ``budget``, in runs of ``duration`` or ``requests``.

        That is ``value("capacity_per_s")`` of what is returned, a metric like any other: ``@slo(
        capacity_per_s=10)`` asks for at least so much, and the gate compares it. Fails the test if no rate
        meets them. Raises :class:`DeclarationError` for impossible arguments and
        :class:`~pytest_llmperf.errors.EngineError` if the engine does not survive.
        """
        __tracebackhide__ = True
        try:
            self._check_workload("llmperf.capacity", workload)
            call = Sweep.of(duration=duration, requests=requests, arrivals=arrivals, budget=budget)
            slo = self._limits(limits)
        except DeclarationError as error:
            raise error.with_traceback(None) from None
        measured, found = self._session.capacity(self._nodeid, self._plan, workload, call, slo)
        if (
            found.kind == "below"
            and not measured.health.problems
            and not self._session.launches.measures_base
        ):
            pytest.fail(
                f"no rate meets {', '.join(map(str, slo.limits))}: it is missed at {found.rate:.3g}/s, too, "
                "where hardly two requests meet; the record has what was measured there",
                pytrace=False,
            )
        return measured

    def _limits(self, said: Mapping[str, float]) -> Slo:
        """The limits under which a capacity is searched, and no errors."""
        if load := [name for name in said if name in ("rate", "rates", "concurrency", "replay")]:
            raise DeclarationError(
                f"llmperf.capacity({load[0]}=…): a capacity is the rate that is searched for"
            )
        slo = Slo.of(said, self._session.settings.percentile).of_load() if said else self._plan.slo.of_load()
        if not slo.limits:
            raise DeclarationError(
                "llmperf.capacity(): the highest rate under which limits? @slo(ttft_ms=300), or "
                "capacity(workload, ttft_ms=300); on latencies, goodput or the error rate"
            )
        return slo.with_no_errors()

    def batch(self, workload: Workload, *, requests: int = 1000) -> Measurement:
        """Offline throughput: ``requests`` at once, and how long all of them take.

        Only what the whole run did is judged: tokens and requests per second, cost, errors.
        """
        __tracebackhide__ = True
        try:
            self._check_workload("llmperf.batch", workload)
            point = LoadPoint.of_batch(requests)
        except DeclarationError as error:
            raise error.with_traceback(None) from None
        return self._session.batch(self._nodeid, self._plan, workload, point)

    def probe(
        self,
        workload: Workload,
        *,
        rate: float | None = None,
        concurrency: int | None = None,
        replay: float | None = None,
        duration: float | None = None,
        requests: int | None = None,
        arrivals: str | None = None,
        engine: str | None = None,
        **limits: float,
    ) -> Probe:
        """Whether ``workload`` breaks ``limits`` (as in ``ttft_ms=300``), or else the SLO of the test, in
        this launch; for searches that ask hundreds of times, as Hypothesis does.

        It is no load point: neither compared nor kept, but for a summary. Asked again, the answer is the
        same. It breaks its limits only if that is sure; after the budget of ``@sweep(budget=…)`` nothing is
        measured any more, and counts as passing. ``engine`` starts another engine, or the same one with other
        flags, in place of the one that runs. Raises as :meth:`__call__`.
        """
        __tracebackhide__ = True
        try:
            _check_workload("llmperf.probe", workload)
            call = Sweep.of(
                rates=None if rate is None else [rate],
                concurrency=None if concurrency is None else [concurrency],
                replay=None if replay is None else [replay],
                duration=duration,
                requests=requests,
                arrivals=arrivals,
            )
            sweep = self._plan.sweep(call)
            self._check_sweep(workload, sweep)
            point = _only(sweep)
            return self._probes().probe(workload, point, self._probed(limits, point), engine, sweep.allowed_s)
        except DeclarationError as error:
            raise error.with_traceback(None) from None

    def _probes(self) -> Probing:
        if self._probing is None:
            from pytest_llmperf.probing import Probing  # with all that measures

            self._probing = Probing(self._session, self._nodeid, self._plan)
        return self._probing

    def _probed(self, said: Mapping[str, float], point: LoadPoint) -> Slo:
        """The limits of a probe, and no errors."""
        slo = Slo.of(said, self._session.settings.percentile) if said else self._plan.slo
        fit = tuple(
            limit
            for limit in slo.limits
            if limit.key.metric.per != "launch" and point.concerns(limit.key.metric)
        )
        if not fit or (said and fit != slo.limits):
            raise DeclarationError(
                "llmperf.probe(): which limits may it not break? @slo(ttft_ms=300), or probe(workload, "
                "ttft_ms=300); on what a run at this load tells"
            )
        return Slo(fit).with_no_errors()


def _only(sweep: Sweep) -> LoadPoint:
    points = sweep.points()
    if len(points) != 1:
        raise DeclarationError(
            "llmperf.probe(): at which load? It has one, as in probe(workload, rate=4) or "
            "probe(workload, concurrency=1)"
        )
    return points[0]
