"""What engines have in common that serve models of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_llmperf.declare.subject import Subject
from pytest_llmperf.engines import models


class HuggingFaceEngine:
    """A part of an :class:`~pytest_llmperf.engines.protocol.Engine`: its models, and exact lengths."""

    name: str

    def model(self, model: str | None) -> str:
        return models.id_or_folder(self.name, model)

    def model_identity(self, subject: Subject, model: str) -> str:
        return models.identity(subject, model)

    def exact_length(self, output_tokens: int) -> Mapping[str, object]:
        return {"max_tokens": output_tokens, "min_tokens": output_tokens, "ignore_eos": True}
