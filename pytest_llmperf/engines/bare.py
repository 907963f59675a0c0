"""A server that runs already and may have nothing but its completions."""

from __future__ import annotations

from collections.abc import Callable

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines.openai import TOKEN_IDS, ask, served_models
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.url import OpenAiServer
from pytest_llmperf.errors import EngineError


class BareServer(OpenAiServer):
    """As :class:`OpenAiServer`, but what only tells something about it may be missing; ``note`` is told."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def is_ready(self, client: httpx.Client, subject: Subject) -> bool:
        """Whether anything listens there; what it answers, the first completion shows."""
        try:
            ask(client, "GET", "/v1/models", timeout_s=10.0)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            return False
        except httpx.HTTPError:
            pass
        return True

    def describe(self, client: httpx.Client, model: str) -> Description:
        try:
            names = [str(entry["id"]) for entry in served_models(client)]
        except EngineError as error:
            named = model or "default"
            self._note(f"requests name the model {named!r} (--model): the server lists none ({error})")
            return Description(named, None, token_ids=TOKEN_IDS)
        if model and model not in names:
            self._note(f"--model {model} is not among the models of the server ({', '.join(names)})")
            return Description(model, None, token_ids=TOKEN_IDS)
        return super().describe(client, model)
