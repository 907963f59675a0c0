"""Traces: when real requests came, how long they were, and what their prompts had in common.

Two formats, recognised by their content:

* Azure LLM inference (https://github.com/Azure/AzurePublicDataset), CSV with the columns ``TIMESTAMP``,
  ``ContextTokens`` and ``GeneratedTokens``, of 2023 and of 2024;
* Mooncake (https://github.com/kvcache-ai/Mooncake), a JSON object a line with ``timestamp`` in ms,
  ``input_length``, ``output_length`` and ``hash_ids``: requests whose lists begin alike have prompts that
  begin alike, 512 tokens for each id.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from pytest_llmperf.declare.data_file import DataFile, read_lines

BLOCK_TOKENS = 512
_COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_KNOWN = (
    f"the header {','.join(_COLUMNS)} (Azure LLM inference) or objects with timestamp, input_length and "
    "output_length (Mooncake)"
)


class Traced(NamedTuple):
    """One request: seconds after the first one, lengths in tokens, and the ids of its prompt's blocks, of
    which the first ``shared_blocks`` had all been in requests before it."""

    at_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    shared_blocks: int = 0


@dataclass(frozen=True)
class TraceFile:
    """The requests of one trace, by time."""

    file: DataFile
    requests: tuple[Traced, ...] = field(compare=False, repr=False)

    @property
    def rate(self) -> float:
        """Requests/s over the whole trace; 1 for a trace without an extent."""
        span_s = self.requests[-1].at_s
        return len(self.requests) / span_s if span_s else 1.0


def read_trace(path: str | os.PathLike[str]) -> TraceFile:
    """Read a whole trace. A length of 0, which failed requests have, counts as 1.

    Raises :class:`~pytest_llmperf.errors.DeclarationError` that names the line and what was expected.
    """
    file, lines = read_lines(path, "trace")
    is_mooncake = lines[0][1].lstrip().startswith("{")
    read = list(_mooncake(file, lines) if is_mooncake else _azure(file, lines))
    if not read:
        file.wrong(lines[0][0] + 1, "at least one request after the header")
    read.sort(key=lambda request: request.at_s)
    return TraceFile(file, tuple(_sharing(read)))


def _azure(file: DataFile, lines: list[tuple[int, str]]) -> Iterator[Traced]:
    header = [name.strip() for name in lines[0][1].split(",")]
    if not set(_COLUMNS) <= set(header):
        file.wrong(lines[0][0], _KNOWN)
    for number, line in lines[1:]:
        fields = line.strip().split(",")
        row = dict(zip(header, fields, strict=False))
        if len(fields) < len(header):
            file.wrong(number, f"{len(header)} fields, found {len(fields)}")
        yield Traced(
            _moment(file, number, row["TIMESTAMP"]),
            file.tokens(number, "ContextTokens", row["ContextTokens"], least=0),
            file.tokens(number, "GeneratedTokens", row["GeneratedTokens"], least=0),
        )


def _moment(file: DataFile, number: int, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        file.wrong(number, f"a TIMESTAMP as 2023-11-16 18:15:46.6805900, found {text!r}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _mooncake(file: DataFile, lines: list[tuple[int, str]]) -> Iterator[Traced]:
    for number, line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            file.wrong(number, "a JSON object, found no JSON")
        if not isinstance(entry, dict) or not {"timestamp", "input_length", "output_length"} <= set(entry):
            file.wrong(number, _KNOWN)
        stamp, ids = entry["timestamp"], entry.get("hash_ids", [])
        if isinstance(stamp, bool) or not isinstance(stamp, int | float) or not 0 <= stamp < 1e15:
            file.wrong(number, f"timestamp to be a number of milliseconds, found {stamp!r}")
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            file.wrong(number, f"hash_ids to be a list of whole numbers, found {str(ids)[:80]}")
        yield Traced(
            stamp / 1e3,
            file.tokens(number, "input_length", entry["input_length"], least=0),
            file.tokens(number, "output_length", entry["output_length"], least=0),
            tuple(ids),
        )


def _sharing(requests: list[Traced]) -> Iterator[Traced]:
    """The requests by time, from 0 on, with the number of blocks that each shares with those before it."""
    known: set[int] = set()
    for request in requests:
        shared = next(
            (index for index, one in enumerate(request.hash_ids) if one not in known), len(request.hash_ids)
        )
        known.update(request.hash_ids)
        yield request._replace(at_s=request.at_s - requests[0].at_s, shared_blocks=shared)
