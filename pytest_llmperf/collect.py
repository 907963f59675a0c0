"""Which collected items are performance tests, whether their markers make sense, and their order."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from pytest_llmperf.declare.markers import Plan, read_plan
from pytest_llmperf.declare.options import FIXTURE, MARKERS
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import DeclarationError

if TYPE_CHECKING:
    from pytest_llmperf.report.progress import Progress
    from pytest_llmperf.session import PerformanceSession

PLAN = pytest.StashKey[Plan]()
MISTAKE = pytest.StashKey[str]()


@dataclass(frozen=True)
class Active:
    """What ``--llmperf`` brought to life in this process; without a session it only collects."""

    settings: Settings
    engines: Collection[str]
    session: PerformanceSession
    progress: Progress


ACTIVE = pytest.StashKey[Active]()


def is_measured(item: pytest.Item) -> bool:
    """Whether the item is a performance test, which its fixture decides."""
    return FIXTURE in getattr(item, "fixturenames", ()) and MISTAKE not in item.stash


def check_markers(metafunc: pytest.Metafunc) -> None:
    """Raise an error of the collection that shows the file, the test and the marker."""
    definition = metafunc.definition
    active = metafunc.config.stash.get(ACTIVE, None)
    try:
        if FIXTURE in metafunc.fixturenames:
            settings = active.settings if active else Settings.resolve({}, {}, {})
            plan = read_plan(_marks(definition), settings)
            if active:
                check_engine(plan.subject, active.engines)
        elif active:
            _check_unused(definition)
    except DeclarationError as error:
        path, line, _ = definition.location
        raise pytest.Collector.CollectError(f"{path}:{(line or 0) + 1}: {definition.name}: {error}") from None


def _marks(node: pytest.Item) -> list[pytest.Mark]:
    return [mark for mark in node.iter_markers() if mark.name in MARKERS]


def check_engine(subject: Subject, engines: Collection[str]) -> None:
    """Raise :class:`DeclarationError` for an engine that is not known."""
    if subject.engine not in engines:
        known = ", ".join(sorted(name for name in engines if name != "url"))
        raise DeclarationError(
            f"engine {subject.engine!r} is not known; known: {known}, "
            "and http(s)://HOST:PORT of a running server"
        )


def _check_unused(definition: pytest.Item) -> None:
    for mark in definition.own_markers:
        if mark.name in ("slo", "sweep", "tolerance"):
            raise DeclarationError(
                f"@{mark.name} has no effect: the test does not use the {FIXTURE} fixture; "
                "add it as an argument"
            )


def arrange(active: Active, items: list[pytest.Item]) -> None:
    """Plan the performance tests and put them last, those of one subject side by side.

    Other tests come first, so that they neither wait for an engine nor disturb one. Where only the item
    shows that a marker is wrong (one of ``pytest.param``, say), that test will fail with it.
    """
    for item in filter(is_measured, items):
        try:
            item.stash[PLAN] = read_plan(_marks(item), active.settings)
            check_engine(item.stash[PLAN].subject, active.engines)
        except DeclarationError as error:
            item.stash[MISTAKE] = f"{item.nodeid}: {error}"
    measured = [item for item in items if PLAN in item.stash and MISTAKE not in item.stash]
    order = {subject: i for i, subject in enumerate(dict.fromkeys(i.stash[PLAN].subject for i in measured))}
    measured.sort(key=lambda item: order[item.stash[PLAN].subject])
    last = set(measured)
    items[:] = [item for item in items if item not in last] + measured
