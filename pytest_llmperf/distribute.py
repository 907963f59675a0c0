"""pytest-xdist: all performance tests on one worker, to share engines and not disturb each other."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from pytest_llmperf.collect import is_measured
from pytest_llmperf.report.progress import Told

SHAREABLE = ("load", "worksteal", "loadgroup")
EXCHANGE = "llmperf_measured"
_SCOPE = "(performance tests)"
_PROGRESS = "progress.jsonl"
_PERIOD_S = 1.0


def is_controller(config: pytest.Config) -> bool:
    """Whether this process hands tests to xdist workers.

    Raises :class:`pytest.UsageError` for a mode that would spread the performance tests.
    """
    mode = config.getoption("dist", "no")
    if mode == "no" or not config.getoption("tx", None):
        return False
    if mode not in SHAREABLE:
        raise pytest.UsageError(
            f"--llmperf with --dist {mode}: performance tests have to run on one worker, or they would "
            f"disturb each other; use --dist {' or '.join(SHAREABLE)}, or no xdist"
        )
    return True


class Worker:
    """A worker's hook: it tells the controller, which does not collect, which tests are performance tests."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        worker: dict[str, str] = session.config.workerinput  # type: ignore[attr-defined]
        path = Path(worker[EXCHANGE])
        mine = path.with_suffix(f".{worker['workerid']}")
        mine.write_text(json.dumps([item.nodeid for item in session.items if is_measured(item)]))
        mine.replace(path)


class Messenger:
    """Hands what a worker has to tell on to the controller, which has the terminal."""

    def __init__(self, config: pytest.Config) -> None:
        worker: dict[str, str] = config.workerinput  # type: ignore[attr-defined]
        self._path = Path(worker[EXCHANGE]).with_name(_PROGRESS)
        self._last = 0.0

    def __call__(self, told: Told, transient: bool) -> None:
        """What is transient is handed on once a second, so that it costs the measurement next to nothing."""
        if transient and time.monotonic() - self._last < _PERIOD_S:
            return
        self._last = time.monotonic()
        # If the controller has gone, nobody wants to know.
        with contextlib.suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([dataclasses.asdict(told), transient]) + "\n")


class Distribution:
    """The controller's hooks. ``tell`` shows progress."""

    def __init__(self, tell: Callable[[Told, bool], None]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="llmperf-xdist-"))
        self._tell, self._is_over = tell, threading.Event()

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[EXCHANGE] = str(self._directory / "measured.json")

    @pytest.hookimpl
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> LoadScopeScheduling:
        config.option.loadscopereorder = False  # the performance tests come last, however many they are
        return OneWorkerScheduling(config, log, self._directory / "measured.json")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        loop: Any = session.config.pluginmanager.get_plugin("dsession")
        # xdist has no messages of others, but its loop calls what its queue names, in the thread that writes.
        if (queue := getattr(loop, "queue", None)) is not None:
            loop.worker_llmperf_progress = self._show
            threading.Thread(target=self._listen, args=(queue.put,), daemon=True).start()

    def _listen(self, put: Callable[[tuple[str, dict[str, str]]], None]) -> None:
        """Hand every line of the worker's on to the loop."""
        path, read = self._directory / _PROGRESS, 0
        while not self._is_over.wait(_PERIOD_S / 2):
            try:
                with path.open("rb") as file:
                    file.seek(read)
                    lines = file.readlines()
            except OSError:  # nothing was told yet
                continue
            for line in lines:
                if line.endswith(b"\n"):
                    read += len(line)
                    put(("llmperf_progress", {"line": line.decode()}))

    def _show(self, line: str) -> None:
        try:
            told, transient = json.loads(line)
        except ValueError:  # of a line that a full disk cut short
            return
        pairs = {name: tuple(value) for name, value in told.items() if isinstance(value, list)}
        self._tell(Told(**(told | pairs)), transient)

    @pytest.hookimpl
    def pytest_sessionfinish(self) -> None:
        self._is_over.set()

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        self._is_over.set()
        shutil.rmtree(self._directory, ignore_errors=True)


class OneWorkerScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Every test is a unit of its own, but the performance tests together are one, and have the machine to
    themselves.

    Tests that ``xdist_group`` marks bind to each other stay together as well, where their ids show it.
    """

    def __init__(self, config: pytest.Config, log: Any, exchange: Path) -> None:
        super().__init__(config, log)
        self._exchange = exchange
        self._measuring: Any = None

    @cached_property
    def _measured(self) -> frozenset[str]:
        return frozenset(json.loads(self._exchange.read_text()))

    def _split_scope(self, nodeid: str) -> str:
        if nodeid in self._measured:
            return _SCOPE
        return nodeid.rpartition("@")[2] if nodeid.rfind("@") > nodeid.rfind("]") else nodeid

    def _assign_work_unit(self, node: Any) -> None:
        """The performance tests, which are the last unit, wait until all other tests have ended."""
        if next(iter(self.workqueue)) != _SCOPE:
            super()._assign_work_unit(node)
            return
        if self._measuring not in self.assigned_work:
            self._measuring = node
        for other in self.assigned_work:
            if other is not self._measuring and not other.shutting_down:
                # It runs what it has: a worker holds its last test back until told what follows.
                other.shutdown()
        if list(self.assigned_work) == [self._measuring]:
            super()._assign_work_unit(self._measuring)
            self._measuring.shutdown()

    def remove_node(self, node: Any) -> str | None:
        """Hand on what a lost worker had left; the test that it was lost in is over.

        The base class would hand that test on too, to crash one worker after the other.
        """
        workload = self.assigned_work.pop(node)
        pending: list[tuple[dict[str, bool], str]] = [
            (unit, test) for unit in workload.values() for test, is_done in unit.items() if not is_done
        ]
        crashed = None
        if pending:
            unit, crashed = pending[0]
            unit[crashed] = True
            for scope, left in workload.items():
                if not all(left.values()):
                    self.workqueue[scope] = left
            if _SCOPE in self.workqueue:
                self.workqueue.move_to_end(_SCOPE)
        for other in list(self.assigned_work):
            if self.workqueue:
                self._reschedule(other)
        return crashed
