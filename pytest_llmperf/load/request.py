"""What is sent, and what has to come back for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Request:
    """One request, built before it is due.

    ``payload`` are its bytes on the wire and ``id`` its ``X-Request-Id``. The answer has to have
    ``output_tokens`` tokens, and the server has to count the prompt as ``prompt_tokens`` (None: not known
    beforehand), of which ``shared_tokens`` may come from its prefix cache. It is turn ``turn`` (1, 2, …) of
    conversation ``number``.
    """

    id: str
    payload: bytes
    output_tokens: int
    prompt_tokens: int | None = None
    shared_tokens: int = 0
    number: int = 0
    turn: int = 1
