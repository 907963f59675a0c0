"""A Modal sandbox under its guardian, seen from the test run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_llmperf.errors import EngineError
from pytest_llmperf.places.machine import NoProgram, ProgramError
from pytest_llmperf.places.modal_guardian import SandboxOrder
from pytest_llmperf.places.modal_process import SandboxProcess

if TYPE_CHECKING:
    import modal

_GUARDIAN = (
    "import sys; sys.path[:] = {path!r}; from pytest_llmperf.places.modal_guardian import main; main()"
)
_STOP_S = 90.0
_GRACE_S = 10.0
MAX_OUTPUT_BYTES = 8 << 20
# A shell's exit code, and what container runtimes say.
_NOT_FOUND = 127
_NO_PROGRAM = re.compile(r"executable file not found|no such file or directory", re.IGNORECASE)


class Sandbox:
    """A container that ends with :meth:`stop`, or with this process; also a machine that can be asked.

    ``why`` says how it ended: ``ended`` by itself or by somebody, with an ``exit_code``, ``timeout``, or
    ``unknown``; None while it runs.
    """

    def __init__(self, order: SandboxOrder, patience_s: float) -> None:
        """Create it; returns when it is scheduled.

        Raises :class:`EngineError` if it is not in time, with nothing left running.
        """
        self.id: str | None = None
        self.url = ""
        self.exit_code: int | None = None
        self.why: str | None = None
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
            created = self._read(patience_s)
            if created is None:
                raise EngineError(
                    f"Modal had no sandbox for us within {patience_s:g} s (--llmperf-startup-timeout)"
                )
            if "url" not in created:
                raise EngineError(_explained(created.get("kind", ""), created.get("error", "it ended")))
            self.id, self.url = str(created["sandbox"]), str(created["url"])
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

    def is_alive(self) -> bool:
        """Whether it still runs, without asking Modal."""
        if self._is_stopped:
            return False
        has_ended = self._guardian.poll() is not None
        self._note_end()  # after the poll, so that the last word of a guardian that ended is not missed
        return self.why is None and not has_ended

    def stop(self) -> str | None:
        """Terminate it; returns when it is gone, or in words what is not sure. May be called again."""
        if self._is_stopped:
            return None
        self._is_stopped = True
        assert self._guardian.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._pipe().close()
        try:
            self._guardian.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._guardian.kill()
            self._guardian.wait()
        self._note_end()
        self._guardian.stdout.close()
        # If it said nothing, somebody killed the guardian, or it could not reach Modal.
        problem = self._terminate() if self.id is not None and self.why is None else None
        if "_handle" in self.__dict__:
            self._handle.detach()
        return problem

    def _terminate(self) -> str | None:
        import modal

        try:
            self._handle.terminate()
        except (modal.exception.Error, OSError) as error:
            return f"the Modal sandbox {self.id} could not be terminated ({error})"
        return None

    def _note_end(self) -> None:
        if self.why is None and (message := self._read(0.0)):
            self.exit_code, self.why = message.get("exit"), message.get("why", "unknown")

    # -- in the container -----------------------------------------------------------------------------

    @cached_property
    def _handle(self) -> modal.Sandbox:
        import modal

        return modal.Sandbox.from_id(str(self.id))

    def start(self, *argv: str) -> SandboxProcess:
        """Start a process in the container."""
        with told():
            return SandboxProcess(self._handle, argv)

    def execute(self, *argv: str, timeout_s: float = 20.0) -> tuple[int, str, str]:
        """Run a program to its end: its exit code, standard output and standard error.

        Raises :class:`NoProgram` if there is none, :class:`ProgramError` if it hangs, writes more than
        :data:`MAX_OUTPUT_BYTES` or Modal cannot run it.
        """
        result: Future[tuple[int, bytes, bytes]] = Future()

        def run() -> None:
            try:
                with told():
                    result.set_result(self._execute(argv, timeout_s))
            except Exception as error:  # in a thread it would be lost
                result.set_exception(error)

        # Modal ends the program in time, but nobody promises that its answer comes.
        threading.Thread(target=run, daemon=True).start()
        try:
            code, output, complaint = result.result(timeout_s + _GRACE_S)
        except TimeoutError:
            raise ProgramError(f"{argv[0]} did not answer within {timeout_s:g} s") from None
        except ProgramError:
            raise
        except EngineError as error:
            kind = NoProgram if _NO_PROGRAM.search(str(error)) else ProgramError
            raise kind(f"{argv[0]} cannot be run in the container ({error})") from None
        if code == _NOT_FOUND:
            raise NoProgram(f"there is no {argv[0]} in the container")
        return code, output.decode(errors="replace"), complaint.decode(errors="replace")

    def _execute(self, argv: Sequence[str], timeout_s: float) -> tuple[int, bytes, bytes]:
        process: Any = self._handle.exec(*argv, timeout=max(1, round(timeout_s)), text=False)
        output, complaint = (_bounded(argv[0], stream) for stream in (process.stdout, process.stderr))
        return int(process.wait()), output, complaint

    def run(self, *argv: str, timeout_s: float = 20.0) -> str:
        """See :meth:`~pytest_llmperf.places.machine.Machine.run`."""
        code, output, complaint = self.execute(*argv, timeout_s=timeout_s)
        if code:
            said = "\n".join(filter(None, (output.strip(), complaint.strip())))
            raise ProgramError(f"{argv[0]} failed: {said[:300] or f'exit code {code}, without a word'}", said)
        return output

    def read(self, path: str) -> str:
        """See :meth:`~pytest_llmperf.places.machine.Machine.read`."""
        try:
            return self.run("cat", path)
        except ProgramError:
            return ""


def _bounded(program: str, stream: Any) -> bytes:
    """All that is written, in pieces as they come."""
    received = bytearray()
    for piece in stream:
        received += piece
        if len(received) > MAX_OUTPUT_BYTES:
            raise ProgramError(f"{program} wrote more than {MAX_OUTPUT_BYTES >> 20} MiB")
    return bytes(received)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Raise what Modal's client raises as :class:`EngineError` with the way out."""
    try:
        import modal
    except ImportError:
        raise EngineError("the place modal needs Modal's client: pip install 'modal>=1.6,<1.7'") from None
    try:
        yield
    except modal.exception.Error as error:
        raise EngineError(_explained(type(error).__name__, str(error))) from None


_WAYS_OUT = {
    "AuthError": "Modal does not know who you are: run `modal token new`, or set MODAL_TOKEN_ID and "
    "MODAL_TOKEN_SECRET",
    "ImageBuildError": "Does the image exist? (image= in --llmperf-place names another)",
    "ResourceExhaustedError": "Modal has none free now: leave out region=, or name another gpu=",
}


def _explained(kind: str, message: str) -> str:
    return "\n".join(filter(None, (f"Modal: {message or kind}", _WAYS_OUT.get(kind))))
