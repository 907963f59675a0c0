"""What one request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_llmperf.errors import DeclarationError

MAX_TOKENS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests of exactly ``input_tokens`` prompt tokens that return exactly ``output_tokens`` tokens.

    Prompts are random and fresh for every run, so that a prefix cache cannot answer them. With
    ``chat=True`` they go to ``/v1/chat/completions`` as one user message, and ``input_tokens`` counts
    what the chat template adds; otherwise to ``/v1/completions`` as token ids.

    Raises :class:`~pytest_llmperf.errors.DeclarationError` for lengths below 1.
    """

    input_tokens: int
    output_tokens: int
    chat: bool = False

    def __post_init__(self) -> None:
        for name in ("input_tokens", "output_tokens"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DeclarationError(f"Workload({name}={value!r}): a whole number of tokens, at least 1")
            if value > MAX_TOKENS:
                raise DeclarationError(f"Workload({name}={value!r}): at most {MAX_TOKENS} tokens")
        if not isinstance(self.chat, bool):
            raise DeclarationError(f"Workload(chat={self.chat!r}): True or False")

    def __str__(self) -> str:
        return f"{self.input_tokens} in / {self.output_tokens} out{' chat' if self.chat else ''}"
