"""A Modal sandbox for each start of an engine.

The sandbox belongs to a guardian process (:mod:`~pytest_llmperf.places.modal_guardian`), which this process
only listens to. Its tunnel is open to the world, so the server gets an API key, unless the subject has one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import secrets
import select
import shlex
import subprocess
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest_llmperf
from pytest_llmperf.declare import place as declared
from pytest_llmperf.declare.subject import REDACTED, Subject, is_secret
from pytest_llmperf.engines.protocol import Command, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.gpus import Gpu, GpuState, Nvidia, throttling
from pytest_llmperf.places.machine import NoProgram, ProgramError, facts
from pytest_llmperf.places.modal_guardian import SandboxOrder
from pytest_llmperf.places.modal_image import ImageRecipe, check_size
from pytest_llmperf.places.modal_process import SandboxProcess
from pytest_llmperf.places.protocol import Process, Vantage

if TYPE_CHECKING:
    import modal

# In a container of its own any will do; by chance, so that those that share a machine get on as well.
_PORTS = range(10_000, 30_000)
_PACKAGE = Path(pytest_llmperf.__file__).parent
_GUARDIAN = (
    "import sys; sys.path[:] = {path!r}; from pytest_llmperf.places.modal_guardian import main; main()"
)
_STOP_S = 90.0
_EXECUTION_S = 60.0
_CAN_DRIVE = (
    "import sys; print(sys.version.split()[0]); sys.version_info < (3, 11) and sys.exit(1); import numpy"
)
_OURS = ("numpy", "httpx")


class ModalPlace:
    """See :class:`~pytest_llmperf.places.protocol.Place`."""

    def __init__(self, place: declared.ModalPlace, startup_timeout_s: float) -> None:
        self._place, self._startup_timeout_s = place, startup_timeout_s
        self.name = f"modal {place.hardware}"

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Have the image built."""
        needed = engine.gpus(subject)
        if needed > self._place.gpus:
            has = f"{self._place.gpus} of them" if self._place.gpus else "none"
            raise EngineError(
                f"{subject} needs {needed} GPU{'s' if needed > 1 else ''}, and the place has {has}: "
                f"--llmperf-place 'modal gpu=H100!{f':{needed}' if needed > 1 else ''} …'"
            )
        recipe = self._recipe(engine, subject)
        with told():
            import modal

            app = modal.App.lookup(self._place.app, create_if_missing=True)
            recipe.image().build(app)
        return Runtime("python3", subject.version)

    def model(self, engine: Engine, model: str | None) -> str:
        """What is on a volume is taken as it is; it is not seen from here."""
        if model is not None and any(Path(model).is_relative_to(path) for _, path in self._place.volumes):
            return model
        return engine.model(model)

    def start(self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path) -> ModalServer:
        guarded, api_key = _guarded(engine, subject)
        port = random.choice(_PORTS)
        command = engine.command(guarded, model, runtime, "0.0.0.0", port)
        recipe = self._recipe(engine, subject)
        files = [str(_PACKAGE)]
        if Path(model).is_absolute() and Path(model).exists():
            check_size(Path(model))
            files.append(model)
        place = self._place
        order = SandboxOrder(
            app=place.app,
            tag=uuid.uuid4().hex,
            recipe=dataclasses.asdict(dataclasses.replace(recipe, files=files)),
            argv=command.argv,
            env=dict(command.env),
            gpu=place.gpu,
            region=place.region,
            volumes=place.volumes,
            secrets=place.secrets,
            timeout_s=place.timeout_s,
            cpu=place.cpu,
            memory_mib=place.memory_mib,
            port=port,
            log=str(log),
            hidden=_secret_values(command),
        )
        return ModalServer(place, order, command, api_key, self._startup_timeout_s)

    def close(self) -> None:
        """Nothing is held from one sandbox to the next."""

    def _recipe(self, engine: Engine, subject: Subject) -> ImageRecipe:
        if self._place.image is not None:
            return ImageRecipe(self._place.image)
        if subject.path is not None or subject.version is None:
            raise EngineError(
                f"{subject}: on Modal an engine comes from an image: name a version ({engine.name}==…), or "
                "an image of your own (--llmperf-place 'modal image=…')"
            )
        if (image := engine.image(subject.version)) is not None:
            return ImageRecipe(image)
        if engine.distribution is None:
            raise EngineError(f"{subject}: there is no public image of it: --llmperf-place 'modal image=…'")
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return ImageRecipe(None, (f"{engine.distribution}=={subject.version}", *_OURS), python)


class ModalServer:
    """See :class:`~pytest_llmperf.places.protocol.Server`."""

    def __init__(
        self,
        place: declared.ModalPlace,
        order: SandboxOrder,
        command: Command,
        api_key: str | None,
        startup_timeout_s: float,
    ) -> None:
        """Create the sandbox; returns when it is scheduled.

        Raises :class:`EngineError` if it is not, with nothing left running.
        """
        self.api_key = api_key
        self.sandbox_id: str | None = None
        self._place, self._order, self._command = place, order, command
        self._machine = SandboxMachine(self)
        self._nvidia = Nvidia(self._machine)
        self._states: Mapping[str, GpuState] = {}
        self._exit: dict[str, Any] | None = None
        self._is_stopped = False
        code = _GUARDIAN.format(path=[os.path.abspath(entry) for entry in sys.path])
        try:
            with Path(order.log).open("ab") as log:
                # Its own session keeps the terminal's Ctrl-C from it; the run decides what that means.
                self._guardian = subprocess.Popen(
                    [sys.executable, "-c", code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,
                    start_new_session=True,
                )
        except OSError as error:
            raise EngineError(f"the sandbox's guardian process cannot be started: {error}") from None
        try:
            self._pipe().write(json.dumps(dataclasses.asdict(order)).encode() + b"\n")
            created = self._read(startup_timeout_s)
            if created is None:
                raise EngineError(
                    f"Modal had no sandbox for us within {startup_timeout_s:g} s "
                    f"(--llmperf-startup-timeout): {self._what()}"
                )
            if "url" not in created:
                raise EngineError(_explained(created.get("kind", ""), created.get("error", "it ended")))
            self.url = str(created["url"])
            self.sandbox_id = str(created["sandbox"])
        except BaseException:
            self.stop()
            raise

    @property
    def guardian_pid(self) -> int:
        return self._guardian.pid

    def _pipe(self) -> Any:
        assert self._guardian.stdin is not None
        return self._guardian.stdin

    def _read(self, timeout_s: float) -> dict[str, Any] | None:
        """The guardian's next message; None if there was none in time, and empty from one that ended."""
        assert self._guardian.stdout is not None
        readable, _, _ = select.select([self._guardian.stdout], [], [], timeout_s)
        if not readable:
            return None
        line = self._guardian.stdout.readline()
        message: dict[str, Any] = json.loads(line) if line else {}
        return message

    # -- the engine -----------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        if self._is_stopped:
            return False
        has_ended = self._guardian.poll() is not None
        self._note_exit()
        return self._exit is None and not has_ended

    def stop(self) -> None:
        if self._is_stopped:
            return
        self._is_stopped = True
        assert self._guardian.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._pipe().close()
        try:
            self._guardian.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self._note_exit()
        self._guardian.stdout.close()
        if self.sandbox_id is not None and self._exit is None:
            self._terminate()  # somebody killed the guardian, or it could not reach Modal
        if "_sandbox" in self.__dict__:
            self._sandbox.detach()

    def _terminate(self) -> None:
        import modal

        try:
            self._sandbox.terminate()
        except (modal.exception.Error, OSError) as error:
            warnings.warn(
                f"the Modal sandbox {self.sandbox_id} could not be terminated ({error}); if it still runs, "
                "end it with `modal container list` and `modal container stop`, or Modal does within "
                f"{self._place.timeout_s} s",
                stacklevel=2,
            )

    def _note_exit(self) -> None:
        if self._exit is None and self._guardian.stdout is not None and (message := self._read(0.0)):
            self._exit = message

    def port_was_taken(self) -> bool:
        return False

    # -- where the load is driven ---------------------------------------------------------------------

    def vantage(self) -> Vantage | None:
        if self._place.load == "here":
            return None
        self._check_python()
        return Vantage(f"http://127.0.0.1:{self._order.port}", self._place.cpu, self.run)

    def run(self, program: str) -> Process:
        """Start a Python program in the engine's container."""
        with told():
            return SandboxProcess(self._sandbox, ("python3", "-c", program))

    def execute(self, *argv: str, timeout_s: float) -> tuple[int, str, str]:
        """Run a program in the container: its exit code, standard output and standard error."""
        with told():
            process: Any = self._sandbox.exec(*argv, timeout=max(1, round(timeout_s)), text=False)
            output, complaint = (
                stream.read().decode(errors="replace").strip() for stream in (process.stdout, process.stderr)
            )
            return process.wait(), output, complaint

    def _check_python(self) -> None:
        code, output, complaint = self.execute("python3", "-c", _CAN_DRIVE, timeout_s=_EXECUTION_S)
        if code:
            why = complaint.splitlines()[-1] if complaint else f"its python3 is {output or 'missing'}"
            raise EngineError(
                "the load cannot be driven in the engine's container, which needs Python 3.11 and numpy: "
                f"{why}; say load=here in --llmperf-place to drive it from this machine"
            )

    @cached_property
    def _sandbox(self) -> modal.Sandbox:
        import modal

        return modal.Sandbox.from_id(str(self.sandbox_id))

    # -- the machine ----------------------------------------------------------------------------------

    def environment(self) -> Mapping[str, str]:
        side = "in the engine's container" if self._place.load == "there" else "from this machine"
        return {**self._facts, "cpus": f"{self._place.cpu} reserved", "load": side}

    @cached_property
    def _facts(self) -> Mapping[str, str]:
        gpus = self._gpus
        return facts(self._machine, gpus, self._nvidia.cuda() if gpus else None)

    @cached_property
    def _gpus(self) -> Sequence[Gpu]:
        """Those that the container really has."""
        try:
            return self._nvidia.gpus() if self._place.gpu else []
        except ProgramError:
            return []

    def disturbances(self) -> list[str]:
        try:
            states = self._nvidia.states(self._gpus) if self._gpus else {}
        except ProgramError as error:
            return [str(error)]
        told = [
            f"GPU {gpu.label} was throttled: {why}"
            for gpu in self._gpus
            if (state := states.get(gpu.uuid)) and (why := throttling(self._states.get(gpu.uuid), state))
        ]
        self._states = states
        return told

    def hardware(self) -> Mapping[str, Any]:
        gpus = [
            {"index": gpu.index, "uuid": gpu.uuid, "name": gpu.model, "memory_mib": gpu.memory_mib}
            for gpu in self._gpus
        ]
        return {"sandbox": self.sandbox_id, "image": self._image, "gpus": gpus}

    # -- what it says ---------------------------------------------------------------------------------

    def account(self) -> str:
        alive = self.is_alive()
        return "\n".join(
            (
                self._command_line(),
                f"sandbox: {self.sandbox_id or '(none)'} {'still runs' if alive else self._how_it_ended()}",
                f"place: {self._what()}",
                f"log: {self._order.log}",
                *(f"  | {line}" for line in self._log_tail(15) or ["(empty)"]),
            )
        )

    def last_line(self) -> str:
        return "".join(self._log_tail(1))

    def _what(self) -> str:
        return f"modal {self._place.hardware}, {self._image}"

    @property
    def _image(self) -> str:
        return str(ImageRecipe(**self._order.recipe))

    def _how_it_ended(self) -> str:
        ended = self._exit or {}
        if ended.get("why") == "timeout":
            limit = self._place.timeout_s
            more = min(2 * limit, declared.MAX_TIMEOUT_S)
            return f"was ended by Modal after {limit} s, its time-out: say timeout={more} in --llmperf-place"
        if self._is_stopped:
            return "was terminated"
        if ended.get("why") != "ended":
            return "ended, nobody knows how"
        if ended.get("exit") == 137:
            return "was terminated by somebody, or killed for want of memory (memory= in --llmperf-place)"
        return f"exited with code {ended.get('exit')}"

    def _command_line(self) -> str:
        env = self._command.env.items()
        shown = [f"{name}={REDACTED if is_secret(name) else value}" for name, value in env]
        return f"command: {shlex.join([*shown, *self._command.shown])}"

    def _log_tail(self, lines: int) -> list[str]:
        try:
            with Path(self._order.log).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
                text = file.read().decode(errors="replace")
        except OSError as error:
            return [f"(the log cannot be read: {error})"]
        return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


class SandboxMachine:
    """See :class:`~pytest_llmperf.places.machine.Machine`."""

    def __init__(self, server: ModalServer) -> None:
        self._server = server

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        try:
            code, output, complaint = self._server.execute(*argv, timeout_s=timeout_s)
        except EngineError as error:
            raise NoProgram(f"there is no {argv[0]} in the container ({error})") from None
        if code:
            said = "\n".join(filter(None, (output, complaint)))
            raise ProgramError(f"{argv[0]} failed: {said[:300] or f'exit code {code}, without a word'}", said)
        return output

    def read(self, path: str) -> str:
        try:
            return self.run("cat", path)
        except ProgramError:
            return ""


def _guarded(engine: Engine, subject: Subject) -> tuple[Subject, str | None]:
    """The subject with an API key, and the key; unchanged if it has one, or the engine takes none."""
    own = engine.api_key(subject)
    # What this machine's environment has does not get into the container.
    if own and own in (*dict(subject.env).values(), *(arg.partition("=")[2] or arg for arg in subject.args)):
        return subject, own
    if engine.distribution is None:
        return subject, None  # whatever it is, it may not know the flag
    key = secrets.token_urlsafe(24)
    guarded = dataclasses.replace(subject, args=(*subject.args, "--api-key", key))
    return (guarded, key) if engine.api_key(guarded) == key else (subject, None)


def _secret_values(command: Command) -> list[str]:
    """What of a command must not be shown; what is shorter is no secret, and found in every other word."""
    found = [value for name, value in command.env.items() if is_secret(name)]
    shown = zip(command.argv, command.shown, strict=True)
    found += [real.partition("=")[2] or real for real, public in shown if real != public]
    return [value for value in found if len(value) >= 6]


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise what Modal's client raises as :class:`EngineError` with the way out."""
    try:
        import modal
    except ImportError:
        raise EngineError(
            "the place modal needs Modal's client: pip install 'pytest-llmperf[modal]'"
        ) from None
    try:
        yield
    except modal.exception.Error as error:
        raise EngineError(_explained(type(error).__name__, str(error))) from None


def _explained(kind: str, message: str) -> str:
    first = f"Modal: {message}" if message else f"Modal: {kind}"
    if kind == "AuthError":
        return (
            f"{first}\nModal does not know who you are: run `modal token new`, or set MODAL_TOKEN_ID and "
            "MODAL_TOKEN_SECRET"
        )
    if kind == "ImageBuildError":
        return f"{first}\nDoes the image exist? (image= in --llmperf-place names another)"
    if kind == "ResourceExhaustedError":
        return f"{first}\nModal has none free now: leave out region=, or name another gpu="
    return first
