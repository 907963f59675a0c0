"""A server that runs already and is none of our business to start or stop."""

from __future__ import annotations

from pathlib import Path

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.protocol import Engine


class ExistingServer:
    """Both a :class:`~pytest_llmperf.places.protocol.Place` and its one server."""

    name = "url"
    url: str

    def start(self, engine: Engine, subject: Subject, model: str, log: Path) -> ExistingServer:
        assert subject.url is not None
        self.url = subject.url
        return self

    def is_alive(self) -> bool:
        """As far as can be known from here: whether it answers shows in the requests."""
        return True

    def account(self) -> str:
        return f"server: {self.url}, which was not started from here"

    def port_was_taken(self) -> bool:
        return False

    def stop(self) -> None:
        """Nothing was started."""
