"""One start of an engine, up to its first answer, with the client that loads it."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.log_line import what_it_says
from pytest_llmperf.engines.openai import ask
from pytest_llmperf.engines.protocol import MOMENTS, Command, Description, Engine, Runtime
from pytest_llmperf.engines.startup import Startup
from pytest_llmperf.errors import EngineDied, EngineError, NotReadyYet
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.control import control_client
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.gauge import Gauge
from pytest_llmperf.load.target import Target
from pytest_llmperf.places.protocol import Place, Server

_POLL_S = 0.05
_RETRY_S = 0.25
_DYING_S = 1.0
_PORT_TRIES = 3
_SILENCE_S = 20.0
_LONG = 80
_PATIENCE_WITH_A_URL_S = 10.0
_MOST_OF_A_LOG = 4 * 1024 * 1024


class Launch:
    """A server that answered once.

    ``startup_s`` maps phases to seconds since its start: ``spawned`` (there is a process), ``port`` (it takes
    connections), ``healthy``, ``first_token``, ``first_answer``; None where the server ran already. The time
    between ``healthy`` and the first request, in which it is asked about itself, is left out. ``startup`` is
    what the engine's log tells of it.
    """

    def __init__(
        self,
        subject: Subject,
        engine: Engine,
        model: str | None,
        *,
        place: Place,
        log: Path,
        startup_timeout_s: float,
        request_timeout_s: float,
        waiting: Callable[[float, str], None],
        watch: Callable[[int, int], None],
        workers: int | None = None,
        chat: bool | None = None,
        note: Callable[[str], None] | None = None,
        is_gauged: bool = True,
    ) -> None:
        """Start it and wait until it has generated. Raises :class:`EngineError`, and leaves nothing.

        ``waiting`` is told the seconds since the start and the last line of the log, now and then.
        ``is_gauged``: whether it is asked how busy it is while load is driven.
        ``workers``, ``chat`` and ``note`` are those of the :class:`~pytest_llmperf.load.client.Client`.
        """
        self.subject, self.engine = subject, engine
        self.place = place
        self._timeout_s, self._watch, self._waiting = startup_timeout_s, watch, waiting
        self._api_key = engine.api_key(subject)
        argument = place.model(engine, model)
        self.command: Command | None = None
        """How one starts it by hand, for all who reach the machine; None for a server that runs already."""
        if subject.url is None:
            # What it refuses, it refuses before an environment is built for it.
            self.command = engine.command(subject, argument, Runtime("python"), "0.0.0.0", 8000)
        self.runtime = place.prepare(engine, subject)
        self.log = log
        self._begin(argument)
        self._is_up = False
        try:
            self._wait_until_ready(argument)
            self.model = self.server.model_identity(engine, subject, argument)
            self.description = self._describe(argument)
            vantage = self.server.vantage()
            self.client = Client(
                Target.of(vantage.url if vantage else self.server.url, self._api_key),
                self.control,
                engine,
                self.description,
                timeout_s=request_timeout_s,
                workers=workers,
                vantage=vantage,
                is_fresh=subject.url is None,
                watch=self._check,
                note=note,
                gauge=self._gauge,
            )
            asked = time.monotonic()
            first = self._first_answer(chat)
            self.startup_s: dict[str, float] | None = None
            self.startup = Startup()
            if subject.url is None:
                phases = self._phases
                phases["first_token"] = phases["healthy"] + first.token_ns[0] / 1e9 - asked
                phases["first_answer"] = phases["healthy"] + first.token_ns[-1] / 1e9 - asked
                self.startup_s = phases
                self.startup = engine.startup(_beginning(self.log))
            if is_gauged and any(name in MOMENTS for name in engine.counters(self.control)):
                self._gauge.start()
            self._is_up = True
        except EngineDied:
            raise
        except EngineError as error:
            if "healthy" in self._phases and self._is_dying():
                raise EngineDied(self._tell("the engine died at its first request")) from None
            raise EngineError(self._tell(str(error))) from None
        finally:
            if not self._is_up:
                self.stop()

    def stop(self) -> None:
        """End the server and what asks it. May be called again."""
        try:
            self._gauge.close()
            self.control.close()
        finally:
            self.server.stop()

    def is_alive(self) -> bool:
        return self.server.is_alive()

    def is_answering(self) -> bool:
        return self.is_alive() and self.engine.is_ready(self.control, self.subject)

    def check_alive(self) -> None:
        """Raises :class:`EngineDied` with the server's account if it is gone."""
        if not self.server.is_alive():
            when = "while it was measured" if self._is_up else "at its first request"
            raise EngineDied(self._tell(f"the engine died {when}"))

    def check_answering(self) -> None:
        """Raises :class:`EngineError` if the server does not answer any more, whether it runs or not."""
        self.check_alive()
        if not self.is_answering():
            if self._is_dying():
                self.check_alive()
            why = f"it stopped answering while it was measured{self._why_not()}"
            raise EngineError(self._tell(why))

    def _is_dying(self) -> bool:
        """Whether the server ends within a moment: its connections close before it is gone."""
        deadline = time.monotonic() + (_DYING_S if self.subject.url is None else 0.0)
        while self.server.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _tell(self, event: str) -> str:
        # A long one would push the cause off the line; the account has the whole command.
        shown = str(self.subject)
        return self.server.account().tell(shown if len(shown) <= _LONG else self.subject.target, event)

    def _why_not(self) -> str:
        """What the connection itself says, as a clause."""
        try:
            ask(self.control, "GET", "/", timeout_s=5.0)
        except httpx.HTTPError as error:
            return f" ({type(error).__name__}: {error})"
        return ""

    def _check(self, sent: int, ended: int) -> None:
        self.check_alive()
        self._watch(sent, ended)

    def _describe(self, model: str) -> Description:
        """What the engine says of itself; what it does not, its environment knows."""
        told = self.engine.describe(self.control, model)
        return dataclasses.replace(
            told,
            version=told.version or self.runtime.version,
            commit=told.commit or self.runtime.commit,
            packages=self.runtime.packages,
        )

    def _begin(self, argument: str) -> None:
        self._started = time.monotonic()
        self.server = self.place.start(self.engine, self.subject, self.runtime, argument, self.log)
        self._phases = {"spawned": time.monotonic() - self._started}
        self._api_key = self.server.api_key or self._api_key
        self.control = control_client(self.server.url, self._api_key)
        self._gauge = Gauge(self.engine, self.server.url, self._api_key)

    def _wait_until_ready(self, argument: str) -> None:
        runs_already = self.subject.url is not None
        patience_s = min(_PATIENCE_WITH_A_URL_S, self._timeout_s) if runs_already else self._timeout_s
        tries, log = 1, self.log
        logged = _Logged(self.server)
        while True:
            if not self.server.is_alive():
                if not self.server.port_was_taken() or tries == _PORT_TRIES:
                    raise EngineError("the engine ended before it was ready")
                tries += 1
                self.stop()
                # What the first one said is not to explain the second one.
                self.log = self.log.with_name(f"{log.stem}-try{tries}{log.suffix}")
                self._begin(argument)
                logged = _Logged(self.server)
            elif self._listens() and self.engine.is_ready(self.control, self.subject):
                self._phases["healthy"] = time.monotonic() - self._started
                return
            elapsed_s = time.monotonic() - self._started
            if elapsed_s > patience_s:
                if runs_already:
                    raise EngineError(
                        f"nothing answers HTTP there; tried for {patience_s:g} s{self._why_not()}"
                    )
                raise EngineError(
                    f"not ready after {patience_s:g} s (--llmperf-startup-timeout): {self._phase()}; "
                    f"{logged.pace()}"
                )
            self._waiting(elapsed_s, " · ".join(filter(None, (self._phase(), logged.now(self.server)))))
            time.sleep(_POLL_S)

    def _phase(self) -> str:
        """How far the start has come, in words."""
        if self.subject.url is not None:
            return ""
        if "healthy" in self._phases:
            return "ready, waiting for its first token"
        if "port" in self._phases:
            return "its port is open, it is not ready yet"
        if self._is_behind_a_tunnel:
            return "it is not ready yet"
        return "its port is not open yet"

    @property
    def _is_behind_a_tunnel(self) -> bool:
        """Whether something, which speaks TLS, takes connections before there is anybody to hand them to."""
        return self.server.url.startswith("https:")

    def _listens(self) -> bool:
        """Whether anything takes connections at the server's port."""
        if "port" not in self._phases and self.subject.url is None and not self._is_behind_a_tunnel:
            parts = urlsplit(self.server.url)
            try:
                socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5.0).close()
            except OSError:
                return False
            self._phases["port"] = time.monotonic() - self._started
        return True

    def _first_answer(self, chat: bool | None) -> Trace:
        """The first answer; from an engine of ours also if it said that it was ready too early."""
        while True:
            try:
                return self.client.first_answer(chat)
            except NotReadyYet as error:
                elapsed_s = time.monotonic() - self._started
                if self.subject.url is not None or elapsed_s > self._timeout_s:
                    raise
                self._waiting(elapsed_s, f"{self._phase()} · {what_it_says(str(error).splitlines()[-1])}")
                time.sleep(_RETRY_S)


def _beginning(log: Path) -> str:
    """What an engine has logged, or the first 4 MiB of it; nothing if that cannot be read."""
    try:
        with log.open("rb") as file:
            return file.read(_MOST_OF_A_LOG).decode(errors="replace")
    except OSError:
        return ""


class _Logged:
    """Since when a server has logged the same line."""

    def __init__(self, server: Server) -> None:
        self._line, self._since = server.last_line(), time.monotonic()

    def now(self, server: Server) -> str:
        if (line := server.last_line()) != self._line:
            self._line, self._since = line, time.monotonic()
        return self._line

    def pace(self) -> str:
        """Whether it may be slow or hangs."""
        silent_s = time.monotonic() - self._since
        if not self._line:
            return "it has logged nothing"
        if silent_s < _SILENCE_S:
            return "it still logs, so it may need more time"
        return f"it has logged nothing new for {silent_s:.0f} s, so it may hang"
