"""One start of an engine, up to its first answer, with the client that loads it."""

from __future__ import annotations

import dataclasses
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.openai import ask
from pytest_llmperf.engines.protocol import Description, Engine, Runtime
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.client import Client
from pytest_llmperf.load.target import Target
from pytest_llmperf.places.protocol import Place

_POLL_S = 0.05
_PORT_TRIES = 3
_PATIENCE_WITH_A_URL_S = 10.0


class Launch:
    """A server that answered once.

    ``startup_s`` maps phases to seconds since its start: ``spawned`` (there is a process), ``port`` (it takes
    connections), ``healthy``, ``first_token``, ``first_answer``; None where the server ran already. The time
    between ``healthy`` and the first request, in which it is asked about itself, is left out.
    """

    def __init__(
        self,
        number: int,
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
    ) -> None:
        """Start it and wait until it has generated. Raises :class:`EngineError`, and leaves nothing.

        ``waiting`` is told the seconds since the start and the last line of the log, now and then.
        ``workers``, ``chat`` and ``note`` are those of the :class:`~pytest_llmperf.load.client.Client`.
        """
        self.number, self.subject, self.engine = number, subject, engine
        self.place = place
        self._timeout_s, self._watch, self._waiting = startup_timeout_s, watch, waiting
        self._api_key = engine.api_key(subject)
        argument = place.model(engine, model)
        if subject.url is None:
            # What it refuses, it refuses before an environment is built for it.
            engine.command(subject, argument, Runtime("python"), "127.0.0.1", 0)
        self.runtime = place.prepare(engine, subject)
        started = time.monotonic()
        self._begin(argument, log)
        phases = {"spawned": time.monotonic() - started}
        is_up = False
        try:
            self._wait_until_ready(argument, log, started, phases)
            # What is not here is known by its path alone.
            is_elsewhere = Path(argument).is_absolute() and not Path(argument).exists()
            self.model = argument if is_elsewhere else engine.model_identity(subject, argument)
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
            )
            asked = time.monotonic()
            first = self.client.first_answer(chat)
            self.startup_s: dict[str, float] | None = None
            if subject.url is None:
                phases["first_token"] = phases["healthy"] + first.token_ns[0] / 1e9 - asked
                phases["first_answer"] = phases["healthy"] + first.token_ns[-1] / 1e9 - asked
                self.startup_s = phases
            is_up = True
        except EngineError as error:
            raise EngineError(f"{subject}: {error}\n{self.server.account()}") from None
        finally:
            if not is_up:
                self.stop()

    def stop(self) -> None:
        """End the server and the control connection. May be called again."""
        try:
            self.control.close()
        finally:
            self.server.stop()

    def is_alive(self) -> bool:
        return self.server.is_alive()

    def check_alive(self) -> None:
        """Raises :class:`EngineError` with the server's account if it is gone."""
        if not self.server.is_alive():
            raise EngineError(f"{self.subject} died while it was measured\n{self.server.account()}")

    def check_answering(self) -> None:
        """Raises :class:`EngineError` if the server does not answer any more, whether it runs or not."""
        self.check_alive()
        if not self.engine.is_ready(self.control, self.subject):
            why = f"stopped answering while it was measured{self._why_not()}"
            raise EngineError(f"{self.subject} {why}\n{self.server.account()}")

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

    def _begin(self, argument: str, log: Path) -> None:
        self.server = self.place.start(self.engine, self.subject, self.runtime, argument, log)
        headers = {}
        self._api_key = self.server.api_key or self._api_key
        if self._api_key:
            headers["Authorization"] = f"Bearer {self._api_key}"
        secure = self.server.url.startswith("https:")
        self.control = httpx.Client(
            base_url=self.server.url,
            headers=headers,
            timeout=30.0,
            # Some servers close connections that they promised to keep: never use one twice.
            limits=httpx.Limits(max_keepalive_connections=0),
            verify=ssl.create_default_context() if secure else False,
            trust_env=False,
        )

    def _wait_until_ready(self, argument: str, log: Path, started: float, phases: dict[str, float]) -> None:
        runs_already = self.subject.url is not None
        patience_s = min(_PATIENCE_WITH_A_URL_S, self._timeout_s) if runs_already else self._timeout_s
        deadline = started + patience_s
        tries = 1
        while True:
            if not self.server.is_alive():
                if not self.server.port_was_taken() or tries == _PORT_TRIES:
                    raise EngineError("the engine ended before it was ready")
                tries += 1
                self.stop()
                self._begin(argument, log)
            elif self._listens(phases, started) and self.engine.is_ready(self.control, self.subject):
                phases["healthy"] = time.monotonic() - started
                return
            if time.monotonic() > deadline:
                if runs_already:
                    raise EngineError(
                        f"nothing answers HTTP there; tried for {patience_s:g} s{self._why_not()}"
                    )
                raise EngineError(f"not ready after {patience_s:g} s (--llmperf-startup-timeout)")
            self._waiting(time.monotonic() - started, self.server.last_line())
            time.sleep(_POLL_S)

    def _listens(self, phases: dict[str, float], started: float) -> bool:
        """Whether anything takes connections at the server's port."""
        # A tunnel, which speaks TLS, takes connections before there is anybody to hand them to.
        is_tunnel = self.server.url.startswith("https:")
        if "port" not in phases and self.subject.url is None and not is_tunnel:
            parts = urlsplit(self.server.url)
            try:
                socket.create_connection((parts.hostname or "", parts.port or 443), timeout=5.0).close()
            except OSError:
                return False
            phases["port"] = time.monotonic() - started
        return True
