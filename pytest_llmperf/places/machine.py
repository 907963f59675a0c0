"""What a machine is, read from it and not from what anybody says of it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_llmperf.errors import EngineError

if TYPE_CHECKING:
    from pytest_llmperf.places.gpus import Gpu

_PATIENCE_WITH_THE_DEAD_S = 1.0


class ProgramError(EngineError):
    """A program of the machine did not do what was asked; ``said`` is what it wrote."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


class NoProgram(ProgramError):
    """There is no such program."""


class Machine(Protocol):
    """A way to ask a machine, be it this one or a container elsewhere."""

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        """A program's standard output.

        Raises :class:`NoProgram` if there is none, :class:`ProgramError` if it fails or hangs.
        """
        ...

    def read(self, path: str) -> str:
        """The text of a file; empty if it cannot be read."""
        ...


class ThisMachine:
    """See :class:`Machine`."""

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except FileNotFoundError:
            raise NoProgram(f"there is no {argv[0]} here") from None
        except OSError as error:
            raise ProgramError(f"{argv[0]} cannot be run: {error}") from None
        try:
            output, complaint = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _abandon(process)
            raise ProgramError(f"{argv[0]} did not answer within {timeout_s:g} s") from None
        except BaseException:
            _abandon(process)
            raise
        if process.returncode:
            said = "\n".join(filter(None, (output.strip(), complaint.strip())))
            raise ProgramError(
                f"{argv[0]} failed: {said[:300] or f'exit code {process.returncode}, without a word'}", said
            )
        return output

    def read(self, path: str) -> str:
        try:
            return Path(path).read_text(errors="replace")
        except OSError:
            return ""


def _abandon(process: subprocess.Popen[str]) -> None:
    """Kill it; one that hangs in a driver does not even die, and is not waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.communicate(timeout=_PATIENCE_WITH_THE_DEAD_S)
    except subprocess.TimeoutExpired:
        for pipe in filter(None, (process.stdout, process.stderr)):
            pipe.close()
        process.returncode = -signal.SIGKILL  # as far as we are concerned


def facts(machine: Machine, gpus: Sequence[Gpu], cuda: str | None = None) -> dict[str, str]:
    """The fields of a machine that have to be equal in a comparison; ``gpus`` are those that are used.

    Of the kernel's release the first two numbers: what follows them changes with every security update.
    """
    system, release, architecture = uname(machine)
    fields = {
        "machine": f"{system} {architecture}",
        "kernel": ".".join(release.split(".")[:2]),
        "cpu": cpu_model(machine),
        "cpus": str(usable_cores(machine)),
    }
    if gpus:
        fields |= {
            "accelerators": _counted([gpu.model for gpu in gpus]),
            "driver": _each([gpu.driver for gpu in gpus]),
            "cuda": cuda or "unknown",
            "clocks": _each([gpu.clocks for gpu in gpus]),
            "power limit": _each([gpu.power_limit for gpu in gpus]),
        }
    return fields


def uname(machine: Machine) -> tuple[str, str, str]:
    """System, release of its kernel, architecture."""
    try:
        words = machine.run("uname", "-srm").split()
    except ProgramError:
        words = []
    system, release, architecture = words if len(words) == 3 else ["unknown"] * 3
    return system, release, architecture


def cpu_model(machine: Machine) -> str:
    """The processor by its name, or on machines that only number theirs, by those numbers."""
    fields: dict[str, str] = {}
    for line in machine.read("/proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    if named := fields.get("model name") or fields.get("Model"):
        return named
    parts = [fields[name] for name in ("CPU implementer", "CPU part") if name in fields]
    if parts:
        return f"implementer {parts[0]}, part {parts[-1]}"
    with contextlib.suppress(ProgramError):
        return machine.run("sysctl", "-n", "machdep.cpu.brand_string").strip() or "unknown"
    return "unknown"


def usable_cores(machine: Machine | None = None) -> int:
    """The cores that a process may keep busy there: those it may run on, within its container's quota."""
    machine = machine or ThisMachine()
    cores = _allowed_cores(machine.read("/proc/self/status"))
    if not cores:
        with contextlib.suppress(ProgramError, ValueError):
            cores = int(machine.run("getconf", "_NPROCESSORS_ONLN"))
    quota = re.fullmatch(r"(\d+) (\d+)\s*", machine.read("/sys/fs/cgroup/cpu.max"))
    if quota and int(quota[2]):
        cores = min(cores, int(quota[1]) // int(quota[2]))
    return max(1, cores)


def _allowed_cores(status: str) -> int:
    """The length of a list as in ``0-3,8``."""
    told = re.search(r"^Cpus_allowed_list:\s*([\d,-]+)$", status, re.MULTILINE)
    ranges = [part.partition("-") for part in told[1].split(",")] if told else []
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{n} × {name}" if n > 1 else name for name, n in sorted(Counter(names).items()))


def _each(values: Sequence[str]) -> str:
    """One value where all are alike."""
    return ", ".join(sorted(set(values)))
