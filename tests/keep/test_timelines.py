from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import pytest

from pytest_llmperf.errors import StoreError
from pytest_llmperf.keep.timelines import write_timelines
from pytest_llmperf.load.decode import Trace
from pytest_llmperf.load.request import Request

ANSWERED = Trace(
    request=Request("r-1", b"POST", 3, 16),
    due_ns=1_000,
    handed_ns=1_001,
    sent_ns=1_002,
    first_byte_ns=2_000,
    token_ns=(2_000, 3_000, 3_000),
    merged_ns=(3_000_000,),
    ended_ns=3_500,
    status=200,
    output_tokens=3,
    prompt_tokens=16,
    cached_tokens=None,
    error=None,
)
REFUSED = dataclasses.replace(
    ANSWERED,
    request=Request("r-0", b"POST", 3, 16),
    due_ns=500,
    sent_ns=0,
    first_byte_ns=None,
    token_ns=(),
    merged_ns=(),
    status=None,
    output_tokens=None,
    prompt_tokens=None,
    error="refused: Connection refused",
)


def test_each_request_is_a_line_in_the_order_in_which_they_were_due(tmp_path: Path) -> None:
    write_timelines(tmp_path / "t.jsonl", [ANSWERED, REFUSED])
    refused, answered = map(json.loads, (tmp_path / "t.jsonl").read_text().splitlines())
    assert refused == {
        "id": "r-0",
        "scheduled_ns": 500,
        "sent_ns": None,
        "first_token_ns": None,
        "token_ns": [],
        "ended_ns": 3_500,
        "status": None,
        "usage": {"prompt_tokens": None, "completion_tokens": None, "cached_tokens": None},
        "error": "refused: Connection refused",
        "merged_tokens": 0,
    }
    assert answered == {
        "id": "r-1",
        "scheduled_ns": 1_000,
        "sent_ns": 1_002,
        "first_token_ns": 2_000,
        "token_ns": [2_000, 3_000, 3_000],
        "ended_ns": 3_500,
        "status": 200,
        "usage": {"prompt_tokens": 16, "completion_tokens": 3, "cached_tokens": None},
        "error": None,
        "merged_tokens": 1,
    }


def test_a_disk_that_is_full_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.jsonl"
    write_timelines(path, [REFUSED])
    before = path.read_text()

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"t\.jsonl cannot be written: No space left on device"):
        write_timelines(path, [ANSWERED, REFUSED])
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
