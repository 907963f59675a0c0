"""What disturbs an engine on its GPUs, and what it leaves there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_llmperf.places.gpus import Gpu, GpuProcess, GpuState, Nvidia, throttling
from pytest_llmperf.places.machine import ProgramError
from pytest_llmperf.places.process import lineage_of

FREE_MIB = 256
"""What a GPU without work may have in use: more than a driver keeps, less than a CUDA context takes."""
PATIENCE_BEFORE_S, PATIENCE_AFTER_S = 5.0, 15.0
"""How long memory may take to come back: a driver needs some seconds for tens of GiB."""
_POLL_S = 0.5


class GpuWatch:
    """Looks at the GPUs of one engine before, between and after its runs; never during one.

    An engine that does not get its memory fails by itself; one that shares a GPU and works is measured, and
    the sharing named. That ``nvidia-smi`` does not answer is named as well, and ends nothing.
    """

    def __init__(self, nvidia: Nvidia, gpus: Sequence[Gpu], engine: str) -> None:
        self.gpus, self._nvidia, self._engine = gpus, nvidia, engine
        self.before: Mapping[str, GpuState] = {}
        self.after: Mapping[str, GpuState] = {}
        self._last: Mapping[str, GpuState] = {}
        self._at_start: list[str] = []

    def begin(self) -> None:
        """Before the start: wait a little for what an earlier process still has to give back."""
        self._at_start = [_limited(gpu) for gpu in self.gpus if _is_limited(gpu)]
        try:
            self.before = self._settled(lambda gpu, state: _used(state) <= FREE_MIB, PATIENCE_BEFORE_S)
            processes = self._nvidia.processes(self.gpus) if self.gpus else []
        except ProgramError as error:
            self._at_start.append(str(error))
            return
        self._last = self.before
        for gpu in self.gpus:
            others = [process for process in processes if process.gpu_uuid == gpu.uuid]
            used = _used(self.before.get(gpu.uuid))
            if used > FREE_MIB or others:
                told = f"GPU {gpu.label} is shared: {used:g} MiB were in use before {self._engine} started"
                self._at_start.append(told + _named(others))

    def disturbances(self) -> list[str]:
        """What holds for all of this launch, and what was noticed since the last call."""
        if not self.gpus:
            return []
        try:
            states, processes = self._nvidia.states(self.gpus), self._nvidia.processes(self.gpus)
        except ProgramError as error:
            return [*self._at_start, str(error)]
        found = list(self._at_start)
        for gpu in self.gpus:
            state = states.get(gpu.uuid)
            if state is not None and (why := throttling(self._last.get(gpu.uuid), state)):
                found.append(f"GPU {gpu.label} was throttled: {why}")
            others = [one for one in processes if one.gpu_uuid == gpu.uuid and _is_foreign(one)]
            if others and not any(f"GPU {gpu.label} is shared" in told for told in found):
                found.append(f"GPU {gpu.label} is shared with others{_named(others)}")
        self._last = states
        return found

    def end(self) -> str:
        """After the stop: wait until the memory is back; in words what is not, empty if all is."""
        if not self.before:
            return ""
        try:
            self.after = self._settled(self._is_back, PATIENCE_AFTER_S)
            kept = [gpu for gpu in self.gpus if not self._is_back(gpu, self.after.get(gpu.uuid))]
            processes = self._nvidia.processes(kept) if kept else []
        except ProgramError as error:
            return f"whether {self._engine} gave its GPU memory back is not known: {error}"
        return "; ".join(
            f"GPU {gpu.label} still has {_used(self.after.get(gpu.uuid)):g} MiB in use "
            f"{PATIENCE_AFTER_S:g} s after {self._engine} ended, "
            f"and had {_used(self.before.get(gpu.uuid)):g} MiB before it started"
            + _named([one for one in processes if one.gpu_uuid == gpu.uuid])
            for gpu in kept
        )

    def cuda(self) -> str | None:
        """The CUDA version of the driver; None where there is no GPU, or it is not told."""
        try:
            return self._nvidia.cuda() if self.gpus else None
        except ProgramError:
            return None

    def as_json(self) -> list[dict[str, Any]]:
        """The GPUs with their memory, as a record keeps them."""
        return [
            {
                "index": gpu.index,
                "uuid": gpu.uuid,
                "name": gpu.model,
                "memory_mib": gpu.memory_mib,
                "memory_before_mib": _known(self.before.get(gpu.uuid)),
                "memory_after_mib": _known(self.after.get(gpu.uuid)),
                "persistence": gpu.persistence,
                "compute_mode": gpu.compute_mode,
            }
            for gpu in self.gpus
        ]

    def _is_back(self, gpu: Gpu, state: GpuState | None) -> bool:
        return _used(state) <= _used(self.before.get(gpu.uuid)) + FREE_MIB

    def _settled(
        self, is_fine: Callable[[Gpu, GpuState | None], bool], patience_s: float
    ) -> Mapping[str, GpuState]:
        """The states as soon as all are fine, or when the patience is at its end."""
        deadline = time.monotonic() + patience_s
        while True:
            states = self._nvidia.states(self.gpus) if self.gpus else {}
            if all(is_fine(gpu, states.get(gpu.uuid)) for gpu in self.gpus) or time.monotonic() > deadline:
                return states
            time.sleep(_POLL_S)


def _used(state: GpuState | None) -> float:
    """What is not told does not count."""
    return (state.memory_used_mib if state else None) or 0.0


def _known(state: GpuState | None) -> float | None:
    return state.memory_used_mib if state else None


def _is_limited(gpu: Gpu) -> bool:
    return gpu.power_w is not None and gpu.default_power_w is not None and gpu.power_w < gpu.default_power_w


def _limited(gpu: Gpu) -> str:
    return f"GPU {gpu.label} is limited to {gpu.power_w:g} W, where {gpu.default_power_w:g} W are its default"


def _is_foreign(process: GpuProcess) -> bool:
    """Whether it runs here and is none of ours; of one that is not seen here nobody knows."""
    return Path(f"/proc/{process.pid}").exists() and os.getpid() not in lineage_of(process.pid)


def _named(processes: Sequence[GpuProcess]) -> str:
    told = [
        f"pid {one.pid}{_program(one.pid)}"
        + (f", {one.memory_mib:g} MiB" if one.memory_mib is not None else "")
        for one in processes
    ]
    return f" ({'; '.join(told)})" if told else ""


def _program(pid: int) -> str:
    try:
        return f" {Path(f'/proc/{pid}/comm').read_text().strip()}"
    except OSError:
        return ""
