"""A server that runs already and is none of our business to start or stop."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine, Runtime
from pytest_llmperf.places.protocol import Vantage


class ExistingServer:
    """Both a :class:`~pytest_llmperf.places.protocol.Place` and its one server."""

    name = "url"
    url: str
    api_key: str | None = None

    def prepare(self, engine: Engine, subject: Subject) -> Runtime:
        """Nothing is needed."""
        return Runtime(sys.executable)

    def start(
        self, engine: Engine, subject: Subject, runtime: Runtime, model: str, log: Path
    ) -> ExistingServer:
        assert subject.url is not None
        self.url = subject.url
        return self

    def vantage(self) -> Vantage | None:
        return None

    def is_alive(self) -> bool:
        """As far as can be known from here: whether it answers shows in the requests."""
        return True

    def account(self) -> str:
        return f"server: {self.url}, which was not started from here"

    def last_line(self) -> str:
        return ""

    def port_was_taken(self) -> bool:
        return False

    def stop(self) -> None:
        """Nothing was started."""
