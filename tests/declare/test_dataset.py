from __future__ import annotations

from pathlib import Path

import pytest

from pytest_llmperf.declare.dataset import Dataset, read_dataset
from pytest_llmperf.errors import DeclarationError

EXPECTED = 'an object with "prompt" (a text) or "messages" (a list of objects with a role and a content)'


def read(path: Path, content: str | bytes, chat: bool = True, answers_have_a_length: bool = True) -> Dataset:
    path = path / "prompts.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_dataset(path, chat=chat, answers_have_a_length=answers_have_a_length)


def refused(path: Path, content: str | bytes, **options: bool) -> str:
    with pytest.raises(DeclarationError) as caught:
        read(path, content, **options)
    return str(caught.value)


def test_a_line_is_a_text_or_messages_and_may_say_how_long_its_answer_is(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '\ufeff{"prompt": "Why?", "output_tokens": 12, "source": "x"}\n'
        "\n"
        '{"messages": [{"role": "system", "content": "Be brief."}, '
        '{"role": "user", "content": "Why\u2028?"}]}',
    )
    one, two = found.prompts
    assert (one.line, one.text, one.messages, one.output_tokens) == (1, "Why?", None, 12)
    assert (two.line, two.text, two.output_tokens) == (3, None, None)
    assert two.messages is not None
    assert [message["role"] for message in two.messages] == ["system", "user"]


def test_a_data_set_is_known_by_its_name_and_content_wherever_it_lies(tmp_path: Path) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    one, same = read(tmp_path, '{"prompt": "a"}'), read(elsewhere, '{"prompt": "a"}')
    other = read(elsewhere, '{"prompt": "b"}')
    assert one == same != other
    assert hash(one) == hash(same)
    assert str(one.file) == "prompts.jsonl (b4199e33)"


def test_a_file_that_is_missing_says_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DeclarationError) as caught:
        read_dataset("p.jsonl", chat=True, answers_have_a_length=True)
    assert str(caught.value) == f"dataset='p.jsonl': No such file or directory (seen from {tmp_path})"
    with pytest.raises(DeclarationError, match=r"Is a directory$"):
        read_dataset(tmp_path, chat=True, answers_have_a_length=True)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_said_to_be_empty(tmp_path: Path, content: str) -> None:
    assert refused(tmp_path, content) == f"dataset={str(tmp_path / 'prompts.jsonl')!r}: the file is empty"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", f"{EXPECTED}, found no JSON"),
        ("[" * 100_000, f"{EXPECTED}, found no JSON"),
        ("[]", EXPECTED),
        ("{}", EXPECTED),
        ('{"prompt": "a", "messages": []}', EXPECTED),
        ('{"prompt": ""}', EXPECTED),
        ('{"prompt": 5}', EXPECTED),
        ('{"messages": []}', EXPECTED),
        ('{"messages": ["a"]}', EXPECTED),
        ('{"messages": [{"role": "user"}]}', EXPECTED),
        (
            '{"prompt": "a", "output_tokens": 0}',
            "output_tokens to be a whole number of tokens, at least 1, found 0",
        ),
        (
            '{"prompt": "a", "output_tokens": 1.5}',
            "output_tokens to be a whole number of tokens, at least 1, found 1.5",
        ),
    ],
    ids=lambda text: text[:40],
)
def test_a_line_that_is_no_prompt_is_named_by_its_number(tmp_path: Path, line: str, why: str) -> None:
    assert refused(tmp_path, f'{{"prompt": "fine"}}\n\n{line}\n') == f"prompts.jsonl:3: expected {why}"


def test_what_is_no_text_is_named_by_its_line(tmp_path: Path) -> None:
    assert refused(tmp_path, b'{"prompt": "a"}\n{"prompt": "\xff"}') == (
        "prompts.jsonl:2: expected text in UTF-8"
    )


def test_messages_need_a_chat(tmp_path: Path) -> None:
    line = '{"messages": [{"role": "user", "content": "a"}]}'
    assert refused(tmp_path, line, chat=False) == (
        'prompts.jsonl:1: expected "prompt", because "messages" need Workload(chat=True)'
    )


def test_somebody_has_to_say_how_long_answers_are(tmp_path: Path) -> None:
    lines = '{"prompt": "a", "output_tokens": 5}\n{"prompt": "b"}'
    assert refused(tmp_path, lines, answers_have_a_length=False) == (
        'prompts.jsonl:2: expected "output_tokens" in each line, or Workload(output_tokens=…) for all'
    )
