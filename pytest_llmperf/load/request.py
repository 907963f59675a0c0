"""What is sent, and what has to come back for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Request:
    """One request, built before it is due.

    ``payload`` are its bytes on the wire and ``id`` its ``X-Request-Id``. The answer has to have
    ``output_tokens`` tokens, and the server has to count the prompt as ``prompt_tokens`` (None: not known
    beforehand), of which ``shared_tokens`` may come from its prefix cache. ``expects_more``: whether another
    request may follow from the answer. ``is_quoted``: whether a data set has its prompt.
    It is turn ``turn`` (1, 2, …) of conversation ``number``.
    """

    id: str
    payload: bytes = field(repr=False)  # the key is in it
    output_tokens: int
    prompt_tokens: int | None = None
    shared_tokens: int = 0
    expects_more: bool = False
    is_quoted: bool = False
    number: int = 0
    turn: int = 1


class Source(Protocol):
    """Where requests come from; it can be pickled, so that several processes share one."""

    def make(self, number: int) -> Request:
        """Request ``number``, the same in whichever process it is made."""
        ...

    def after(self, request: Request, answer: str | None) -> tuple[Request, float] | None:
        """What follows in the conversation of ``request``, and the seconds until then; None: nothing.

        ``answer`` is the text that came back, None if it failed.
        """
        ...
