"""Data sets: prompts that somebody wrote, one JSON object a line."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pytest_llmperf.declare.data_file import DataFile, read_lines

_EXPECTED = 'an object with "prompt" (a text) or "messages" (a list of objects with a role and a content)'


class Prompt(NamedTuple):
    """One line: a text or the messages of a chat, and how long its answer is to be (None: not said)."""

    line: int
    text: str | None
    messages: list[dict[str, Any]] | None
    output_tokens: int | None


@dataclass(frozen=True)
class Dataset:
    """The prompts of one file, in its order."""

    file: DataFile
    prompts: tuple[Prompt, ...] = field(compare=False, repr=False)


def read_dataset(path: str | os.PathLike[str], *, chat: bool, answers_have_a_length: bool) -> Dataset:
    """Read and check a data set that is to be sent as a chat or not.

    ``answers_have_a_length`` says that a line needs no ``output_tokens`` of its own. Raises
    :class:`~pytest_llmperf.errors.DeclarationError` that names the line and what was expected.
    """
    file, lines = read_lines(path, "dataset")
    prompts = tuple(_prompt(file, number, line) for number, line in lines)
    for prompt in prompts:
        if prompt.messages is not None and not chat:
            file.wrong(prompt.line, '"prompt", because "messages" need Workload(chat=True)')
        if prompt.output_tokens is None and not answers_have_a_length:
            file.wrong(prompt.line, '"output_tokens" in each line, or Workload(output_tokens=…) for all')
    return Dataset(file, prompts)


def _prompt(file: DataFile, number: int, line: str) -> Prompt:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        file.wrong(number, f"{_EXPECTED}, found no JSON")
    if not isinstance(entry, dict) or ("prompt" in entry) == ("messages" in entry):
        file.wrong(number, _EXPECTED)
    text, messages, output_tokens = (entry.get(name) for name in ("prompt", "messages", "output_tokens"))
    if "prompt" in entry and not (isinstance(text, str) and text):
        file.wrong(number, _EXPECTED)
    if "messages" in entry and not _are_messages(messages):
        file.wrong(number, _EXPECTED)
    if output_tokens is not None:
        output_tokens = file.tokens(number, "output_tokens", output_tokens)
    return Prompt(number, text, messages, output_tokens)


def _are_messages(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict) and isinstance(message.get("role"), str) and "content" in message
            for message in value
        )
    )
