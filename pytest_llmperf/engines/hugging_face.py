"""What engines have in common that serve models of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import models
from pytest_llmperf.engines.openai import commit_in, served_models, version_of
from pytest_llmperf.engines.protocol import Description
from pytest_llmperf.engines.startup import Startup


class HuggingFaceEngine:
    """A part of an :class:`~pytest_llmperf.engines.protocol.Engine`: its models, exact lengths, and a
    log that tells nothing of its start."""

    name: str

    def model(self, model: str | None) -> str:
        return models.id_or_folder(self.name, model)

    def model_identity(self, subject: Subject, model: str) -> str:
        return models.identity(subject, model)

    def startup(self, log: str) -> Startup:
        return Startup()

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        return {"max_tokens": output_tokens, "min_tokens": output_tokens, "ignore_eos": True}


def description_of(
    client: httpx.Client, model: str, settings: Callable[[httpx.Client], Mapping[str, str]]
) -> Description:
    """What a ready server says of itself that tells its version at ``/version``."""
    version = version_of(client)
    return Description(
        model=str(served_models(client)[0]["id"]),
        version=version,
        commit=commit_in(version),
        settings=settings(client),
        token_ids=models.token_ids(model),
    )
