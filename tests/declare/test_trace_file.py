from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.data_file import DataFile
from pytest_llmperf.declare.trace_file import Traced, TraceFile, _sharing, read_trace
from pytest_llmperf.errors import DeclarationError

AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
2023-11-16 18:16:46.6805900,7,0
"""
KNOWN = (
    "the header TIMESTAMP,ContextTokens,GeneratedTokens (Azure LLM inference) or objects with timestamp, "
    "input_length and output_length (Mooncake)"
)


def read(path: Path, content: str) -> TraceFile:
    path = path / "trace"
    path.write_text(content)
    return read_trace(path)


def refused(path: Path, content: str) -> str:
    with pytest.raises(DeclarationError) as caught:
        read(path, content)
    return str(caught.value)


def mooncake(*requests: tuple[int, list[int]]) -> str:
    return "".join(
        json.dumps({"timestamp": at_ms, "input_length": 600, "output_length": 9, "hash_ids": ids}) + "\n"
        for at_ms, ids in requests
    )


def test_the_azure_trace_of_2023_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, AZURE)
    # What failed has no tokens; one at least is asked for.
    assert [(r.input_tokens, r.output_tokens) for r in found.requests] == [(374, 44), (396, 109), (7, 1)]
    assert [r.at_s for r in found.requests] == pytest.approx([0, 4.314579, 60], abs=1e-5)
    assert found.rate == pytest.approx(3 / 60)


def test_the_azure_trace_of_2024_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeffTIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\r\n2024-05-10 00:00:01+00:00,2399,6\r\n",
    )
    assert [r.at_s for r in found.requests] == pytest.approx([0, 0.99007], abs=1e-5)
    assert [r.input_tokens for r in found.requests] == [2162, 2399]


def test_other_columns_and_another_order_do_no_harm(tmp_path: Path) -> None:
    found = read(tmp_path, "id,GeneratedTokens,TIMESTAMP,ContextTokens\n7,4,2024-05-10 00:00:01+00:00,8\n")
    assert found.requests == (Traced(0.0, 8, 4),)
    assert found.rate == 1


def test_the_mooncake_trace_is_read_with_what_its_prompts_share(tmp_path: Path) -> None:
    found = read(tmp_path, mooncake((0, [1, 2]), (1500, [1, 3]), (3000, [1, 2]), (3000, [4])))
    assert [r.at_s for r in found.requests] == [0, 1.5, 3, 3]
    assert [r.hash_ids for r in found.requests] == [(1, 2), (1, 3), (1, 2), (4,)]
    assert [r.shared_blocks for r in found.requests] == [0, 1, 2, 0]


def test_a_trace_is_put_into_the_order_of_time_before_anything_is_shared(tmp_path: Path) -> None:
    found = read(tmp_path, mooncake((9000, [1, 2]), (4000, [1])))
    assert [(r.at_s, r.shared_blocks) for r in found.requests] == [(0, 0), (5, 1)]


@given(st.lists(st.lists(st.integers(0, 5), max_size=6), min_size=1, max_size=12))
def test_a_shared_block_was_in_a_request_before_and_the_next_one_was_not(ids: list[list[int]]) -> None:
    requests = [Traced(float(i), 1, 1, tuple(one)) for i, one in enumerate(ids)]
    for index, request in enumerate(_sharing(requests)):
        known = {one for before in ids[:index] for one in before}
        shared = request.shared_blocks
        assert set(request.hash_ids[:shared]) <= known
        assert shared == len(request.hash_ids) or request.hash_ids[shared] not in known


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("time,in,out\n", f"trace:1: expected {KNOWN}"),
        ("[1, 2]\n", f"trace:1: expected {KNOWN}"),
        (AZURE.splitlines()[0], "trace:2: expected at least one request after the header"),
        (AZURE + "2023-11-16 18:17:00,4\n", "trace:5: expected 3 fields, found 2"),
        (
            AZURE + "\nyesterday,4,4\n",
            "trace:6: expected a TIMESTAMP as 2023-11-16 18:15:46.6805900, found 'yesterday'",
        ),
        (
            AZURE + "2023-11-16 18:17:00,4,few\n",
            "trace:5: expected GeneratedTokens to be a whole number of tokens, at least 0, found 'few'",
        ),
        (mooncake((0, [])) + "{\n", "trace:2: expected a JSON object, found no JSON"),
        (mooncake((0, [])) + "[]\n", f"trace:2: expected {KNOWN}"),
        (mooncake((0, [])) + '{"timestamp": 5}\n', f"trace:2: expected {KNOWN}"),
        (mooncake((-5, [])), "trace:1: expected timestamp to be a number of milliseconds, found -5"),
        (
            mooncake((0, [])).replace("600", "-1"),
            "trace:1: expected input_length to be a whole number of tokens, at least 0, found -1",
        ),
        (
            mooncake((0, [])).replace("[]", '["a"]'),
            "trace:1: expected hash_ids to be a list of whole numbers, found ['a']",
        ),
    ],
)
def test_what_is_no_trace_is_named_by_its_line(tmp_path: Path, content: str, why: str) -> None:
    assert refused(tmp_path, content) == why


def test_a_trace_is_known_by_its_name_and_content(tmp_path: Path) -> None:
    assert read(tmp_path, AZURE) == TraceFile(DataFile("trace", "612ece5d"), ())
