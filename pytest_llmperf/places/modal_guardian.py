"""The process between a test run and a Modal sandbox: it creates the sandbox and makes sure that it ends.

The test run holds its standard input open; when that closes, because the run said so or because it is gone
(a crash, ``kill -9``), the guardian terminates the sandbox. Should the guardian go as well, or its machine,
Modal does: the sandbox counts as idle as soon as nobody runs anything in it any more, which the guardian does
once a minute, and ends after :data:`IDLE_S` of that, or with its own time-out.

It copies the sandbox's output into the log, without the secrets that it is told, so that the test run has
nothing to do with any of this while it measures.

Standard input: one line, a JSON object (see :class:`SandboxOrder`); then nothing until end of file. Standard
output: JSON lines, ``{"sandbox": id, "url": …}`` or ``{"error": …, "kind": …}``, and
``{"exit": code, "why": …}`` when the sandbox has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pytest_llmperf.places.guardian import trim
from pytest_llmperf.places.modal_image import ImageRecipe

if TYPE_CHECKING:
    import modal

IDLE_S = 300
_PULSE_S, _PULSE_LASTS_S = 60, 120
_TERMINATION_S = 60.0
_LAST_WORDS_S = 5.0
_RETRY_S = 5.0
_TERMINATION_TRIES, _TERMINATION_RETRY_S = 3, 2.0


@dataclass(frozen=True)
class SandboxOrder:
    """What to create; ``recipe`` are the fields of an image recipe, ``hidden`` what the log must not show.

    ``log`` is kept to about ``log_limit`` bytes.
    ``tag`` is the sandbox's own, by which it is found even when its creation was interrupted.
    """

    app: str
    tag: str
    recipe: Mapping[str, Any]
    argv: Sequence[str]
    env: Mapping[str, str]
    gpu: str | None
    region: str | None
    volumes: Sequence[Sequence[str]]
    secrets: Sequence[str]
    timeout_s: int
    cpu: int
    memory_mib: int
    port: int
    log: str
    log_limit: int
    hidden: Sequence[str]


class _Teller:
    """Speaks to the test run."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)  # nothing else may write between the messages

    def say(self, **message: Any) -> None:
        # The test run may be gone: there is nobody left to tell then.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._out, json.dumps(message).encode() + b"\n")


async def _create(order: SandboxOrder) -> tuple[modal.Sandbox, str]:
    """A scheduled sandbox and the URL of its tunnel."""
    import modal

    sandbox = await modal.Sandbox.create.aio(
        *order.argv,
        app=await modal.App.lookup.aio(order.app, create_if_missing=True),
        image=ImageRecipe(**order.recipe).image(),
        secrets=[modal.Secret.from_dict(dict(order.env)), *map(modal.Secret.from_name, order.secrets)],
        volumes={path: modal.Volume.from_name(name, create_if_missing=True) for name, path in order.volumes},
        gpu=order.gpu,
        region=order.region,
        cpu=order.cpu,
        memory=order.memory_mib,
        timeout=order.timeout_s,
        idle_timeout=min(IDLE_S, order.timeout_s),
        encrypted_ports=[order.port],
        tags={"llmperf": order.tag},
    )
    while True:
        with contextlib.suppress(modal.exception.SandboxTimeoutError):
            return sandbox, (await sandbox.tunnels.aio())[order.port].url


async def _terminate_tagged(order: SandboxOrder) -> None:
    """Terminate whatever an interrupted creation left."""
    import modal

    async def terminate() -> None:
        app = await modal.App.lookup.aio(order.app, create_if_missing=True)
        async for sandbox in modal.Sandbox.list.aio(app_id=app.app_id, tags={"llmperf": order.tag}):
            await sandbox.terminate.aio()

    await _insist(terminate)


async def _terminate(sandbox: modal.Sandbox) -> None:
    import modal

    async def terminate() -> None:
        with contextlib.suppress(modal.exception.NotFoundError):  # it is gone
            await sandbox.terminate.aio(wait=True)

    await _insist(terminate)


async def _insist(terminate: Callable[[], Awaitable[None]]) -> None:
    """Try it a few times within :data:`_TERMINATION_S`; should that fail, the test run tries as well."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TERMINATION_S):
            for _ in range(_TERMINATION_TRIES):
                try:
                    await terminate()
                    break
                except Exception as error:  # whatever the client raises, the sandbox must not run on
                    _log("terminating the sandbox", error)
                    await asyncio.sleep(_TERMINATION_RETRY_S)


def _log(doing: str, error: BaseException) -> None:
    """Into the engine's log, where the standard error goes."""
    print(f"llmperf: {doing}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


async def _end(sandbox: modal.Sandbox) -> tuple[int | None, Literal["ended", "timeout", "unknown"]]:
    """Its exit code, once it has one."""
    import modal

    while True:
        try:
            await sandbox.wait.aio(raise_on_termination=False)
            return sandbox.returncode, "ended"
        except modal.exception.SandboxTimeoutError:
            return None, "timeout"
        except modal.exception.NotFoundError:
            return None, "unknown"
        except Exception as error:  # whatever the client raises, the next answer may be a better one
            _log("asking Modal for the sandbox", error)
            await asyncio.sleep(_RETRY_S)


async def _copy(lines: Any, log: int, limit: int, hidden: Sequence[str]) -> None:
    """Everything that it prints, as it comes, into the log, which is kept to about ``limit`` bytes."""
    async for line in lines:
        for secret in hidden:
            line = line.replace(secret, "[redacted]")
        with contextlib.suppress(OSError):  # a log that is no file, a full disk: none of it ends the engine
            os.write(log, line.encode(errors="replace"))
            trim(log, limit)


async def _pulse(sandbox: modal.Sandbox) -> None:
    """Keep the sandbox from being idle for as long as this process lives."""
    while True:
        try:
            async with asyncio.timeout(_PULSE_S):
                await sandbox.exec.aio("sleep", str(_PULSE_LASTS_S))
        except Exception as error:  # whatever the client raises, one pulse more or less does not matter
            # If that is because the sandbox has ended, this task ends now, and the last word is the engine's.
            await asyncio.sleep(_RETRY_S)
            _log("keeping the sandbox from being idle", error)
        else:
            await asyncio.sleep(_PULSE_S)


async def guard(order: SandboxOrder, teller: _Teller, abandoned: asyncio.Event) -> None:
    """Create the sandbox, see to it until it ends or is ``abandoned``, and then that it is gone."""
    stopping = asyncio.create_task(abandoned.wait())
    creating = asyncio.create_task(_create(order))
    await asyncio.wait({creating, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not creating.done():
        creating.cancel()
        await asyncio.wait({creating}, timeout=_TERMINATION_S)
    if creating.cancelled() or not creating.done() or (error := creating.exception()) is not None:
        await _terminate_tagged(order)
        if creating.done() and not creating.cancelled():
            teller.say(error=str(error), kind=type(error).__name__)
        return
    sandbox, url = creating.result()
    ending = asyncio.create_task(_end(sandbox))
    copies: list[asyncio.Task[None]] = []
    try:
        log = os.open(order.log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        copies = [
            asyncio.create_task(_copy(lines, log, order.log_limit, order.hidden))
            for lines in (sandbox.stdout, sandbox.stderr)
        ]
        teller.say(sandbox=sandbox.object_id, url=url)
        pulse = asyncio.create_task(_pulse(sandbox))
        await asyncio.wait({ending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        pulse.cancel()
    finally:
        if not ending.done():
            await _terminate(sandbox)
        await asyncio.wait({ending, *copies}, timeout=_LAST_WORDS_S)
    if ending.done():
        code, why = ending.result()
        teller.say(exit=code, why=why)


def _await_abandonment(parent: int, loop: asyncio.AbstractEventLoop, abandoned: asyncio.Event) -> None:
    """In a thread: until the test run closes our input or disappears."""
    while os.getppid() == parent:
        readable, _, _ = select.select([0], [], [], 1.0)
        if readable and not os.read(0, 4096):
            break
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(abandoned.set)


def main() -> None:
    """Create, watch, terminate."""
    parent = os.getppid()
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    teller = _Teller()
    order = SandboxOrder(**json.loads(sys.stdin.readline()))

    async def run() -> None:
        abandoned, loop = asyncio.Event(), asyncio.get_running_loop()
        threading.Thread(target=_await_abandonment, args=(parent, loop, abandoned), daemon=True).start()
        await guard(order, teller, abandoned)

    try:
        asyncio.run(run())
    except Exception as error:  # whatever it is, the person has to hear of it
        teller.say(error=str(error), kind=type(error).__name__)
        raise


if __name__ == "__main__":
    main()
