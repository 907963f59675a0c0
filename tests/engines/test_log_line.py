"""Lines of logs without their prefixes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.engines.log_line import MAX_LINE, LogLine, printable, what_it_says


@pytest.mark.parametrize(
    ("raw", "text", "level", "who"),
    [
        ("plain", "plain", "", ""),
        ("  indented", "  indented", "", ""),
        (
            "(EngineCore_DP0 pid=7) ERROR 11-22 01:00:00 [core.py:718]   File",
            "  File",
            "error",
            "EngineCore_DP0 pid=7",
        ),
        (
            "(VllmWorker rank=1 pid=9) INFO 05-10 16:00:15 [gpu.py:16] took",
            "took",
            "info",
            "VllmWorker rank=1 pid=9",
        ),
        ("ERROR 10-16 05:20:48 registry.py:264] ImportError: x", "ImportError: x", "error", ""),
        ("W1122 01:58:17.501000 13569 torch/a.py:53] no Triton", "no Triton", "warning", ""),
        ("0.00.022.508 E gguf_init: failed", "gguf_init: failed", "error", ""),
        ("[2025-03-29 18:18:34 TP0] Scheduler hit", "Scheduler hit", "", "TP0"),
        ("[2025-07-02 07:41:58 DP0 TP1] Load", "Load", "", "DP0 TP1"),
        ("[07/08/2025-19:47:15] [TRT-LLM] [RANK 1] [E] Failed", "Failed", "error", "1"),
        ("[TensorRT-LLM][WARNING] odd", "odd", "warning", ""),
        ("[rank0]: torch.OutOfMemoryError: x", "torch.OutOfMemoryError: x", "", "0"),
        ("[1,0]<stderr>:Traceback", "Traceback", "", "1,0"),
        ("ERROR:    [Errno 98] error while", "[Errno 98] error while", "error", ""),
        ("2026-11-22 01:00:00,123 - server - CRITICAL - gone", "gone", "error", ""),
        ("[2026-02-24T20:21:58Z] (Core pid=6) INFO 11-22 01:00:00 [a.py:1] x", "x", "info", "Core pid=6"),
        ("\x1b[32mINFO\x1b[0m:     Started", "Started", "info", ""),
        ("a  10%\ra  50%\ra 100%\r", "a 100%", "", ""),
        ("[12] is no time stamp", "[12] is no time stamp", "", ""),
        ("INFO is a word", "INFO is a word", "", ""),
        ("", "", "", ""),
    ],
)
def test_a_line_is_taken_apart(raw: str, text: str, level: str, who: str) -> None:
    assert LogLine.read(raw) == LogLine(text, level, who)


def test_what_it_says_is_on_one_line_and_moves_no_cursor() -> None:
    assert what_it_says("(A pid=1) \x1b]0;title\x07one\t\x07two \x1b[2Kthree\x1b[") == "one two three"
    assert printable(" a\n\tb\x00 ") == "a b"


@given(st.text(max_size=300))
def test_whatever_the_line_it_is_printable(raw: str) -> None:
    assert what_it_says(raw).isprintable()


@pytest.mark.parametrize("piece", ["[rank0]: ", "\r", "\x1b[", "(a pid=1", "[1,0]<stderr>:", "x" * 9 + "\r"])
def test_a_line_of_any_length_takes_no_time(piece: str) -> None:
    began = time.process_time()
    assert len(LogLine.read(piece * 200_000).text) <= MAX_LINE
    assert time.process_time() - began < 5  # it is milliseconds; what grows with the square is minutes
