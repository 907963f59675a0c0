"""Sampling parameters of a workload: further fields of the body of its requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.errors import DeclarationError

Sampling = tuple[tuple[str, Any], ...]
# What would change what is asked, how long the answer is, or how it is told.
_DECIDED = (
    "model prompt messages stream stream_options max_tokens max_completion_tokens min_tokens ignore_eos n "
    "best_of echo stop stop_token_ids"
).split()


def check_sampling(fields: object) -> Sampling:
    """``{"temperature": 0.7}`` as pairs by name, which can be compared and hashed.

    Raises :class:`DeclarationError`, without a name, for a field that the generator itself decides on, and
    for a value that is no number, text, True, False, None or list of these.
    """
    # The pairs themselves are what dataclasses.replace() passes on.
    if isinstance(fields, tuple) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in fields):
        fields = dict(fields)
    if not isinstance(fields, Mapping) or not all(isinstance(name, str) and name for name in fields):
        raise DeclarationError('names and values, as in {"temperature": 0.7, "top_p": 0.9}')
    if decided := [name for name in fields if name in _DECIDED]:
        raise DeclarationError(
            f"{', '.join(decided)}: what is asked and how long an answer is follow from the rest of the "
            f"workload, so these cannot be given: {', '.join(_DECIDED)}"
        )
    return tuple(sorted((name, _frozen(name, value)) for name, value in fields.items()))


def _frozen(name: str, value: object) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(name, one) for one in value)
    if value is None or isinstance(value, str | bool):
        return value
    if finite_number(value) is None or not isinstance(value, int | float):
        raise DeclarationError(f"{name}={value!r}: a number, a text, True, False, None, or a list of these")
    return value
