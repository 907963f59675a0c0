"""Where a session writes what is made of its record: to files of its own, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.files import check_replaceable, check_writable, is_writable
from pytest_llmperf.keep.history import History
from pytest_llmperf.keep.record import Store


def check_destinations(
    config: pytest.Config, settings: Settings, store: Store, baselines: Path, history: History | None
) -> None:
    """Raise :class:`pytest.UsageError` for an output that could not be written, or would take the place of
    another, or of what is worth more."""
    taken, runs = _taken(config, history), store.directory / "runs"
    for name, said in settings.outputs.items():
        option, path = f"--llmperf-{name}", _resolved(config, said)
        if path in taken:
            raise pytest.UsageError(f"{option}: {said} is {taken[path]}: name another file")
        taken[path] = f"what {option} writes"
        for kept, what in ((baselines, "baseline"), (store.baselines, "baseline"), (runs, "record")):
            if path.parent == kept.resolve() and path.suffix == ".json" and path.exists():
                raise pytest.UsageError(f"{option}: {said} is a {what}: name another file")
        try:
            check_replaceable(path)
            check_writable(path)
        except StoreError as error:
            raise pytest.UsageError(f"{option}: {error}") from None
    if settings.update and not is_writable(baselines):
        raise pytest.UsageError(f"--llmperf-update: {baselines} cannot be written")


def _taken(config: pytest.Config, history: History | None) -> dict[Path, str]:
    """The files that others write, and what each of them is."""
    taken: dict[Path, str] = {}
    for option, name in (("--junitxml", "xmlpath"), ("--benchmark-json", "benchmark_json")):
        if said := config.getoption(name, None):
            typed = os.path.expanduser(os.path.expandvars(said)) if name == "xmlpath" else said
            taken[_resolved(config, typed)] = f"what {option} writes"
    if history is not None and "://" not in history.name:
        taken[_resolved(config, history.name)] = "the history"
    return taken


def _resolved(config: pytest.Config, said: str | os.PathLike[str]) -> Path:
    return Path(config.invocation_params.dir, said).resolve()
