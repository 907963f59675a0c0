"""What a server takes: how a prompt is put to it, and how the length of an answer is fixed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import httpx

from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.engines.openai import ask, excerpt
from pytest_llmperf.engines.protocol import Description, Engine
from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.prompts import ROUGH_PROMPTS, Prompts, TokenIdPrompts, WordPrompts, calibrate_words
from pytest_llmperf.load.requests import LENGTH, asking, path_of

Note = Callable[[str], None]


class Dialect:
    """Learns as it asks; begins with the hope that the server takes everything.

    ``note`` is told what cannot be had here and is then done without; with None, that is an error.
    """

    def __init__(
        self,
        control: httpx.Client,
        engine: Engine,
        description: Description,
        *,
        timeout_s: float,
        note: Note | None = None,
    ) -> None:
        self.takes_exact_length = True
        self.takes_token_ids = description.token_ids is not None
        self.knows_prompt_lengths = True
        self._control, self._engine, self._description = control, engine, description
        self._timeout_s, self._note = timeout_s, note
        self._words: dict[bool, Prompts] = {}
        self._templates: dict[bool, int] = {}

    @property
    def length_fields(self) -> Mapping[str, object]:
        """The fields that make an answer exactly ``LENGTH`` tokens long, or that at most."""
        return self._engine.exact_length(LENGTH) if self.takes_exact_length else {"max_tokens": LENGTH}

    def prompts(self, workload: Workload) -> Prompts:
        """The source of prompts for such requests.

        Raises :class:`EngineError` if prompts of a known length cannot be made.
        """
        if workload.dataset_file is not None:
            # It brings its own words; only what every prompt has in common is to be known.
            if workload.chat not in self._templates:
                self._templates[workload.chat] = self._count_tokens(WORDS[0], chat=workload.chat)
            return WordPrompts((), self._templates[workload.chat])
        ids = self._description.token_ids
        if not workload.chat and self.takes_token_ids and ids is not None:
            return TokenIdPrompts(ids)
        if workload.chat not in self._words:
            self._words[workload.chat] = self._calibrated(workload.chat)
        return self._words[workload.chat]

    def _calibrated(self, chat: bool) -> Prompts:
        try:
            return calibrate_words(lambda text: self._count_tokens(text, chat=chat))
        except EngineError as error:
            if self._note is None:
                raise
            self._note(f"prompt lengths are not verified: a token is taken for a common word ({error})")
            self.knows_prompt_lengths = False
            return ROUGH_PROMPTS

    def _count_tokens(self, text: str, *, chat: bool) -> int:
        path = path_of(chat)
        body = {
            "model": self._description.model,
            **asking(text, chat),
            "max_tokens": 1,
        }
        try:
            answer = ask(self._control, "POST", path, body=body, timeout_s=self._timeout_s)
            count = answer.json()["usage"]["prompt_tokens"]
        except httpx.HTTPError as error:
            raise EngineError(f"POST {path}: {type(error).__name__}: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise EngineError(
                f"POST {path}: HTTP {answer.status_code}, no usage.prompt_tokens: {excerpt(answer.text)}"
            ) from None
        if isinstance(count, bool) or not isinstance(count, int):
            raise EngineError(f"POST {path}: usage.prompt_tokens is {count!r}")
        return count
