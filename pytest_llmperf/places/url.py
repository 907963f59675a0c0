"""A server that runs already and is none of our business to start or stop."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.places.gpus import Nvidia
from pytest_llmperf.places.machine import ProgramError, ThisMachine, facts
from pytest_llmperf.places.postmortem import Postmortem
from pytest_llmperf.places.protocol import Vantage

_HERE, _ELSEWHERE = "a server that runs on this machine", "url "


class ExistingServer:
    """Both a :class:`~pytest_llmperf.places.protocol.Place` and its one server."""

    api_key: str | None = None

    def __init__(self) -> None:
        self.name = "url"
        self.url = ""

    @staticmethod
    def is_not(place: str) -> bool:
        """Whether a place, by its name, is none of these."""
        return place != _HERE and not place.startswith(_ELSEWHERE)

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Nothing is needed."""
        return Runtime(sys.executable)

    def model(self, engine: Engine, model: str | None) -> str:
        return engine.model(model)

    def start(
        self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path
    ) -> ExistingServer:
        assert subject.url is not None
        self.url = subject.url
        parts = urlsplit(self.url)
        self._is_here = _is_loopback(parts.hostname or "")
        self.name = _HERE if self._is_here else f"{_ELSEWHERE}{parts.netloc}"
        return self

    def model_identity(self, engine: Engine, subject: Subject, model: str) -> str:
        return engine.model_identity(subject, model)

    def vantage(self) -> Vantage | None:
        return None

    def is_alive(self) -> bool:
        """As far as can be known from here: whether it answers shows in the requests."""
        return True

    def account(self) -> Postmortem:
        return Postmortem(None, (f"server: {self.url}, which was not started from here",))

    def last_line(self) -> str:
        return ""

    def port_was_taken(self) -> bool:
        return False

    def environment(self) -> Mapping[str, str]:
        """On this machine, it is this machine's, with all its GPUs; elsewhere nothing is known."""
        if not self._is_here:
            return {}
        machine = ThisMachine()
        nvidia = Nvidia(machine)
        try:
            gpus = nvidia.gpus()
            return facts(machine, gpus, nvidia.cuda() if gpus else None)
        except ProgramError:
            return facts(machine, [])

    def disturbances(self) -> list[str]:
        """Which GPUs it uses is not known."""
        return []

    def hardware(self) -> Mapping[str, Any]:
        """Likewise."""
        return {}

    def stop(self) -> None:
        """Nothing was started."""

    def close(self) -> None:
        """Nothing is held."""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
