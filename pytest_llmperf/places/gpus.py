"""The NVIDIA GPUs of a machine, as ``nvidia-smi`` tells them: NVML's own command, in every driver.

In place of what it cannot tell it prints ``[N/A]``, ``[Not Supported]``, ``[Unknown Error]`` and the like.
A field that this driver does not know makes it say ``Field "x" is not a valid field to query.`` on its
standard output and exit with 2. It costs 0.05 to 1 s of CPU and driver locks: nothing is measured meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.machine import Machine, ProgramError

_SMI = "nvidia-smi"
_IDENTITY = (
    *("index", "uuid", "name", "driver_version", "memory.total", "clocks.max.sm", "clocks.max.memory"),
    *("power.limit", "power.default_limit", "persistence_mode", "compute_mode", "mig.mode.current"),
)
_STATE = (
    *("uuid", "memory.used", "clocks.sm", "clocks.mem", "clocks_event_reasons.active"),
    "clocks_event_reasons_counters.sw_thermal_slowdown",
    "clocks_event_reasons_counters.hw_thermal_slowdown",
    "clocks_event_reasons_counters.hw_power_brake_slowdown",
)
# What drivers before 535 call it.
_FORMERLY = {"clocks_event_reasons.active": "clocks_throttle_reasons.active"}
# NVML's bits; the power cap is not among them: a busy GPU at its rated power is as it should be.
_REASONS = {
    0x02: "application clocks that somebody set",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
_COUNTED = {
    "sw_thermal_slowdown": _REASONS[0x20],
    "hw_thermal_slowdown": _REASONS[0x40],
    "hw_power_brake_slowdown": _REASONS[0x80],
}


@dataclass(frozen=True)
class Gpu:
    """What can be given to an engine: a GPU, or an instance of one that is partitioned (MIG).

    ``power_w`` and ``default_power_w`` are limits. None is what the driver does not tell.
    """

    index: int
    uuid: str
    name: str
    driver: str
    memory_mib: float | None = None
    max_sm_mhz: float | None = None
    max_memory_mhz: float | None = None
    power_w: float | None = None
    default_power_w: float | None = None
    persistence: str | None = None
    compute_mode: str | None = None
    profile: str | None = None
    """Of an instance, as in ``2g.20gb``; its ``uuid`` is its own, all else that of its GPU."""

    @property
    def model(self) -> str:
        return f"{self.name} MIG {self.profile}" if self.profile else self.name

    @property
    def label(self) -> str:
        return f"{self.index} (MIG {self.profile}, {self.uuid})" if self.profile else str(self.index)

    @property
    def visible(self) -> str:
        """What stands for it in CUDA_VISIBLE_DEVICES.

        Its index in the order of the PCI bus: vLLM before 0.24 takes every entry for a number and falls over
        a UUID. An instance has no other name than its UUID.
        """
        return self.uuid if self.profile else str(self.index)

    @property
    def clocks(self) -> str:
        return f"up to {_told(self.max_sm_mhz, 'MHz')} SM, {_told(self.max_memory_mhz, 'MHz')} memory"

    @property
    def power_limit(self) -> str:
        return _told(self.power_w, "W")


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment. ``throttled`` names what slows it now; ``throttled_us`` what did, since its driver
    was loaded, where the driver counts it."""

    memory_used_mib: float | None = None
    sm_mhz: float | None = None
    memory_mhz: float | None = None
    throttled: frozenset[str] = frozenset()
    throttled_us: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class GpuProcess:
    """A process that computes on a GPU. In a container its ``pid`` may be one that means nothing there."""

    pid: int
    gpu_uuid: str
    memory_mib: float | None = None


class Nvidia:
    """Asks a machine's ``nvidia-smi``. All methods raise :class:`ProgramError` if it does not answer."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._unknown: set[str] = set()
        self._cuda: str | None = None

    def gpus(self) -> list[Gpu]:
        """What can be given to engines, in the order of the PCI bus."""
        found: list[Gpu] = []
        instances: dict[int, list[tuple[str, str]]] | None = None
        for row in self._query("gpu", _IDENTITY):
            gpu = _gpu(row)
            if row.get("mig.mode.current") == "Enabled":
                # Nothing can be computed on the GPU itself then.
                instances = _instances(self._machine.run(_SMI, "-L")) if instances is None else instances
                found += [
                    Gpu(**{**vars(gpu), "profile": profile, "uuid": uuid, "memory_mib": None})
                    for profile, uuid in instances.get(gpu.index, [])
                ]
            else:
                found.append(gpu)
        return sorted(found, key=lambda gpu: gpu.index)

    def states(self, gpus: Sequence[Gpu]) -> dict[str, GpuState]:
        """By UUID; of an instance nothing is told, since what its GPU does may be another one's doing."""
        whole = [gpu.uuid for gpu in gpus if gpu.profile is None]
        return {row["uuid"]: _state(row) for row in self._query("gpu", _STATE, whole)} if whole else {}

    def processes(self, gpus: Sequence[Gpu]) -> list[GpuProcess]:
        """Those that compute on ``gpus``."""
        wanted = {gpu.uuid for gpu in gpus}
        return [
            GpuProcess(int(row["pid"]), row["gpu_uuid"], _number(row["used_memory"]))
            for row in self._query("compute-apps", ("pid", "gpu_uuid", "used_memory"))
            if row["gpu_uuid"] in wanted and row["pid"].isdigit()
        ]

    def cuda(self) -> str | None:
        """The CUDA version that the driver brings: no field of a query, only a word of the banner."""
        if self._cuda is None:
            found = re.search(r"CUDA(?: UMD)? Version *: *([\d.]+)", self._machine.run(_SMI))
            self._cuda = found[1] if found else ""
        return self._cuda or None

    def _query(self, what: str, fields: Sequence[str], uuids: Collection[str] = ()) -> list[dict[str, str]]:
        """Rows by field; without the fields that this driver does not know."""
        while True:
            asked = [name for one in fields if (name := self._name(one)) is not None]
            argv = [f"--query-{what}={','.join(asked)}", "--format=csv,noheader,nounits"]
            try:
                answer = self._machine.run(_SMI, *argv, *([f"--id={','.join(uuids)}"] if uuids else []))
            except ProgramError as error:
                refused = re.search(r'Field "([^"]+)" is not a valid field', error.said)
                if refused is not None and refused[1] in asked:
                    self._unknown.add(refused[1])
                    continue
                if "No devices were found" in error.said:
                    return []
                raise
            original = [one for one in fields if self._name(one) is not None]
            return [_row(line, original) for line in answer.splitlines() if _is_row(line)]

    def _name(self, field: str) -> str | None:
        """What this driver calls a field; None if it does not know it."""
        names = (field, _FORMERLY.get(field))
        return next((name for name in names if name and name not in self._unknown), None)


def choose(gpus: Sequence[Gpu], words: Sequence[str], source: str) -> list[Gpu]:
    """Those of ``gpus`` that ``words`` name: ``all``, indices, UUIDs or how they begin.

    Raises :class:`EngineError`, which names ``source``, for one that is not there.
    """
    chosen: dict[str, Gpu] = {}
    for word in words:
        named = [gpu for gpu in gpus if word == "all" or word == str(gpu.index) or _begins(gpu.uuid, word)]
        if not named:
            there = ", ".join(f"{gpu.label} ({gpu.model}, {gpu.uuid})" for gpu in gpus) or "none"
            raise EngineError(f"{source}: there is no GPU {word!r} here; there are: {there}")
        if len(named) > 1 and not (word == "all" or word.isdigit()):
            raise EngineError(f"{source}: {word!r} may be any of {', '.join(gpu.uuid for gpu in named)}")
        chosen |= {gpu.uuid: gpu for gpu in named}
    return [gpu for gpu in gpus if gpu.uuid in chosen]


def throttling(before: GpuState | None, after: GpuState) -> str:
    """What slowed a GPU between two moments, or slows it at the second, in words; empty if nothing."""
    told = {}
    for reason, us in after.throttled_us.items():
        grown = us - (before.throttled_us.get(reason, us) if before else us)
        if grown > 0:
            told[reason] = f"{reason} for {grown / 1e6:.1f} s"
    told |= {reason: reason for reason in sorted(after.throttled) if reason not in told}
    return ", ".join(told.values())


def _begins(uuid: str, word: str) -> bool:
    return word.startswith(("GPU-", "MIG-")) and len(word) > 4 and uuid.startswith(word)


def _is_row(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("No devices were found")


def _row(line: str, fields: Sequence[str]) -> dict[str, str]:
    values = [value.strip() for value in line.split(",")]
    if len(values) != len(fields):
        raise ProgramError(f"{_SMI} says: {line.strip()[:300]}", line)
    return dict(zip(fields, values, strict=True))


def _gpu(row: Mapping[str, str]) -> Gpu:
    if not row["index"].isdigit() or not row["uuid"].startswith("GPU-"):
        raise ProgramError(f"{_SMI} tells of a GPU without index or UUID: {', '.join(row.values())[:300]}")
    return Gpu(
        index=int(row["index"]),
        uuid=row["uuid"],
        name=row["name"],
        driver=row["driver_version"],
        memory_mib=_number(row.get("memory.total")),
        max_sm_mhz=_number(row.get("clocks.max.sm")),
        max_memory_mhz=_number(row.get("clocks.max.memory")),
        power_w=_number(row.get("power.limit")),
        default_power_w=_number(row.get("power.default_limit")),
        persistence=_text(row.get("persistence_mode")),
        compute_mode=_text(row.get("compute_mode")),
    )


def _state(row: Mapping[str, str]) -> GpuState:
    mask = row.get("clocks_event_reasons.active", "")
    bits = int(mask, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", mask) else 0
    counted = {
        reason: _number(row.get(f"clocks_event_reasons_counters.{name}")) for name, reason in _COUNTED.items()
    }
    return GpuState(
        memory_used_mib=_number(row.get("memory.used")),
        sm_mhz=_number(row.get("clocks.sm")),
        memory_mhz=_number(row.get("clocks.mem")),
        throttled=frozenset(reason for bit, reason in _REASONS.items() if bits & bit),
        throttled_us={reason: us for reason, us in counted.items() if us is not None},
    )


def _instances(listing: str) -> dict[int, list[tuple[str, str]]]:
    """By the index of their GPU: profile and UUID."""
    found: dict[int, list[tuple[str, str]]] = {}
    index = -1
    for line in listing.splitlines():
        if gpu := re.match(r"GPU (\d+):", line):
            index = int(gpu[1])
        elif instance := re.match(r"\s+MIG (\S+)\s+Device\s+\d+:\s+\(UUID: (MIG-[^)]+)\)", line):
            found.setdefault(index, []).append((instance[1], instance[2]))
    return found


def _number(text: str | None) -> float | None:
    """What stands in place of a number is in brackets, or N/A."""
    try:
        return float(text or "")
    except ValueError:
        return None


def _text(text: str | None) -> str | None:
    return None if text is None or text.startswith("[") or text == "N/A" else text


def _told(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:g} {unit}"
