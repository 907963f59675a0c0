"""What a worker process answers, read without trust.

A worker may run in a container beside an engine that runs a model's own code. So nothing that it sends can
name anything but the data that an answer is made of.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

from pytest_llmperf import errors
from pytest_llmperf.errors import InvalidRun, LlmperfError
from pytest_llmperf.load.account import Account
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.job import Outcome
from pytest_llmperf.load.request import Request

MAX_ANSWER_BYTES = 2 << 30
_ERRORS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LlmperfError)
]
_KNOWN = {(kind.__module__, kind.__qualname__): kind for kind in (Outcome, Trace, Request, Account, *_ERRORS)}


class _Reader(pickle.Unpickler):
    """Knows data and errors of ours; numbers, strings and tuples need no name."""

    def find_class(self, module: str, name: str) -> type:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in an answer") from None


def check_length(length: int) -> None:
    """Raises :class:`InvalidRun` for an answer that is longer than any can be."""
    if length > MAX_ANSWER_BYTES:
        raise InvalidRun(
            f"a worker process of the load generator announced an answer of {length:.3g} bytes, over the "
            f"limit of {MAX_ANSWER_BYTES >> 30} GiB: make the load point shorter"
        )


def read_answer(data: bytes | bytearray) -> Sequence[Any]:
    """The kind of an answer and what belongs to it: one of :class:`~pytest_llmperf.load.worker`'s.

    Raises :class:`InvalidRun` for anything else.
    """
    try:
        answer = _Reader(io.BytesIO(data)).load()
    except Exception as error:  # broken bytes can make the reader raise anything
        raise _unreadable(f"{type(error).__name__}: {error}") from None
    match answer:
        case (
            ("ready",)
            | ("clock", int())
            | ("progress", int(), int())
            | ("done", Outcome(traces=tuple(), account=Account()))
            | ("failed", LlmperfError())
        ):
            return tuple(answer)
    raise _unreadable("it is none of the kinds that there are")


def _unreadable(why: str) -> InvalidRun:
    return InvalidRun(f"a worker process of the load generator sent what is no answer of it: {why}")
