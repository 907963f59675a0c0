"""Random prompts of an exact number of tokens, fresh for every request."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineError

_PROBED_WORDS = 256
_ENOUGH_WORDS = 32


class Prompts(Protocol):
    """A source of prompts."""

    @property
    def shared_tokens(self) -> int:
        """Tokens that every prompt has in common (a chat template's), which a cache may know."""
        ...

    @property
    def least_tokens(self) -> int:
        """The length of the shortest prompt that can be made."""
        ...

    def draw(self, tokens: int, rng: random.Random) -> list[Any]:
        """Random pieces of a prompt, one for each token."""
        ...

    def make(self, tokens: int, rng: random.Random, begin: Sequence[Any] = ()) -> str | list[int]:
        """A prompt that the engine counts as ``tokens``, of the pieces ``begin`` as far as they fit and
        random ones after them. Raises :class:`EngineError` if it cannot be."""
        ...


@dataclass(frozen=True)
class TokenIdPrompts:
    """Token ids drawn from a range; exact by construction."""

    ids: range

    @property
    def shared_tokens(self) -> int:
        return 0

    @property
    def least_tokens(self) -> int:
        return 1

    def draw(self, tokens: int, rng: random.Random) -> list[int]:
        return rng.choices(self.ids, k=tokens)

    def make(self, tokens: int, rng: random.Random, begin: Sequence[int] = ()) -> list[int]:
        return [*begin[:tokens], *self.draw(max(0, tokens - len(begin)), rng)]


@dataclass(frozen=True)
class WordPrompts:
    """Words that are one token each after a fixed first word; ``overhead`` is what everything else takes."""

    words: Sequence[str]
    overhead: int

    @property
    def shared_tokens(self) -> int:
        return self.overhead

    @property
    def least_tokens(self) -> int:
        return self.overhead + 1

    def draw(self, tokens: int, rng: random.Random) -> list[str]:
        return rng.choices(self.words, k=tokens)

    def make(self, tokens: int, rng: random.Random, begin: Sequence[str] = ()) -> str:
        count = tokens - self.overhead
        if count < 1:
            raise EngineError(
                f"input_tokens={tokens} cannot be had: the template and the first word alone take "
                f"{self.overhead} tokens here; ask for at least {self.least_tokens}"
            )
        return " ".join((WORDS[0], *begin[:count], *self.draw(max(0, count - len(begin)), rng)))


# As many common words as tokens were asked for, where the engine's own count cannot be had.
ROUGH_PROMPTS = WordPrompts(WORDS, overhead=1)


def calibrate_words(count_tokens: Callable[[str], int]) -> WordPrompts:
    """Find words of one token each by asking the engine how long whole groups of them are.

    ``count_tokens`` returns the engine's prompt_tokens for a text. A word has at least one token, so a
    group as long as it has words is made of such words throughout; a longer one is halved and asked again.
    Raises :class:`EngineError` when too few are found.
    """
    overhead = count_tokens(WORDS[0])
    found: list[str] = []
    groups = [list(WORDS[1 : _PROBED_WORDS + 1])]
    while groups and len(found) < _ENOUGH_WORDS:
        group = groups.pop()
        extra = count_tokens(" ".join((WORDS[0], *group))) - overhead
        if extra == len(group):
            found += group
        elif len(group) > 1:
            groups += [group[len(group) // 2 :], group[: len(group) // 2]]
    if len(found) < _ENOUGH_WORDS:
        raise EngineError(
            f"only {len(found)} of {_PROBED_WORDS} common words are one token for this model, so text "
            "prompts of an exact length cannot be made; use Workload(chat=False) with token ids"
        )
    return WordPrompts(tuple(found), overhead)
