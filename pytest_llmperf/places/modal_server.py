"""An engine's server in a Modal sandbox."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_llmperf.declare.place import MAX_TIMEOUT_S, ModalPlace
from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.log_line import what_it_says
from pytest_llmperf.engines.protocol import Command, Engine
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.gpus import Gpu, GpuState, Nvidia, throttling
from pytest_llmperf.places.machine import NoProgram, ProgramError, facts
from pytest_llmperf.places.modal_model import identity
from pytest_llmperf.places.modal_sandbox import Sandbox
from pytest_llmperf.places.postmortem import Postmortem, examine, hider
from pytest_llmperf.places.process import log_tail
from pytest_llmperf.places.protocol import Process, Vantage

_EXECUTION_S = 60.0
_CAN_DRIVE = (
    "import sys; print(sys.version.split()[0]); sys.version_info < (3, 11) and sys.exit(1); import numpy"
)


class ModalServer:
    """See :class:`~pytest_llmperf.places.protocol.Server`.

    ``port`` is the server's in the container, ``image`` what that is made of, in words; ``is_model_sent``:
    whether its model is one of this machine.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        place: ModalPlace,
        command: Command,
        *,
        port: int,
        image: str,
        log: Path,
        api_key: str | None,
        is_model_sent: bool,
        note: Callable[[str], None],
    ) -> None:
        self.sandbox, self.url, self.api_key = sandbox, sandbox.url, api_key
        self._place, self._command, self._port, self._image = place, command, port, image
        self._log, self._note = log, note
        self._is_model_sent = is_model_sent
        self._nvidia = Nvidia(sandbox)
        self._states: Mapping[str, GpuState] = {}
        self._is_stopped = False

    def is_alive(self) -> bool:
        return self.sandbox.is_alive()

    def stop(self) -> None:
        self._is_stopped = True
        if problem := self.sandbox.stop():
            self._note(
                f"{problem}; if it still runs, end it with `modal container stop` (`modal container list` "
                f"has them), or Modal does within {self._place.timeout_s} s"
            )

    def port_was_taken(self) -> bool:
        return False

    def model_identity(self, engine: Engine, subject: Subject, model: str) -> str:
        if not model or self._is_model_sent:
            return engine.model_identity(subject, model)
        return identity(self.sandbox, subject, model)

    # -- where the load is driven ---------------------------------------------------------------------

    def vantage(self) -> Vantage | None:
        # Known before anything is measured, or never: an error in the midst of it would be too late.
        _ = self._gpus
        if self._place.load == "here":
            return None
        try:
            code, output, complaint = self.sandbox.execute(
                "python3", "-c", _CAN_DRIVE, timeout_s=_EXECUTION_S
            )
        except NoProgram as error:
            code, output, complaint = -1, "", str(error)
        if code:
            said = complaint.strip().splitlines()
            why = said[-1] if said else f"its python3 is {output.strip() or 'missing'}"
            raise EngineError(
                "the load cannot be driven in the engine's container, which needs Python 3.11 and numpy: "
                f"{why}; say load=here in --llmperf-place to drive it from this machine"
            )
        return Vantage(f"http://127.0.0.1:{self._port}", self._place.cpu, self._run)

    def _run(self, program: str) -> Process:
        return self.sandbox.start("python3", "-c", program)

    # -- the machine ----------------------------------------------------------------------------------

    def environment(self) -> Mapping[str, str]:
        side = "in the engine's container" if self._place.load == "there" else "from this machine"
        return {**self._facts, "cpus": f"{self._place.cpu} reserved", "load": side}

    @cached_property
    def _facts(self) -> Mapping[str, str]:
        return facts(self.sandbox, self._gpus, self._cuda)

    @cached_property
    def _gpus(self) -> Sequence[Gpu]:
        """Those that the container really has.

        Raises :class:`EngineError` if they cannot be known: unlike machines would look alike.
        """
        if not self._place.gpu:
            return []
        try:
            found = self._nvidia.gpus()
        except ProgramError:  # it may have been the way there
            try:
                found = self._nvidia.gpus()
            except ProgramError as error:
                raise EngineError(f"which GPUs the sandbox has cannot be known: {error}") from None
        if not found:
            raise EngineError(f"the sandbox has no GPU, for all that nvidia-smi says: {self._place.hardware}")
        return found

    @property
    def _cuda(self) -> str | None:
        try:
            return self._nvidia.cuda() if self._gpus else None
        except ProgramError:
            return None

    def disturbances(self) -> list[str]:
        try:
            states = self._nvidia.states(self._gpus) if self._gpus else {}
        except ProgramError as error:
            return [str(error)]
        slowed = [
            f"GPU {gpu.label} was throttled: {why}"
            for gpu in self._gpus
            if (state := states.get(gpu.uuid)) and (why := throttling(self._states.get(gpu.uuid), state))
        ]
        self._states = states
        return slowed

    def hardware(self) -> Mapping[str, Any]:
        gpus = [
            {"index": gpu.index, "uuid": gpu.uuid, "name": gpu.model, "memory_mib": gpu.memory_mib}
            for gpu in self._gpus
        ]
        return {"sandbox": self.sandbox.id, "image": self._image, "gpus": gpus}

    # -- what it says ---------------------------------------------------------------------------------

    def account(self) -> Postmortem:
        state = "still runs" if self.is_alive() else self._how_it_ended()
        place = f"place: modal {self._place.hardware}, {self._image}"
        ended_by_itself = self.sandbox.why == "ended" and not self._is_stopped
        exit_code = self.sandbox.exit_code if ended_by_itself else None
        return examine(self._command, f"sandbox: {self.sandbox.id} {state}\n{place}", exit_code, self._log)

    def last_line(self) -> str:
        return what_it_says(hider(self._command)("".join(log_tail(self._log, 1))))

    def _how_it_ended(self) -> str:
        if self.sandbox.why == "timeout":
            limit = self._place.timeout_s
            more = min(2 * limit, MAX_TIMEOUT_S)
            return f"was ended by Modal after {limit} s, its time-out: say timeout={more} in --llmperf-place"
        if self._is_stopped:
            return "was terminated"
        if self.sandbox.why != "ended":
            return "ended, nobody knows how"
        if self.sandbox.exit_code == 137:
            return "was terminated by somebody, or killed for want of memory (memory= in --llmperf-place)"
        return f"exited with code {self.sandbox.exit_code}"
