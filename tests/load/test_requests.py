from __future__ import annotations

import itertools
import json
import pickle
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.lengths import Normal, Uniform
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import EngineError
from pytest_llmperf.load.job import Job
from pytest_llmperf.load.prompts import Prompts, TokenIdPrompts, WordPrompts
from pytest_llmperf.load.request import Request
from pytest_llmperf.load.requests import ANY, LENGTH, Requests
from pytest_llmperf.load.target import Target
from pytest_llmperf.load.workers import perform
from tests.servers import TruthServer

TARGET = Target(2, ("127.0.0.1", 1), "h:1", "", None, None)
IDS = TokenIdPrompts(range(1000, 30_000))
WORDS = WordPrompts(tuple(f"w{number}" for number in range(500)), overhead=10)
EXACT = {"max_tokens": LENGTH, "min_tokens": LENGTH, "ignore_eos": True}
PLAIN = Workload(input_tokens=32, output_tokens=8)
VARIED = Workload(input_tokens=Uniform(20, 60), output_tokens=Normal(30, 8))
CHAT = Workload(input_tokens=Uniform(20, 60), output_tokens=8, chat=True, turns=3, think_s=0.5)


def requests_of(
    workload: Workload, prompts: Prompts = IDS, seed: int = 1, run_key: str = "ab" * 16
) -> Requests:
    return Requests(TARGET, "m", workload, prompts, EXACT, seed, run_key)


def body(request: Request) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(request.payload.partition(b"\r\n\r\n")[2])
    return content


def prompt(request: Request) -> list[Any]:
    """As the pieces that it is made of."""
    asked = body(request)
    text = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
    return text.split(" ") if isinstance(text, str) else list(text)


def lengths(request: Request) -> tuple[int | None, int]:
    return request.prompt_tokens, request.output_tokens


def conversation(requests: Requests, number: int, *answers: str | None) -> Iterator[Request]:
    yield (request := requests.make(number))
    for answer in answers:
        following = requests.after(request, answer)
        assert following is not None
        yield (request := following[0])


# --- every workload -----------------------------------------------------------------------------------


def test_a_request_asks_for_what_the_workload_says() -> None:
    request = requests_of(PLAIN).make(3)
    asked = body(request)
    assert len(asked.pop("prompt")) == 32
    assert asked == {
        "model": "m",
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 8,
        "min_tokens": 8,
        "ignore_eos": True,
    }
    assert (request.id, request.number, request.turn) == ("llmperf-abababab-3", 3, 1)
    assert b"X-Request-Id: llmperf-abababab-3\r\n" in request.payload
    assert (lengths(request), request.shared_tokens, request.expects_more) == ((32, 8), 0, False)


def test_an_engine_may_have_the_length_anywhere_in_its_fields() -> None:
    fields = {"max_tokens": LENGTH, "extra": {"min": LENGTH, "of": [LENGTH, "x"]}, "ignore_eos": True}
    asked = body(replace(requests_of(PLAIN), length_fields=fields).make(0))
    assert asked["extra"] == {"min": 8, "of": [8, "x"]}
    assert (asked["max_tokens"], asked["ignore_eos"]) == (8, True)


def test_sampling_goes_into_the_body_and_greedy_is_the_default() -> None:
    said = {"temperature": 0.7, "top_p": 0.9, "bad_words": ["a", "b"]}
    asked = body(requests_of(Workload(input_tokens=8, output_tokens=8, sampling=said)).make(0))
    assert asked | said == asked
    assert body(requests_of(PLAIN).make(0))["temperature"] == 0


@pytest.mark.parametrize(
    ("workload", "prompts"),
    [
        (VARIED, IDS),
        (VARIED, WORDS),
        (CHAT, WORDS),
        (Workload(input_tokens=64, output_tokens=8, shared_prefix_tokens=32, prefixes=4), IDS),
    ],
)
@given(numbers=st.lists(st.integers(0, 10_000), min_size=1, max_size=5), seed=st.integers(0, 2**64))
def test_request_k_is_the_same_whoever_makes_it_and_when(
    workload: Workload, prompts: Prompts, numbers: list[int], seed: int
) -> None:
    here = requests_of(workload, prompts, seed)
    there = pickle.loads(pickle.dumps(here))
    made = {number: there.make(number) for number in reversed(numbers)}
    assert [here.make(number) for number in numbers] == [made[number] for number in numbers]


@given(st.integers(1, 9))
def test_processes_that_share_a_run_send_together_what_one_would(processes: int) -> None:
    requests = requests_of(VARIED)
    shares = [list(map(requests.make, range(first, 20, processes))) for first in range(processes)]
    merged = sorted(itertools.chain(*shares), key=lambda request: request.number)
    assert merged == [requests.make(number) for number in range(20)]


@pytest.mark.parametrize("workload", [VARIED, CHAT])
def test_lengths_come_from_the_seed_and_contents_from_the_run(workload: Workload) -> None:
    one, rerun = (requests_of(workload, WORDS, run_key=key) for key in ("a" * 32, "b" * 32))
    other = requests_of(workload, WORDS, seed=2)
    first = [one.make(number) for number in range(20)]
    again = [rerun.make(number) for number in range(20)]
    assert list(map(lengths, first)) == list(map(lengths, again))
    assert list(map(lengths, first)) != [lengths(other.make(number)) for number in range(20)]
    assert not {str(prompt(request)) for request in first} & {str(prompt(request)) for request in again}
    assert len(set(map(lengths, first))) > 5


@given(st.integers(0, 1000))
def test_a_prompt_is_as_long_as_it_says(number: int) -> None:
    for prompts in (IDS, WORDS):
        request = requests_of(VARIED, prompts).make(number)
        assert request.prompt_tokens is not None
        # The first word is part of the overhead.
        assert len(prompt(request)) == request.prompt_tokens - (9 if prompts is WORDS else 0)
        assert 20 <= request.prompt_tokens <= 60


# --- shared prefixes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("prompts", "before", "overhead"), [(IDS, 0, 0), (WORDS, 1, 10)])
def test_every_prompt_begins_with_one_of_so_many_prefixes_of_exactly_that_length(
    prompts: Prompts, before: int, overhead: int
) -> None:
    workload = Workload(input_tokens=100, output_tokens=8, shared_prefix_tokens=64, prefixes=4)
    made = [requests_of(workload, prompts).make(number) for number in range(60)]
    pieces = [prompt(request)[before:] for request in made]
    assert len({tuple(one[:64]) for one in pieces}) == 4
    # What follows is nobody else's.
    assert len({one[64] for one in pieces}) > 40
    assert len({tuple(one[64:]) for one in pieces}) == 60
    assert {lengths(request) for request in made} == {(100, 8)}
    assert {request.shared_tokens for request in made} == {64 + overhead}


def test_the_seed_chooses_the_prefix_and_the_run_its_contents() -> None:
    workload = Workload(input_tokens=40, output_tokens=8, shared_prefix_tokens=32, prefixes=4)

    def chosen(run_key: str, seed: int) -> tuple[list[int], set[str]]:
        made = [requests_of(workload, run_key=run_key, seed=seed).make(number) for number in range(30)]
        prefixes = [str(prompt(request)[:32]) for request in made]
        return [prefixes.index(one) for one in prefixes], set(prefixes)

    one, again, other = chosen("a" * 32, 1), chosen("b" * 32, 1), chosen("a" * 32, 2)
    assert one[0] == again[0] != other[0]
    assert not one[1] & again[1]


def test_a_prompt_that_its_prefix_and_template_fill_says_how_long_it_must_be() -> None:
    requests = requests_of(Workload(input_tokens=74, output_tokens=8, shared_prefix_tokens=64), WORDS)
    with pytest.raises(EngineError) as caught:
        requests.make(0)
    assert str(caught.value) == "input_tokens=74 cannot be had after a prefix of 64: ask for at least 75"


# --- conversations ------------------------------------------------------------------------------------


def test_every_turn_sends_the_whole_conversation_with_the_real_answers() -> None:
    one, two, three = map(body, conversation(requests_of(CHAT, WORDS), 5, "Hello.", "Ünïcode"))
    assert [message["role"] for message in three["messages"]] == ["user", "assistant"] * 2 + ["user"]
    assert [message["content"] for message in three["messages"][1::2]] == ["Hello.", "Ünïcode"]
    assert three["messages"][:3] == two["messages"]
    assert two["messages"][:1] == one["messages"]


def test_turns_have_names_of_their_own_and_the_last_one_expects_no_more() -> None:
    requests = requests_of(CHAT, WORDS)
    made = list(conversation(requests, 5, "a", "b"))
    assert [request.id for request in made] == [f"llmperf-abababab-5-t{turn}" for turn in (1, 2, 3)]
    assert [(r.number, r.turn, r.expects_more) for r in made] == [(5, 1, True), (5, 2, True), (5, 3, False)]
    assert requests.after(made[-1], "c") is None


def test_the_next_turn_is_due_after_the_time_to_think() -> None:
    requests = requests_of(CHAT, WORDS)
    following = requests.after(requests.make(0), "a")
    assert following is not None
    assert following[1] == 0.5


def test_a_turn_that_failed_ends_its_conversation() -> None:
    requests = requests_of(CHAT, WORDS)
    assert requests.after(requests.make(0), None) is None


def test_one_turn_is_no_conversation() -> None:
    requests = requests_of(PLAIN)
    assert requests.after(requests.make(0), "a") is None


def test_a_turn_adds_as_many_new_words_as_the_seed_says() -> None:
    made, rerun = (
        list(conversation(requests_of(CHAT, WORDS, run_key=key), 2, "a", "b")) for key in ("a" * 32, "b" * 32)
    )
    added = [len(prompt(request)) for request in made]
    assert added == [len(prompt(request)) for request in rerun]
    assert len(set(added)) == 3
    assert all(20 <= words + 9 <= 60 for words in added)
    assert not {str(prompt(r)) for r in made} & {str(prompt(r)) for r in rerun}


@given(st.lists(st.text(max_size=40), min_size=2, max_size=2))
def test_all_that_went_before_may_come_from_the_cache_and_the_new_turn_may_not(answers: list[str]) -> None:
    one, two, three = conversation(requests_of(CHAT, WORDS), 0, *answers)
    assert (one.prompt_tokens, two.prompt_tokens, three.prompt_tokens) == (one.prompt_tokens, None, None)
    assert one.prompt_tokens is not None
    # A token has at least one byte, and an answer the length that was asked for.
    said = [max(8, len(answer.encode())) for answer in answers]
    new = len(prompt(two)) + 9
    assert one.shared_tokens == 10
    assert two.shared_tokens == one.prompt_tokens + said[0]
    assert three.shared_tokens == two.shared_tokens + new + said[1]


def test_only_the_first_turn_begins_with_the_prefix() -> None:
    workload = Workload(input_tokens=80, output_tokens=8, chat=True, turns=2, shared_prefix_tokens=64)
    one, two = conversation(requests_of(workload, WORDS), 0, "a")
    assert prompt(one)[1:65] != prompt(two)[1:65]


@pytest.mark.parametrize("processes", [1, 2])
def test_conversations_with_a_server_are_the_same_whoever_leads_them(processes: int) -> None:
    workload = Workload(
        input_tokens=Uniform(120, 200),
        output_tokens=16,
        chat=True,
        turns=3,
        think_s=0.02,
        shared_prefix_tokens=64,
        prefixes=2,
    )
    words = WordPrompts(tuple(f"w{number}" for number in range(500)), overhead=4)
    with TruthServer(has_prefix_cache=True) as server:
        target = Target.of(server.url)
        requests = Requests(target, "m", workload, words, EXACT, 5, "ab" * 16)
        job = Job(target, requests, 30.0, 10_000_000, offsets_s=[0.05 * index for index in range(8)])
        outcome = perform(job, processes, lambda sent, ended: None)
    assert {trace.error for trace in outcome.traces} == {None}
    turns = [(trace.request.number, trace.request.turn) for trace in outcome.traces]
    assert sorted(turns) == [(number, turn) for number in range(8) for turn in (1, 2, 3)]
    first = {t.request.number: t.prompt_tokens for t in outcome.traces if t.request.turn == 1}
    assert first == {number: requests.make(number).prompt_tokens for number in range(8)}
    # The cache knows all that went before, as it may, and nothing else.
    for trace in outcome.traces:
        assert trace.cached_tokens is not None
        assert trace.cached_tokens <= trace.request.shared_tokens
        assert trace.request.turn == 1 or trace.cached_tokens > 64 + 4


# --- data sets ----------------------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    lines = [{"prompt": f"p{number}", "output_tokens": 10 + number} for number in range(30)]
    lines.append({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]})
    (path := tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_data_set_is_always_sent_in_the_same_mixed_order_and_then_again(dataset: Path) -> None:
    workload = Workload(dataset=dataset, output_tokens=5, chat=True)
    made = [requests_of(workload, WORDS).make(number) for number in range(62)]
    asked = [str(body(request)["messages"]) for request in made]
    assert len(set(asked[:31])) == 31
    assert asked[:31] == asked[31:]
    rerun = requests_of(workload, WORDS, run_key="b" * 32)
    assert [str(body(rerun.make(number))["messages"]) for number in range(31)] == asked[:31]
    other = requests_of(workload, WORDS, seed=2)
    assert [str(body(other.make(number))["messages"]) for number in range(31)] == asked[:31]
    in_file = (
        [str(prompt.messages) for prompt in workload.dataset_file.prompts] if workload.dataset_file else []
    )
    assert asked[:31] != in_file
    assert len({request.id for request in made}) == 62


def test_only_prompts_that_the_server_has_not_seen_may_come_from_its_cache(dataset: Path) -> None:
    workload = Workload(dataset=dataset, output_tokens=5, chat=True)
    source = replace(requests_of(workload, WORDS), unused=20)
    may = [number for number in range(-31, 62) if source.make(number).shared_tokens == ANY]
    assert may == list(range(20))


def test_a_prompt_of_a_data_set_is_sent_as_it_is_and_says_how_long_its_answer_is(dataset: Path) -> None:
    workload = Workload(dataset=dataset, output_tokens=5, chat=True)
    made = [requests_of(workload, WORDS).make(number) for number in range(31)]
    expected = {f"p{number}": 10 + number for number in range(30)} | {"u": 5}
    assert {body(r)["messages"][-1]["content"]: r.output_tokens for r in made} == expected
    assert {(r.prompt_tokens, r.shared_tokens) for r in made} == {(None, 10)}
    assert {len(body(r)["messages"]) for r in made} == {1, 2}


def test_a_text_goes_to_completions_as_a_text(tmp_path: Path) -> None:
    (path := tmp_path / "p.jsonl").write_text('{"prompt": "Why?"}')
    workload = Workload(dataset=path, output_tokens=Uniform(5, 50))
    made = [requests_of(workload).make(number) for number in range(20)]
    assert {body(request)["prompt"] for request in made} == {"Why?"}
    assert len({request.output_tokens for request in made}) > 5
    assert all(request.payload.startswith(b"POST /v1/completions ") for request in made)


# --- traces -------------------------------------------------------------------------------------------


def traced(path: Path, *requests: tuple[int, list[int]], **more: bool) -> Workload:
    lines = [
        {"timestamp": at, "input_length": length, "output_length": at + 1, "hash_ids": ids}
        for at, (length, ids) in enumerate(requests)
    ]
    (path / "t.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Workload(trace=path / "t.jsonl", chat=more.get("chat", False))


def test_a_trace_gives_the_lengths_in_its_order_and_then_again(tmp_path: Path) -> None:
    requests = requests_of(traced(tmp_path, (40, []), (50, []), (60, [])))
    made = [requests.make(number) for number in range(6)]
    assert [lengths(request) for request in made] == [(40, 1), (50, 2), (60, 3)] * 2
    assert all(len(prompt(request)) == request.prompt_tokens for request in made)
    assert len({str(prompt(request)) for request in made}) == 6


@pytest.mark.parametrize(("prompts", "before", "overhead"), [(IDS, 0, 0), (WORDS, 1, 10)])
def test_blocks_of_one_id_have_the_same_contents_within_a_pass(
    tmp_path: Path, prompts: Prompts, before: int, overhead: int
) -> None:
    workload = traced(tmp_path, (1600, [1, 2, 3, 4]), (1400, [1, 2, 9]), (700, [5, 6]))
    requests = requests_of(workload, prompts)
    made = [requests.make(number) for number in range(6)]
    one, two, three, again, *_ = (prompt(request)[before:] for request in made)
    assert one[:1024] == two[:1024]
    assert one[1024:1100] != two[1024:1100]
    assert one[:512] != three[:512]
    assert one[:512] != again[:512]
    assert [request.shared_tokens for request in made] == [overhead, overhead + 1024, overhead] * 2
    assert [request.prompt_tokens for request in made] == [1600, 1400, 700] * 2


def test_a_traced_prompt_is_at_least_as_long_as_its_template_and_a_word(tmp_path: Path) -> None:
    requests = requests_of(traced(tmp_path, (3, []), (1, []), chat=True), WORDS)
    assert [requests.make(number).prompt_tokens for number in (0, 1)] == [11, 11]


# --- what carries them --------------------------------------------------------------------------------


def test_the_key_of_a_run_is_not_told_to_the_server() -> None:
    key = f"{random.Random(1).getrandbits(128):032x}"
    request = requests_of(PLAIN, run_key=key).make(0)
    assert re.fullmatch(r"llmperf-[0-9a-f]{8}-0", request.id)
    assert key[8:].encode() not in request.payload


def test_an_answer_that_is_no_unicode_is_part_of_the_next_turn_all_the_same() -> None:
    source = requests_of(Workload(input_tokens=40, output_tokens=4, chat=True, turns=2), WORDS)
    following = source.after(source.make(0), "\ud83d")
    assert following is not None
    assert body(following[0])["messages"][1]["content"] == "\ud83d"


def test_a_key_is_not_shown_with_a_request() -> None:
    target = Target.of("http://127.0.0.1:1", "sk-secret")
    request = replace(requests_of(Workload(input_tokens=4, output_tokens=4)), target=target).make(0)
    assert b"sk-secret" in request.payload
    assert "sk-secret" not in repr(request)
