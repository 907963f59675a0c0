"""What the requests of a run ask for."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pytest_llmperf.declare.dataset import Dataset, read_dataset
from pytest_llmperf.declare.lengths import Lengths, check_lengths, draw_length, least_tokens, most_tokens
from pytest_llmperf.declare.number import finite_number
from pytest_llmperf.declare.sampling import Sampling, check_sampling
from pytest_llmperf.declare.trace_file import TraceFile, read_trace
from pytest_llmperf.errors import DeclarationError

T = TypeVar("T")
_DRAWS = 200
PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Requests of exactly ``input_tokens`` prompt tokens that return exactly ``output_tokens`` tokens.

    Either is a whole number or a distribution: :class:`~pytest_llmperf.declare.lengths.Uniform`,
    ``Normal``, ``LogNormal``. Prompts are random and fresh for every run, so that a prefix cache cannot
    answer them. With ``chat=True`` they go to ``/v1/chat/completions`` as one user message, and
    ``input_tokens`` counts what the chat template adds; otherwise to ``/v1/completions`` as token ids.

    ``shared_prefix_tokens``: every prompt begins with one of ``prefixes`` texts of that length. ``turns``:
    chats of so many turns, the next one ``think_s`` seconds after the answer to the one before.
    ``sampling``: further fields of the request, as in ``{"temperature": 0.7}``; greedy without it.

    ``dataset``: the prompts of a JSONL file in place of random ones, and ``trace``: the lengths of a trace
    file in place of ``input_tokens`` and ``output_tokens``. Both are read at once; a relative path is
    relative to the current directory. Two files of one name and content are the same file.

    Raises :class:`~pytest_llmperf.errors.DeclarationError` for what cannot be asked for.
    """

    input_tokens: Lengths | None = None
    output_tokens: Lengths | None = None
    chat: bool = False
    shared_prefix_tokens: int = 0
    prefixes: int = 1
    turns: int = 1
    think_s: float = 0.0
    sampling: Mapping[str, Any] | Sampling = ()
    dataset: PathLike | None = field(default=None, compare=False)
    trace: PathLike | None = field(default=None, compare=False)
    dataset_file: Dataset | None = field(default=None, init=False, repr=False)
    trace_file: TraceFile | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.chat, bool):
            raise DeclarationError(f"Workload(chat={self.chat!r}): True or False")
        self._check_what_goes_together()
        for name in ("input_tokens", "output_tokens"):
            if getattr(self, name) is not None or (self.trace is None and self.dataset is None):
                self._check(name, check_lengths)
        self._check("shared_prefix_tokens", lambda value: _whole(value, least=0))
        for name in ("prefixes", "turns"):
            self._check(name, lambda value: _whole(value, least=1))
        self._check("think_s", _seconds)
        object.__setattr__(self, "sampling", self._check("sampling", check_sampling))
        self._check_combinations()
        if self.dataset is not None:
            has_length = self.output_tokens is not None
            found = read_dataset(self.dataset, chat=self.chat, answers_have_a_length=has_length)
            object.__setattr__(self, "dataset_file", found)
        if self.trace is not None:
            object.__setattr__(self, "trace_file", read_trace(self.trace))

    @property
    def most_output_tokens(self) -> int:
        """The length of the longest answer that may be asked for."""
        most = [most_tokens(self.output_tokens)] if self.output_tokens is not None else []
        return max(most + self._told_output_tokens)

    @property
    def mean_output_tokens(self) -> float:
        """About how long an answer is on average."""
        if self._told_output_tokens:
            return statistics.fmean(self._told_output_tokens)
        rng = random.Random(0)
        assert self.output_tokens is not None
        return statistics.fmean(draw_length(self.output_tokens, rng) for _ in range(_DRAWS))

    @property
    def _told_output_tokens(self) -> list[int]:
        """The lengths of answers that a file tells."""
        if self.dataset_file is not None:
            return [prompt.output_tokens for prompt in self.dataset_file.prompts if prompt.output_tokens]
        return [request.output_tokens for request in self.trace_file.requests] if self.trace_file else []

    def as_json(self) -> dict[str, Any]:
        """What was declared, lengths and chat always, the rest where it says something."""
        declared: dict[str, Any] = {
            "input_tokens": _json_lengths(self.input_tokens),
            "output_tokens": _json_lengths(self.output_tokens),
            "chat": self.chat,
            "sampling": dict(self.sampling),
            "dataset": str(self.dataset_file.file) if self.dataset_file else None,
            "trace": str(self.trace_file.file) if self.trace_file else None,
        }
        for name in ("shared_prefix_tokens", "prefixes", "turns", "think_s"):
            declared[name] = getattr(self, name) if self._says(name) else None
        return {name: value for name, value in declared.items() if value is not None and value != {}}

    def __str__(self) -> str:
        parts = [f"{self._lengths()}{' chat' if self.chat else ''}"]
        if self.shared_prefix_tokens and self.prefixes == 1:
            parts.append(f"a prefix of {self.shared_prefix_tokens}")
        elif self.shared_prefix_tokens:
            parts.append(f"{self.prefixes} prefixes of {self.shared_prefix_tokens}")
        if self.turns > 1:
            parts.append(f"{self.turns} turns{f' {self.think_s:g} s apart' if self.think_s else ''}")
        if self.sampling:
            parts.append(" ".join(f"{name}={value}" for name, value in dict(self.sampling).items()))
        return ", ".join(parts)

    def _lengths(self) -> str:
        if self.trace_file is not None:
            return str(self.trace_file.file)
        prompts = f"{self.input_tokens} in" if self.dataset_file is None else str(self.dataset_file.file)
        return prompts if self.output_tokens is None else f"{prompts} / {self.output_tokens} out"

    def _says(self, name: str) -> bool:
        """Whether a field was given anything but its default."""
        return bool(getattr(self, name) != type(self).__dataclass_fields__[name].default)

    def _check(self, name: str, check: Callable[[Any], T]) -> T:
        value = getattr(self, name)
        try:
            return check(value)
        except DeclarationError as error:
            raise DeclarationError(f"Workload({name}={value!r}): {error}") from None

    def _check_what_goes_together(self) -> None:
        """A file brings what it brings, and nothing else says the same."""
        brought = {"trace": ("dataset", "input_tokens", "output_tokens"), "dataset": ("input_tokens",)}
        for file, rest in brought.items():
            also = (*rest, "shared_prefix_tokens", "turns")
            if getattr(self, file) is not None and (twice := [name for name in also if self._says(name)]):
                raise DeclarationError(
                    f"Workload({file}=…) brings its own prompts: leave out {', '.join(twice)}"
                )

    def _check_combinations(self) -> None:
        if self.turns > 1 and not self.chat:
            raise DeclarationError(f"Workload(turns={self.turns}): a conversation needs chat=True")
        if self.think_s and self.turns == 1:
            raise DeclarationError(
                f"Workload(think_s={self.think_s!r}): nothing follows; give turns=2 or more"
            )
        if self.prefixes > 1 and not self.shared_prefix_tokens:
            raise DeclarationError(f"Workload(prefixes={self.prefixes}): give shared_prefix_tokens as well")
        if self.input_tokens is not None and least_tokens(self.input_tokens) <= self.shared_prefix_tokens:
            raise DeclarationError(
                f"Workload(shared_prefix_tokens={self.shared_prefix_tokens}): prompts are longer than what "
                f"they share, but input_tokens may be {least_tokens(self.input_tokens)}"
            )


def _whole(value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise DeclarationError(f"a whole number, at least {least}")
    return value


def _seconds(value: object) -> float:
    seconds = finite_number(value)
    if seconds is None or seconds < 0:
        raise DeclarationError("a number of seconds, 0 or more")
    return seconds


def _json_lengths(lengths: Lengths | None) -> int | str | None:
    return lengths if lengths is None or isinstance(lengths, int) else str(lengths)
