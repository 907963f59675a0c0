"""What the ``llmperf`` fixture gives to a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_llmperf.declare.load import Sweep
from pytest_llmperf.declare.markers import Plan
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_llmperf.measure.measurement import Measurements
    from pytest_llmperf.session import PerformanceSession


class Llmperf:
    """Measures workloads against the engine of its test; that engine runs already."""

    def __init__(self, session: PerformanceSession, nodeid: str, plan: Plan) -> None:
        self._session, self._nodeid, self._plan = session, nodeid, plan
        launch = session.prepare(nodeid, plan)
        self.url: str = launch.server.url
        """Where the engine answers, for what a test wants to ask it itself."""
        self.model: str = launch.description.model
        """The name under which the engine serves its model."""

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
        if not isinstance(workload, Workload):
            raise DeclarationError(f"llmperf({workload!r}): expected a Workload")
        call = Sweep.of(
            rates=None if rate is None else [rate],
            concurrency=None if concurrency is None else [concurrency],
            replay=None if replay is None else [replay],
            duration=duration,
            requests=requests,
            arrivals=arrivals,
        )
        for point in self._plan.points(call):
            if point.replay is not None and workload.trace_file is None:
                raise DeclarationError(f"{point.label}: needs a workload with a trace: Workload(trace=…)")
        return self._session.measure(self._nodeid, self._plan, workload, call)
