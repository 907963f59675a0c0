from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pytest_llmperf.declare.lengths import Normal, Uniform
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.0, 128.5, True, "128", None], ids=repr)
def test_a_length_that_is_no_number_of_tokens_is_named(name: str, value: Any) -> None:
    lengths: dict[str, Any] = {"input_tokens": 16, "output_tokens": 8, name: value}
    with pytest.raises(DeclarationError) as caught:
        Workload(**lengths)
    message, _, distributions = str(caught.value).partition(", or a distribution: ")
    assert message == f"Workload({name}={value!r}): a whole number of tokens, at least 1"
    assert bool(distributions) == (value not in (0, -1))


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
def test_a_length_that_no_engine_has_is_named(name: str) -> None:
    lengths: dict[str, Any] = {"input_tokens": 16, "output_tokens": 8}
    Workload(**lengths | {name: 10_000_000})
    with pytest.raises(DeclarationError) as caught:
        Workload(**lengths | {name: 10_000_001})
    assert str(caught.value) == f"Workload({name}=10000001): at most 10000000 tokens"


@pytest.mark.parametrize("value", [1, 0, "yes", None], ids=repr)
def test_chat_is_true_or_false(value: Any) -> None:
    with pytest.raises(DeclarationError, match=r"Workload\(chat=.*\): True or False"):
        Workload(input_tokens=16, output_tokens=8, chat=value)


@pytest.mark.parametrize(
    ("workload", "text"),
    [
        (Workload(input_tokens=1024, output_tokens=128), "1024 in / 128 out"),
        (Workload(input_tokens=1, output_tokens=1, chat=True), "1 in / 1 out chat"),
    ],
)
def test_a_workload_is_shown_in_a_few_words(workload: Workload, text: str) -> None:
    assert str(workload) == text


def test_lengths_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Workload(1024, 128)  # type: ignore[call-arg]


PLAIN: dict[str, Any] = {"input_tokens": 512, "output_tokens": 128}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,374,44\n2023-11-16 18:15:47,9,50\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set and a trace in the current directory."""
    (tmp_path / "p.jsonl").write_text('{"prompt": "a", "output_tokens": 300}\n{"prompt": "b"}\n')
    (tmp_path / "t.csv").write_text(AZURE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"input_tokens": Normal(512, 100), "chat": True}, "512±100 in / 128 out chat"),
        ({"output_tokens": Uniform(10, 20)}, "512 in / 10-20 out"),
        (
            {"chat": True, "shared_prefix_tokens": 256, "prefixes": 4},
            "512 in / 128 out chat, 4 prefixes of 256",
        ),
        ({"shared_prefix_tokens": 256}, "512 in / 128 out, a prefix of 256"),
        ({"chat": True, "turns": 3}, "512 in / 128 out chat, 3 turns"),
        ({"chat": True, "turns": 3, "think_s": 0.5}, "512 in / 128 out chat, 3 turns 0.5 s apart"),
        (
            {"sampling": {"top_p": 0.9, "temperature": 0.7}},
            "512 in / 128 out, temperature=0.7 top_p=0.9",
        ),
        (
            {"chat": True, "shared_prefix_tokens": 256, "turns": 2, "sampling": {"seed": 1}},
            "512 in / 128 out chat, a prefix of 256, 2 turns, seed=1",
        ),
    ],
)
def test_what_a_workload_does_besides_is_shown_after_it(said: dict[str, Any], text: str) -> None:
    assert str(Workload(**{**PLAIN, **said})) == text


@pytest.mark.usefixtures("files")
def test_a_file_is_shown_by_name_and_content() -> None:
    data = Workload(dataset="p.jsonl", output_tokens=64, chat=True)
    trace = Workload(trace="t.csv")
    assert str(data) == "p.jsonl (de915049) / 64 out chat"
    assert str(trace) == "t.csv (dea98279)"
    assert (data.most_output_tokens, trace.most_output_tokens) == (300, 50)


def test_the_directory_of_a_file_is_no_part_of_what_a_workload_is(files: Path) -> None:
    (files / "elsewhere").mkdir()
    (files / "elsewhere/t.csv").write_text(AZURE)
    one, same = Workload(trace="t.csv"), Workload(trace=files / "elsewhere" / "t.csv")
    assert one == same
    assert hash(one) == hash(same)
    (files / "elsewhere/t.csv").write_text(AZURE.replace("374", "375"))
    assert Workload(trace="elsewhere/t.csv") != one


@pytest.mark.parametrize(
    "said",
    [
        {"input_tokens": Uniform(300, 600)},
        {"sampling": {"temperature": 0.7, "bad": ["a"]}},
        {"chat": True, "turns": 3, "think_s": 0.5},
        {"shared_prefix_tokens": 256, "prefixes": 4},
    ],
)
def test_a_workload_can_be_hashed_pickled_changed_and_written_as_json(said: dict[str, Any]) -> None:
    workload = Workload(**{**PLAIN, **said})
    assert {workload: 1}[pickle.loads(pickle.dumps(workload))] == 1
    assert dataclasses.replace(workload) == workload
    declared = workload.as_json()
    assert json.loads(json.dumps(declared)).keys() == PLAIN.keys() | {"chat"} | said.keys()


@pytest.mark.usefixtures("files")
def test_a_workload_with_a_file_can_be_pickled_changed_and_written_as_json() -> None:
    workload = Workload(dataset="p.jsonl", output_tokens=Uniform(5, 6))
    again = pickle.loads(pickle.dumps(workload))
    assert again == workload
    assert again.dataset_file.prompts == workload.dataset_file.prompts  # type: ignore[union-attr]
    assert dataclasses.replace(workload, chat=True).dataset_file == workload.dataset_file
    assert workload.as_json() == {"output_tokens": "5-6", "chat": False, "dataset": "p.jsonl (de915049)"}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"shared_prefix_tokens": -1}, "shared_prefix_tokens=-1): a whole number, at least 0"),
        ({"prefixes": 0}, "prefixes=0): a whole number, at least 1"),
        ({"turns": 1.5}, "turns=1.5): a whole number, at least 1"),
        ({"chat": True, "turns": 2, "think_s": -1}, "think_s=-1): a number of seconds, 0 or more"),
        ({"turns": 2}, "turns=2): a conversation needs chat=True"),
        ({"chat": True, "think_s": 1}, "think_s=1): nothing follows; give turns=2 or more"),
        ({"prefixes": 4}, "prefixes=4): give shared_prefix_tokens as well"),
        (
            {"shared_prefix_tokens": 512},
            "shared_prefix_tokens=512): prompts are longer than what they share, but input_tokens may be 512",
        ),
        (
            {"input_tokens": Normal(512, 100), "shared_prefix_tokens": 64},
            "shared_prefix_tokens=64): prompts are longer than what they share, but input_tokens may be 1",
        ),
        ({"sampling": {"max_tokens": 5}}, "sampling={'max_tokens': 5}): max_tokens: what is asked and how"),
        ({"sampling": 5}, 'sampling=5): names and values, as in {"temperature": 0.7, "top_p": 0.9}'),
        ({"trace": "t.csv"}, "trace=…) brings its own prompts: leave out input_tokens, output_tokens"),
        ({"dataset": "p.jsonl", "input_tokens": 1}, "dataset=…) brings its own prompts: leave out input_tok"),
        (
            {"dataset": "p.jsonl", "input_tokens": None, "chat": True, "turns": 2},
            "dataset=…) brings its own prompts: leave out turns",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_words(said: dict[str, Any], why: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Workload(**{**PLAIN, **said})
    assert str(caught.value).startswith(f"Workload({why}")


@pytest.mark.usefixtures("files")
def test_a_trace_and_a_data_set_are_one_too_many() -> None:
    with pytest.raises(
        DeclarationError, match=r"^Workload\(trace=…\) brings its own prompts: leave out data"
    ):
        Workload(trace="t.csv", dataset="p.jsonl")


@pytest.mark.usefixtures("files")
def test_a_file_is_read_when_the_workload_is_declared() -> None:
    with pytest.raises(DeclarationError, match=r"^p\.jsonl:2: expected \"output_tokens\" in each line, or"):
        Workload(dataset="p.jsonl")
    with pytest.raises(DeclarationError, match=r"^trace='nowhere\.csv': No such file or directory"):
        Workload(trace="nowhere.csv")
