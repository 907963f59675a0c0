"""What of this machine one engine gets to itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.gpus import Gpu, Nvidia, choose
from pytest_llmperf.places.leases import Lease, Leases
from pytest_llmperf.places.machine import NoProgram, ProgramError
from pytest_llmperf.places.protocol import Listener

VISIBLE = "CUDA_VISIBLE_DEVICES"
_CPU = "cpu"


@dataclass(frozen=True)
class Allotment:
    """GPUs, or none for an engine that runs on the CPU, and the leases that keep others away."""

    gpus: tuple[Gpu, ...] = ()
    leases: tuple[Lease, ...] = ()
    note: str = ""
    """What has to be said of it, if anything."""
    hides_gpus: bool = False
    """Whether there are GPUs, and the engine is to see none of them."""

    @property
    def env(self) -> dict[str, str]:
        """The variables that show an engine its GPUs, and no other."""
        if not self.gpus:
            return {VISIBLE: ""} if self.hides_gpus else {}
        # CUDA's own order is by speed, which is not nvidia-smi's.
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", VISIBLE: ",".join(gpu.visible for gpu in self.gpus)}

    @property
    def held(self) -> list[int]:
        """The descriptors of its leases."""
        return [lease.fd for lease in self.leases]

    def release(self) -> None:
        for lease in self.leases:
            lease.release()


class Allotter:
    """Allots GPUs, or the CPU, to one engine after the other.

    ``leases`` None: nobody else is kept away. ``allowed`` are the GPUs that may be used, as
    :func:`~pytest_llmperf.places.gpus.choose` reads them; None: those in CUDA_VISIBLE_DEVICES if it is set,
    else all.
    """

    def __init__(
        self,
        nvidia: Nvidia,
        leases: Leases | None = None,
        allowed: Sequence[str] | None = None,
        listener: Listener | None = None,
    ) -> None:
        self._nvidia, self._leases, self._allowed, self._listener = nvidia, leases, allowed, listener
        self._current: Allotment | None = None

    def allot(self, subject: Subject, count: int) -> Allotment:
        """``count`` GPUs, or with 0 the CPU; those of the last time if they will do.

        A subject that sets CUDA_VISIBLE_DEVICES itself gets exactly those. Waits while they are leased by
        others. Raises :class:`EngineError` if they cannot be had.
        """
        own = dict(subject.env).get(VISIBLE)
        words = _words(own) if own is not None else None
        if not (count or words):
            return self._cpu(subject, hides_gpus=own is None and self._has_gpus())
        try:
            there = self._nvidia.gpus()
        except NoProgram as error:
            if self._allowed is not None or words is not None:
                said = "--llmperf-gpus" if self._allowed is not None else f"{VISIBLE}={own}"
                raise EngineError(
                    f"{subject}: {said} names GPUs, but which there are cannot be read: {error}; "
                    "leave it out on a machine without them"
                ) from None
            note = f"nothing is known of the GPUs that {subject.target} uses: {error}"
            return self._cpu(subject, note)
        return self._gpus(subject, *self._candidates(subject, there, words, count))

    def close(self) -> None:
        """Give back what is held."""
        if self._current is not None:
            self._current.release()
            self._current = None

    def _candidates(
        self, subject: Subject, there: Sequence[Gpu], words: Sequence[str] | None, count: int
    ) -> tuple[list[Gpu], int]:
        """The GPUs that may be used, and how many of them have to be."""
        source, allowed = "", list(there)
        if self._allowed is not None:
            source = "--llmperf-gpus"
            allowed = choose(there, self._allowed, source)
        elif VISIBLE in os.environ:
            source = f"{VISIBLE}={os.environ[VISIBLE]}"
            allowed = choose(there, _words(os.environ[VISIBLE]), source)
        if words is not None:
            own = choose(there, words, f"{subject}: {VISIBLE}")
            if outside := [gpu.label for gpu in own if gpu not in allowed]:
                raise EngineError(f"{subject}: GPU {', '.join(outside)} may not be used ({source})")
            if len(own) < count:
                raise EngineError(f"{subject} needs {_number(count)}, and names {len(own)} in {VISIBLE}")
            return own, len(own)
        if len(allowed) < count:
            may = f", of which {len(allowed)} may be used ({source})" if len(allowed) < len(there) else ""
            raise EngineError(f"{subject} needs {_number(count)}; there {_are(len(there))} here{may}")
        return allowed, count

    def _gpus(self, subject: Subject, candidates: Sequence[Gpu], count: int) -> Allotment:
        by_name = {f"gpu-{gpu.uuid}": gpu for gpu in candidates}
        held = self._current
        # Read anew, because a limit may have been changed since.
        if held is not None and len(held.gpus) == count:
            again = [gpu for gpu in candidates if gpu.uuid in {one.uuid for one in held.gpus}]
            if len(again) == count:
                self._current = Allotment(tuple(again), held.leases)
                return self._current
        self.close()  # before waiting for others
        labels = {name: gpu.label for name, gpu in by_name.items()}
        leases = self._take(subject, labels, count, "a GPU" if count == 1 else f"{count} GPUs")
        chosen = [by_name[name] for name in leases] if leases is not None else list(candidates)[:count]
        self._current = Allotment(tuple(chosen), tuple((leases or {}).values()))
        return self._current

    def _has_gpus(self) -> bool:
        try:
            return bool(self._nvidia.gpus())
        except ProgramError:
            return False

    def _cpu(self, subject: Subject, note: str = "", hides_gpus: bool = False) -> Allotment:
        held = self._current
        if held is None or held.gpus:
            self.close()
            shared = self._leases.own(_CPU) if self._leases is not None else None
            leases = (
                {_CPU: shared.share()}
                if shared
                else self._take(subject, {_CPU: "it"}, 1, "the machine's CPU")
            )
            held = Allotment((), tuple((leases or {}).values()))
        if hides_gpus and subject.engine == "command":
            note = f"no GPU is shown to {subject.target}: the subject asks for none (command --gpus N -- …)"
        self._current = Allotment((), held.leases, note, hides_gpus)
        return self._current

    def _take(
        self, subject: Subject, names: Mapping[str, str], count: int, what: str
    ) -> dict[str, Lease] | None:
        if self._leases is None:
            return None
        has_waited = False

        def waiting(elapsed_s: float, told: str) -> None:
            nonlocal has_waited
            if self._listener is not None:
                if not has_waited:
                    self._listener.phase(f"waiting for {told}")
                self._listener.waiting(elapsed_s, "")
            has_waited = True

        taken = self._leases.take(names, count, subject.target, what, waiting)
        if has_waited and self._listener is not None:
            self._listener.phase(f"starting {subject}")
        return taken


def _words(visible: str) -> list[str]:
    """The entries of CUDA_VISIBLE_DEVICES; as CUDA has it, what is below 0 ends the list."""
    words = [word.strip() for word in visible.split(",") if word.strip()]
    if words in (["NoDevFiles"], ["none"], ["void"]):
        return []
    return words[: next((n for n, word in enumerate(words) if word.startswith("-")), len(words))]


def _number(count: int) -> str:
    return "1 GPU" if count == 1 else f"{count} GPUs"


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count or 'none'}"
