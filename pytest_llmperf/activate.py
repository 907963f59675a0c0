"""What ``--llmperf`` brings to life; imported only then."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from pytest_llmperf.bisecting import Bisecting
from pytest_llmperf.collect import ACTIVE, Active, check_engine, is_measured
from pytest_llmperf.declare.options import OPTIONS, OUTPUTS
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.destinations import check_destinations
from pytest_llmperf.engines.command import AnyCommand
from pytest_llmperf.engines.llamacpp import LlamaCpp
from pytest_llmperf.engines.protocol import Engine
from pytest_llmperf.engines.sglang import Sglang
from pytest_llmperf.engines.tensorrt_llm import TensorRtLlm
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.engines.vllm import Vllm
from pytest_llmperf.engines.vllm_cpu import VllmCpu
from pytest_llmperf.errors import DeclarationError, StoreError
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.histories import open_history
from pytest_llmperf.keep.history import History
from pytest_llmperf.keep.prices import Prices
from pytest_llmperf.keep.record import Store
from pytest_llmperf.keep.reference import baselines_of
from pytest_llmperf.measuring import Measuring
from pytest_llmperf.places.environments import Environments
from pytest_llmperf.places.leases import Leases
from pytest_llmperf.places.local import LocalProcess
from pytest_llmperf.places.protocol import Place
from pytest_llmperf.pytest_process import PARENT
from pytest_llmperf.report.annotations import Annotating, defused
from pytest_llmperf.report.progress import Progress, Told
from pytest_llmperf.report.properties import Describing
from pytest_llmperf.report.terminal import Terminal
from pytest_llmperf.rounds import Rounds
from pytest_llmperf.session import PerformanceSession

_ENGINES: tuple[Engine, ...] = (
    *(LlamaCpp(), Vllm(), VllmCpu(), Sglang(), TensorRtLlm()),
    *(AnyCommand(), OpenAiServer()),
)
Tell = Callable[[Told, bool], None]
BUILTIN = {engine.name: engine for engine in _ENGINES}


def activate(config: pytest.Config, settings: Settings) -> None:
    """Register the hooks that measure and report; in an xdist controller only those that report.

    Raises :class:`pytest.UsageError` for what could only fail after everything was measured.
    """
    store = Store(Path(os.path.normpath(config.rootpath / settings.directory)))
    baselines = _baselines(config, settings, store)
    history = _history(config, settings, store)
    check_destinations(config, settings, store, baselines.directory, history)
    prices = _prices(config, settings)
    is_worker = hasattr(config, "workerinput")
    terminal = Terminal(config)
    if not is_worker:  # before what annotates, which is then asked first, and defuses what this one shows
        config.pluginmanager.register(terminal, "llmperf-terminal")
    tell = terminal.write_progress if is_worker else _join_github(config, terminal)
    is_controller = _join_xdist(config, tell)
    progress = Progress(_messenger(config) if is_worker else tell)
    engines = _engines(config)
    _check_base(settings, engines)

    def note(text: str) -> None:
        if text not in terminal.notes:
            terminal.notes.append(text)

    if settings.exit_codes == "bisect" and not is_worker:
        config.pluginmanager.register(Bisecting(note), "llmperf-bisecting")
    place = _place(settings, store, progress, note)
    session = PerformanceSession(
        settings, config.rootpath, engines, place, progress, _command(config), note, baselines, prices
    )
    config.stash[ACTIVE] = Active(settings, tuple(engines), session, progress)
    if not is_controller:
        measuring = Measuring(session, progress, terminal.notes, history)
        config.pluginmanager.register(Rounds(measuring, is_measured), "llmperf-rounds")
        config.pluginmanager.register(measuring, "llmperf-measuring")
        config.pluginmanager.register(Describing(), "llmperf-describing")


def _join_github(config: pytest.Config, terminal: Terminal) -> Tell:
    """Annotate where GitHub reads the terminal; how progress is told there, or elsewhere."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return terminal.write_progress
    if not config.pluginmanager.has_plugin(PARENT):
        annotating = Annotating(config, terminal.notes, os.environ)
        config.pluginmanager.register(annotating, "llmperf-annotating")

    def tell(told: Told, is_transient: bool) -> None:
        plain = dataclasses.replace(told, what=defused(told.what), aside=defused(told.aside))
        terminal.write_progress(plain, is_transient)

    return tell


def _join_xdist(config: pytest.Config, tell: Tell) -> bool:
    """Take our part where tests are distributed; whether this process hands them to others."""
    is_worker = hasattr(config, "workerinput")
    if not (is_worker or config.pluginmanager.has_plugin("xdist")):
        return False
    from pytest_llmperf import distribute

    if is_worker:
        config.pluginmanager.register(distribute.Worker(), "llmperf-worker")
    elif distribute.is_controller(config):
        config.pluginmanager.register(distribute.Distribution(tell), "llmperf-distribution")
        return True
    return False


def _command(config: pytest.Config) -> Callable[[str], list[str]]:
    """Shows a test as the command that would run it again: from the same directory, with the options of ours
    that were typed, without secrets, and without those that the reader is to choose."""
    typed: list[str] = []
    for option in OPTIONS:
        value = config.getoption(option.flag) if option.metavar else None
        if value is not None and option.name not in ("launches", "budget", "exit-codes", "history", *OUTPUTS):
            typed += [
                option.flag,
                str(parse_subject(value)) if option.name in ("engine", "against") else value,
            ]

    def command(nodeid: str) -> list[str]:
        path, separator, name = nodeid.partition("::")
        shown = os.path.relpath(config.rootpath / path, config.invocation_params.dir)
        return ["pytest", "--llmperf", f"{shown}{separator}{name}", *typed]

    return command


def _messenger(config: pytest.Config) -> Callable[[Told, bool], None]:
    """A worker has no terminal."""
    from pytest_llmperf import distribute

    return distribute.Messenger(config)


def _engines(config: pytest.Config) -> dict[str, Engine]:
    """Those of the package and of the hook. Raises :class:`pytest.UsageError` for one that is incomplete."""
    needed = (*Engine.__annotations__, *(name for name in vars(Engine) if not name.startswith("_")))
    found = dict(BUILTIN)
    for engine in (engine for some in config.hook.pytest_llmperf_engines() for engine in some):
        called = getattr(engine, "name", type(engine).__name__)
        if missing := [name for name in needed if not hasattr(engine, name)]:
            raise pytest.UsageError(
                f"pytest_llmperf_engines: the engine {called} has no {', '.join(missing)}; "
                "pytest_llmperf.engines.protocol.Engine says what an engine needs"
            )
        found[called] = engine
    return found


def _check_base(settings: Settings, engines: Collection[str]) -> None:
    """Raise :class:`pytest.UsageError` for a base that nothing can be compared with."""
    try:
        if settings.against is not None:
            check_engine(settings.against, engines)
    except DeclarationError as error:
        raise pytest.UsageError(f"--llmperf-against: {error}") from None


def _place(settings: Settings, store: Store, progress: Progress, note: Callable[[str], None]) -> Place:
    """Where engines are started."""
    if settings.place is not None:
        from pytest_llmperf.places.modal import ModalPlace

        return ModalPlace(settings.place, settings.startup_timeout_s, progress, note)
    environments = Environments(store.locks, store.logs, progress, note, settings.cache_limit)
    leases = Leases(Path(settings.lease_directory), settings.lease_timeout_s)
    return LocalProcess(environments, leases, settings.gpus, progress, note)


def _baselines(config: pytest.Config, settings: Settings, store: Store) -> Baselines:
    """What is compared with. Raises :class:`pytest.UsageError` for a name or a path of nothing."""
    if settings.baseline is None:
        return Baselines(store.baselines)
    try:
        return baselines_of(settings.baseline, store, config.invocation_params.dir, update=settings.update)
    except (DeclarationError, StoreError) as error:
        raise pytest.UsageError(f"--llmperf-baseline: {error}") from None


def _prices(config: pytest.Config, settings: Settings) -> Prices:
    """What GPUs cost. Raises :class:`pytest.UsageError` for a file that does not say it."""
    if settings.prices is None:
        return Prices.read()
    try:
        return Prices.read(Path(config.invocation_params.dir, settings.prices))
    except StoreError as error:
        raise pytest.UsageError(f"--llmperf-prices: {error}") from None


def _history(config: pytest.Config, settings: Settings, store: Store) -> History | None:
    """What the session adds to. Raises :class:`pytest.UsageError` for what can be none."""
    try:
        return open_history(settings.history, config.rootpath, store.directory)
    except DeclarationError as error:
        raise pytest.UsageError(f"--llmperf-history: {error}") from None
