"""Load on a server that runs already, outside of pytest: what ``llmperf load`` does."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import io
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.order import Exit, Order
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.engines.bare import BareServer
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.errors import EngineError, InvalidRun, LlmperfError, StoreError
from pytest_llmperf.keep.files import check_writable, write_json
from pytest_llmperf.keep.record import elsewhere, now
from pytest_llmperf.keep.result import PointResult, Run
from pytest_llmperf.keep.subject import subject_fields
from pytest_llmperf.keep.timelines import write_timelines
from pytest_llmperf.load.client import LoadRun
from pytest_llmperf.load.launch import Launch
from pytest_llmperf.load.schedule import seed_of
from pytest_llmperf.load.warmup import WarmUp, warm_up
from pytest_llmperf.measure.measurement import Measurement
from pytest_llmperf.measure.metrics import summarise, uncertainty
from pytest_llmperf.measure.timeline import Timeline
from pytest_llmperf.places.url import ExistingServer
from pytest_llmperf.report.line import Line
from pytest_llmperf.report.plain import show_plainly
from pytest_llmperf.report.progress import Progress
from pytest_llmperf.report.summary import summary
from pytest_llmperf.report.width import width_of

KIND, VERSION = "llmperf_load", 1
_PATIENCE_S = 3.0


def drive(order: Order) -> Exit:
    """Do as ordered, and tell the person."""
    show_plainly(sys.stdout)
    line = Line(sys.stderr or io.StringIO())
    try:
        OpenAiServer().api_key(order.server)
        for path in filter(None, (order.timelines, order.json)):
            check_writable(path)
    except LlmperfError as error:
        line.say(str(error))
        return Exit.USAGE
    errand = _Errand(order, line)
    try:
        return errand.run()
    except EngineError as error:
        line.say(str(error).removesuffix(f"\nserver: {order.server}, which was not started from here"))
        return Exit.SERVER_FAILED
    except InvalidRun as error:
        line.say(f"this run says nothing about the server: {error}")
        return Exit.INVALID
    finally:
        line.clear()


class _Errand:
    """One order on its way."""

    def __init__(self, order: Order, line: Line) -> None:
        self._order, self._line = order, line
        self._progress = Progress(line.write)
        self._notes: list[str] = []
        self._has_lost_something = False

    def run(self) -> Exit:
        """Raises :class:`EngineError` and :class:`InvalidRun` for a run that never was."""
        launch = self._reach()
        try:
            return self._load(launch)
        finally:
            launch.stop()

    def _reach(self) -> Launch:
        order = self._order
        self._progress.phase(f"asking {order.server}")
        return Launch(
            order.server,
            BareServer(self._note),
            order.model,
            place=ExistingServer(),
            log=Path(),
            startup_timeout_s=_PATIENCE_S,
            request_timeout_s=order.timeout_s,
            waiting=self._progress.waiting,
            watch=self._progress.tick,
            chat=order.workload.chat,
            note=self._note,
            workers=order.workers,
            is_gauged=False,
        )

    def _load(self, launch: Launch) -> Exit:
        order, point = self._order, self._order.point
        warmth = None
        if order.warms_up:
            self._progress.phase(f"warming up at {point.label}")
            warmth = warm_up(launch.client, order.workload, point)
        self._progress.phase(f"measuring at {point.label}", point.expected_s)
        started = now()
        seed = seed_of(order.seed, str(order.workload), point.key)
        driven = launch.client.run(order.workload, point, seed, warmth.latency_s if warmth else None)
        self._line.clear()
        # First what was measured, then what is made of it.
        self._keep(order.timelines, lambda path: write_timelines(path, driven.traces))
        result = self._result(driven, warmth)
        is_answered = result["runs"][0]["values"].get("error_rate", 1.0) < 1
        outcome = self._outcome(launch, driven, is_answered)
        self._keep(order.json, lambda path: write_json(path, self._as_json(launch, result, started, outcome)))
        print("\n".join(summary(self._headline(launch), result, width_of(sys.stdout))), flush=True)
        return Exit.USAGE if self._has_lost_something and outcome is Exit.MEASURED else outcome

    def _outcome(self, launch: Launch, driven: LoadRun, is_answered: bool) -> Exit:
        lacks_means = any(trace.error_kind == "client" for trace in driven.traces)
        if driven.health.problems and (is_answered or lacks_means):
            return Exit.INVALID
        if any(trace.error for trace in driven.traces):
            try:
                launch.check_answering()
            except EngineError as error:
                self._note(str(error).partition("\n")[0])
                return Exit.SERVER_FAILED
        return Exit.MEASURED if is_answered else Exit.SERVER_FAILED

    def _result(self, driven: LoadRun, warmth: WarmUp | None) -> dict[str, Any]:
        """The load point as records have it."""
        order = self._order
        timeline = Timeline.of(driven.traces, driven.started_ns, order.point.scheduled_s)
        # The same options have shorter names here.
        problems = (problem.replace("--llmperf-", "--") for problem in driven.health.problems)
        measurement = Measurement(
            workload=order.workload,
            point=order.point,
            requests=timeline.requests,
            values=summarise(timeline, Slo(), None),
            uncertainty=uncertainty(timeline),
            errors=timeline.errors,
            health=dataclasses.replace(driven.health, problems=tuple(problems)),
        )
        run = Run(1, 1, measurement, dataclasses.asdict(warmth) if warmth else {})
        return PointResult(order.workload, order.point, [run]).as_json()

    def _headline(self, launch: Launch) -> str:
        version = launch.description.version
        asked = str(self._order.workload), self._order.point.key
        return " · ".join(filter(None, (str(self._order.server), version, launch.description.model, *asked)))

    def _as_json(
        self, launch: Launch, result: Mapping[str, Any], started: datetime, outcome: Exit
    ) -> dict[str, Any]:
        (run,) = result["runs"]
        return {
            KIND: VERSION,
            "outcome": outcome.name.lower().replace("_", " "),
            "started": started.isoformat(timespec="seconds"),
            "versions": {"pytest-llmperf": _own_version(), "python": platform.python_version()},
            "subject": subject_fields(launch.subject, launch.description),
            "model": launch.description.model,
            "declared": {**result["declared"], "seed": self._order.seed, "timeout_s": self._order.timeout_s},
            "notes": self._notes,
            **{
                name: run[name]
                for name in ("requests", "values", "uncertainty", "errors", "health", "warm_up")
            },
        }

    def _note(self, text: str) -> None:
        self._notes.append(text)
        self._line.say(f"note: {text}")

    def _keep(self, path: Path | None, write: Callable[[Path], None]) -> None:
        """Write a file where it was asked for, or somewhere."""
        if path is None:
            return
        try:
            write(path)
        except StoreError as error:
            try:
                write(other := elsewhere("load") / path.name)
                self._line.say(f"{error}; written to {other} instead")
            except StoreError:
                self._line.say(str(error))
                self._has_lost_something = True


def _own_version() -> str:
    try:
        return importlib.metadata.version("pytest-llmperf")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout
