"""Progress of a worker on its way to the controller, through a file and a thread."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("xdist")

from pytest_llmperf.distribute import EXCHANGE, Distribution, Messenger
from pytest_llmperf.report.progress import Told


class Loop:
    """As much of xdist's as we use: it calls what its queue names."""

    def __init__(self) -> None:
        self.queue: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def once(self) -> None:
        name, arguments = self.queue.get(timeout=30)
        getattr(self, f"worker_{name}")(**arguments)


class Session:
    """A controller's, with one worker."""

    def __init__(self) -> None:
        self.shown: list[tuple[Told, bool]] = []
        self.loop = Loop()
        self.distribution = Distribution(lambda told, transient: self.shown.append((told, transient)))
        node = SimpleNamespace(workerinput={})
        self.distribution.pytest_configure_node(node)
        self.directory = Path(node.workerinput[EXCHANGE]).parent
        self.messenger = Messenger(SimpleNamespace(workerinput=node.workerinput))  # type: ignore[arg-type]
        manager = SimpleNamespace(get_plugin=lambda name: self.loop if name == "dsession" else None)
        before = set(threading.enumerate())
        config = SimpleNamespace(pluginmanager=manager)
        self.distribution.pytest_runtestloop(SimpleNamespace(config=config))  # type: ignore[arg-type]
        (self.thread,) = set(threading.enumerate()) - before


@pytest.fixture
def session() -> Iterator[Session]:
    session = Session()
    yield session
    session.distribution.pytest_unconfigure()
    session.thread.join(30)
    assert not session.thread.is_alive()
    assert not session.directory.exists()


def test_what_a_worker_tells_is_shown_in_its_order(session: Session) -> None:
    said = [Told(f"phase {number} …", ("a", "b")) for number in range(3)]
    for one in said:
        session.messenger(one, False)
        session.loop.once()
    assert session.shown == [(one, False) for one in said]


def test_half_a_line_waits_for_its_end_and_one_that_is_none_is_passed_over(session: Session) -> None:
    line = json.dumps([asdict(Told("whole")), True])
    with (session.directory / "progress.jsonl").open("a", encoding="utf-8") as file:
        file.write(line[:9])  # a full disk cut it short
        file.write(f"{line}\n{line[:20]}")
        file.flush()
        session.loop.once()
        file.write(f"{line[20:]}\n")
        file.flush()
        session.loop.once()
    assert session.shown == [(Told("whole"), True)]


def test_a_worker_whose_controller_has_gone_goes_on(session: Session) -> None:
    session.distribution.pytest_unconfigure()
    session.messenger(Told("nobody hears it"), False)
    assert not session.directory.exists()
