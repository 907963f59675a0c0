from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.engines.words import WORDS
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.prompts import ROUGH_PROMPTS, TokenIdPrompts, WordPrompts, calibrate_words

FIRST, *OTHERS = WORDS[:257]


def tokenizer(long_words: frozenset[str] = frozenset(), overhead: int = 0) -> Callable[[str], int]:
    """Counts as an engine would: a template's ``overhead``, and ``long_words`` with three tokens each."""
    return lambda text: overhead + sum(3 if word in long_words else 1 for word in text.split(" "))


@given(st.integers(1, 2000), st.integers(0, 2**32))
def test_token_ids_are_as_many_as_asked_for_and_all_valid(tokens: int, seed: int) -> None:
    prompt = TokenIdPrompts(range(300, 512)).make(tokens, random.Random(seed))
    assert len(prompt) == tokens
    assert all(300 <= token < 512 for token in prompt)


def test_token_ids_share_nothing() -> None:
    assert TokenIdPrompts(range(5)).shared_tokens == 0


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_prompts_of_other_draws_differ(seed: int, other: int) -> None:
    prompts = TokenIdPrompts(range(1000, 30_000))
    same = prompts.make(16, random.Random(seed)) == prompts.make(16, random.Random(other))
    assert same == (seed == other)


@given(
    st.sets(st.sampled_from(OTHERS), max_size=len(OTHERS) - 32),
    st.integers(0, 40),
    st.integers(0, 300),
    st.integers(0, 2**32),
)
def test_words_make_prompts_of_exactly_the_length_that_the_tokenizer_counts(
    long_words: set[str], overhead: int, more: int, seed: int
) -> None:
    count_tokens = tokenizer(frozenset(long_words), overhead)
    prompts = calibrate_words(count_tokens)
    assert not long_words & set(prompts.words)
    assert len(set(prompts.words)) == len(prompts.words) >= 32
    tokens = prompts.overhead + 1 + more
    assert count_tokens(prompts.make(tokens, random.Random(seed))) == tokens


def test_a_first_word_of_several_tokens_counts_as_overhead() -> None:
    count_tokens = tokenizer(frozenset([FIRST]), overhead=10)
    prompts = calibrate_words(count_tokens)
    assert prompts.overhead == prompts.shared_tokens == 13
    assert count_tokens(prompts.make(20, random.Random(1))) == 20


def test_where_all_words_are_one_token_two_questions_are_enough() -> None:
    asked: list[str] = []

    def count_tokens(text: str) -> int:
        asked.append(text)
        return len(text.split(" "))

    assert len(calibrate_words(count_tokens).words) == 256
    assert len(asked) == 2


def test_a_few_bad_words_cost_a_few_questions() -> None:
    asked: list[str] = []
    count = tokenizer(frozenset(OTHERS[::100]))

    def count_tokens(text: str) -> int:
        asked.append(text)
        return count(text)

    assert len(calibrate_words(count_tokens).words) >= 32
    assert len(asked) < 20


@pytest.mark.parametrize("good", [0, 1, 31])
def test_too_few_words_of_one_token_are_an_error_that_says_what_to_do(good: int) -> None:
    with pytest.raises(EngineError) as raised:
        calibrate_words(tokenizer(frozenset(OTHERS[good:])))
    assert str(raised.value) == (
        f"only {good} of 256 common words are one token for this model, so text prompts of an exact length "
        "cannot be made; use Workload(chat=False) with token ids"
    )


def test_just_enough_words_are_enough() -> None:
    assert set(calibrate_words(tokenizer(frozenset(OTHERS[32:]))).words) == set(OTHERS[:32])


@given(st.integers(13, 60), st.integers(0, 60), st.integers(0, 2**32))
def test_a_prompt_begins_with_what_it_is_given_as_far_as_that_fits(
    tokens: int, given_: int, seed: int
) -> None:
    begin = [f"b{number}" for number in range(given_)]
    words = WordPrompts(("and", "for"), overhead=12).make(tokens, random.Random(seed), begin).split(" ")[1:]
    ids = TokenIdPrompts(range(300, 512)).make(tokens, random.Random(seed), range(given_))
    assert (len(words), len(ids)) == (tokens - 12, tokens)
    assert words[:given_] == begin[: tokens - 12]
    assert ids[:given_] == list(range(given_))[:tokens]
    assert not {*words[given_:]} & {*begin}


def test_the_shortest_prompt_can_be_made_and_none_below_it() -> None:
    for prompts in (WordPrompts(("and",), overhead=12), TokenIdPrompts(range(9))):
        assert prompts.make(prompts.least_tokens, random.Random(0))
    assert (WordPrompts(("and",), 12).least_tokens, TokenIdPrompts(range(9)).least_tokens) == (13, 1)


@pytest.mark.parametrize("tokens", [1, 11, 12])
def test_a_prompt_shorter_than_its_template_is_an_error_that_names_the_least(tokens: int) -> None:
    prompts = WordPrompts(("and", "for"), overhead=12)
    with pytest.raises(EngineError) as raised:
        prompts.make(tokens, random.Random(0))
    assert str(raised.value) == (
        f"input_tokens={tokens} cannot be had: the template and the first word alone take 12 tokens here; "
        "ask for at least 13"
    )
    assert len(prompts.make(13, random.Random(0)).split()) == 2


def test_the_words_are_enough_to_probe_and_distinct() -> None:
    assert len(WORDS) > 256
    assert len(set(WORDS)) == len(WORDS)


@given(st.integers(2, 2000), st.integers(0, 2**32))
def test_rough_prompts_have_a_common_word_for_each_token(tokens: int, seed: int) -> None:
    words = ROUGH_PROMPTS.make(tokens, random.Random(seed)).split(" ")
    assert len(words) == tokens
    assert set(words) <= set(WORDS)
