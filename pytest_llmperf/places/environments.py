"""The Python environments that engines run in.

========================  ==========================================================================
``vllm``                  the one that the tests run in
``vllm==0.24.0``          the same if it has exactly that version, otherwise an isolated one
``vllm@dist/vllm-….whl``  an isolated one with that wheel
``vllm@/src/vllm``        an isolated one with that source checkout
``vllm@/venv/bin/python`` that interpreter's, or that virtual environment's
========================  ==========================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import sysconfig
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.cache import cache_directory, is_kept
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.errors import EngineError, Hindered
from pytest_llmperf.places import source
from pytest_llmperf.places.installer import Installer, foreign_environment
from pytest_llmperf.places.isolated import Isolated, Slot, ask, use
from pytest_llmperf.places.lockfile import LockFile
from pytest_llmperf.places.packages import Packages, canonical, digest, packages_of
from pytest_llmperf.places.protocol import Listener
from pytest_llmperf.places.pruning import prune, readable
from pytest_llmperf.places.source import Source

# The part of the installer's configuration that decides what is chosen, and what is built of it.
_CHOOSING = re.compile(r"(?:PIP|UV)_(?!.*(?:CACHE|TIMEOUT|RETRIES|CERT|PROGRESS|COLOR)).*")
_BUILDING = re.compile(r".*(?:PRECOMPILED|TARGET_DEVICE|CMAKE|CUDA_ARCH).*|CC|CXX|CFLAGS|CXXFLAGS|CUDA_HOME")


class Silent:
    """Tells nobody."""

    def phase(self, text: str) -> None: ...
    def waiting(self, elapsed_s: float, line: str) -> None: ...


@dataclass(frozen=True)
class _Wanted:
    """An isolated environment: ``target`` is what the installer is asked for, ``label`` is for files."""

    subject: Subject
    distribution: str
    target: str
    label: str
    source: Source | None = None

    @property
    def name(self) -> str:
        return self.subject.target

    @property
    def is_reproducible(self) -> bool:
        return self.source is None or self.source.is_settled

    def slot(self, lock: LockFile | None) -> Slot:
        """With a lock it is known by that; without, by all that the installer chooses by."""
        knowing = [lock.identity] if lock else [f"{k}={v}" for k, v in _variables(_CHOOSING)]
        if self.source is not None:
            knowing += [str(self.source.path), self.source.identity]
            knowing += [f"{k}={v}" for k, v in _variables(_BUILDING)] if self.source.is_checkout else []
        key = f"{self.label}-{platform_tag()}-{digest(sorted(knowing))[:12]}"
        return Slot(cache_directory("environments") / key, self.distribution)

    def installs(self, lock: LockFile | None) -> list[list[str]]:
        """The arguments of each ``pip install``."""
        if lock is None:
            return [[self.target]]
        locked = ["--no-deps", "-r", str(lock.path)]
        return [locked] if self.source is None else [locked, ["--no-deps", self.target]]


class Environments:
    """Finds the environment that has what a subject names, and builds it where there is none.

    As long as it lives, no other test run removes what it found.
    """

    def __init__(
        self,
        locks: Path = Path(".llmperf/locks"),
        logs: Callable[[], Path] = lambda: Path(".llmperf/logs"),
        listener: Listener | None = None,
        note: Callable[[str], None] = lambda text: None,
        limit: int | None = None,
    ) -> None:
        """Lock files are read and written in ``locks``, the installer's log goes to ``logs()``.

        ``listener`` is told of a build while it lasts, ``note`` what a person should know in the end.
        ``limit`` is what all environments may take after a build, in bytes; None: all are kept.
        """
        self._locks, self._logs, self._note = locks, logs, note
        self._limit = limit
        self._listener = listener or Silent()
        self._known: dict[tuple[str | None, str, object], Runtime] = {}
        self._using = contextlib.ExitStack()
        weakref.finalize(self, self._using.close)

    def runtime_of(self, engine: Engine, subject: Subject) -> Runtime:
        """The environment of ``subject``; the same one as long as this object lives, whatever changes.

        Raises :class:`EngineError` if there is none and none can be built.
        """
        key = (engine.distribution, subject.target, subject.env)
        if key not in self._known:
            self._known[key] = self._runtime_of(engine, subject)
        return self._known[key]

    def _runtime_of(self, engine: Engine, subject: Subject) -> Runtime:
        if engine.distribution is None:
            if subject.version or subject.path:
                raise EngineError(
                    f"{subject.target}: {engine.name} is no Python package; leave out what follows it"
                )
            return Runtime(sys.executable)
        if subject.path is not None:
            return self._at_path(engine.distribution, subject)
        installed = packages_of(engine.distribution)
        if subject.version is None:
            if installed is None:
                raise EngineError(
                    f"{engine.name} needs the {engine.distribution} package, which is not installed here: "
                    f"pip install {engine.distribution}, or name a version ({engine.name}==…) "
                    "to have it in an environment of its own"
                )
            return _runtime(sys.executable, installed)
        if installed is not None and is_version(installed.version, subject.version):
            return _runtime(sys.executable, installed)
        requirement = f"{engine.distribution}=={subject.version}"
        label = f"{canonical(engine.distribution)}-{subject.version}"
        return self._isolated(_Wanted(subject, engine.distribution, requirement, label))

    def _at_path(self, distribution: str, subject: Subject) -> Runtime:
        assert subject.path is not None
        # Links are not resolved: that of a virtual environment to its Python is what makes it one.
        path = Path(os.path.abspath(Path(subject.path).expanduser()))
        if path.suffix == ".whl" and path.is_file():
            return self._from_source(distribution, subject, source.wheel(path, distribution))
        if (path / "pyvenv.cfg").is_file():
            path = path / "bin" / "python"
        elif (path / "pyproject.toml").is_file() or (path / "setup.py").is_file():
            return self._from_source(distribution, subject, source.checkout(path))
        if not (path.is_file() and os.access(path, os.X_OK)):
            state = "is none of these" if path.exists() else "does not exist"
            raise EngineError(
                f"{subject.target}: expected a wheel, a source checkout, a virtual environment or a Python "
                f"interpreter; {path} {state}"
            )
        installed = ask(str(path), distribution, dict(subject.env))
        if installed is None:
            raise EngineError(f"{subject.target}: {path} has no {distribution} package installed")
        return _runtime(str(path), installed)

    def _from_source(self, distribution: str, subject: Subject, found: Source) -> Runtime:
        label = f"{canonical(distribution)}-{re.sub('[^A-Za-z0-9.+]+', '_', found.identity)}"
        wanted = _Wanted(subject, distribution, str(found.path), label, found)
        return self._isolated(wanted)

    def _isolated(self, wanted: _Wanted) -> Runtime:
        path = self._locks / f"{wanted.label}-{platform_tag()}.txt"
        lock = LockFile.read(path)
        slot = wanted.slot(lock)
        built = slot.find(self._using) or self._build(slot, wanted, lock)
        if wanted.source is None and not is_version(built.packages.version, wanted.target.partition("==")[2]):
            raise EngineError(
                f"{wanted.name}: {path} has {wanted.distribution} {built.packages.version} in it; "
                "restore the file, or delete it to have it written anew"
            )
        if lock is None and wanted.is_reproducible:
            self._write_lock(path, wanted, built)
        return _runtime(built.python, built.packages, wanted.source)

    def _write_lock(self, path: Path, wanted: _Wanted, built: Isolated) -> None:
        own = f"{canonical(wanted.distribution)}=={built.packages.version}"
        pins = built.packages.needed if wanted.source else (*built.packages.needed, own)
        if not pins:
            return
        try:
            lock = LockFile.write(path, wanted.name, pins)
            wanted.slot(lock).offer(built)
        except OSError as error:
            self._note(
                f"{path} cannot be written ({error.strerror}): another build may choose other packages"
            )

    def _build(self, slot: Slot, wanted: _Wanted, lock: LockFile | None) -> Isolated:
        if not is_kept(slot.directory.parent):
            self._note(f"the environment of {wanted.name} is not kept: ~/.cache/llmperf cannot be written to")
        self._listener.phase(f"building the environment of {wanted.name}")
        began = time.monotonic()

        def waiting(line: str) -> None:
            self._listener.waiting(time.monotonic() - began, line)

        try:
            with slot.building(waiting) as directory:
                if (found := slot.find(self._using)) is not None:  # somebody else built it meanwhile
                    directory.rmdir()
                    return found
                stamp = f"{time.strftime('%Y%m%dT%H%M%S')}-{directory.name}-installing-{wanted.label}"
                installer = Installer(directory, wanted.distribution, self._logs() / f"{stamp}.log")
                installer.run(wanted.installs(lock), waiting)
                packages = ask(str(directory / "bin" / "python"), wanted.distribution)
                if packages is None:
                    raise EngineError(
                        f"what was installed has no {wanted.distribution} package in it\n"
                        f"installer's log: {installer.log}"
                    )
                built = Isolated(directory, packages)
                slot.publish(built)
                self._using.enter_context(use(directory))
        except (EngineError, OSError) as error:
            told = f"{wanted.name} has no environment to run in: {error}"
            raise Hindered(told) if isinstance(error, (Hindered, OSError)) else EngineError(told) from None
        self._prune(slot.directory.parent)
        self._listener.phase(f"starting {wanted.subject}")
        return built

    def _prune(self, cache: Path) -> None:
        if self._limit is None:
            return
        try:
            gone = prune(cache, self._limit)
        except OSError as error:
            self._note(f"the cache of environments is not pruned: {error}")
            return
        if gone:
            told = ", ".join(f"{one.name} ({readable(one.size)})" for one in gone)
            self._note(f"removed from the cache of environments (--llmperf-cache-limit): {told}")


def _runtime(python: str, installed: Packages, found: Source | None = None) -> Runtime:
    if found is None and installed.source is not None:
        found = source.checkout(Path(installed.source))
    return Runtime(python, installed.version, found.identity if found else None, installed.summary)


def is_version(installed: str, asked: str) -> bool:
    """Whether ``asked`` names what is installed, as ``==`` does: a local version (+cu129) may be left out."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(f"=={asked}").contains(installed, prereleases=True)
    except InvalidSpecifier:
        return installed == asked


def engine_environment(runtime: Runtime) -> dict[str, str]:
    """The variables that an engine inherits: those of this process, as far as they are not about its Python.

    The programs of a virtual environment (``ninja``, say) are found first, as if it were activated.
    """
    is_ours = runtime.python == sys.executable
    inherited = (
        {k: v for k, v in os.environ.items() if not k.startswith("LLMPERF_")}
        if is_ours
        else foreign_environment()
    )
    directory = Path(runtime.python).parent
    if (directory.parent / "pyvenv.cfg").is_file():
        inherited["VIRTUAL_ENV"] = str(directory.parent)
        inherited["PATH"] = os.pathsep.join(filter(None, (str(directory), inherited.get("PATH"))))
    return inherited


def _variables(pattern: re.Pattern[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in os.environ.items() if pattern.fullmatch(name)]


def platform_tag() -> str:
    """Python and platform of the environments that are built here, as they are called in lock files."""
    python = "cp" if sys.implementation.name == "cpython" else sys.implementation.name
    platform = re.sub("[^A-Za-z0-9]+", "_", sysconfig.get_platform())
    return f"{python}{sys.version_info.major}{sys.version_info.minor}-{platform}"
