"""Installers without a package index, and a cache of their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.engines.protocol import Runtime
from pytest_llmperf.places.environments import Environments
from tests.wheels import FakeEngine, install_uv, make_wheel


@pytest.fixture(scope="session")
def uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with uv in it, for the PATH."""
    return install_uv(tmp_path_factory.mktemp("uv"))


@dataclass
class Heard:
    """What a session's listener was told."""

    phases: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_line: Callable[[str], None] = lambda line: None

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def waiting(self, elapsed_s: float, line: str) -> None:
        self.lines.append(line)
        self.on_line(line)


class Workshop:
    """A project's directory, a cache and an index of wheels."""

    def __init__(self, directory: Path) -> None:
        self.index, self.cache = directory / "index", directory / "cache"
        self.locks, self.logs = directory / ".llmperf" / "locks", directory / ".llmperf" / "logs"
        self.logs.mkdir(parents=True)
        self.heard = Heard()

    def publish(self, name: str, version: str, *requires: str, metadata: str = "", code: str = "") -> Path:
        return make_wheel(self.index, name, version, requires, metadata, code)

    def environments(self) -> Environments:
        """Those of one session."""
        return Environments(self.locks, lambda: self.logs, self.heard, self.heard.notes.append)

    def runtime(self, subject: str) -> Runtime:
        """What a new session would run ``subject`` in."""
        return self.environments().runtime_of(FakeEngine(), parse_subject(subject))

    @property
    def builds(self) -> int:
        return len(list(self.logs.iterdir()))

    def slots(self) -> dict[str, list[str]]:
        """What is in the cache: the directories of each slot."""
        found = self.cache.glob("llmperf/environments/*")
        return {slot.name: [entry.name for entry in slot.iterdir() if entry.is_dir()] for slot in found}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """No index but a directory; pip, unless a test puts uv on the PATH."""
    made = Workshop(tmp_path)
    made.index.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    for installer in ("PIP", "UV"):
        monkeypatch.setenv(f"{installer}_NO_INDEX", "1")
        monkeypatch.setenv(f"{installer}_FIND_LINKS", str(made.index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made.cache))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return made


@pytest.fixture
def workshop(offline: Workshop, uv: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    """The same with uv, which is quick, and an engine in the index."""
    monkeypatch.setenv("PATH", f"{uv}{os.pathsep}{os.environ['PATH']}")
    offline.publish("fake-dependency", "1.0")
    offline.publish("fake-engine", "1.0", "fake-dependency")
    offline.publish("fake-engine", "1.1", "fake-dependency>=1")
    yield offline
    unfinished = list(offline.cache.rglob("*.part"))
    assert not unfinished
