from __future__ import annotations

from typing import Any

from pytest_llmperf.report.probes import probe_lines

PROBED: dict[str, Any] = {
    "probes": 14,
    "runs": 21,
    "repeated": 2,
    "seconds": 160.0,
    "answers": {"met": 4, "broken": 7, "undecided": 1, "assumed": 2},
    "last_broken": {
        "workload": "86 in / 1 out",
        "load": "closed loop, 1 at once of 8 requests",
        "engine": "llamacpp",
        "text": "86 in / 1 out: TTFT p50 24 ms, limit 20 ms: broken in 2 runs",
        "by_hand": ["engine: llama-server", "alone:  llmperf load http://127.0.0.1:8000 --input-tokens 86"],
        "values": {"ttft_p50_ms": 24.0, "error_rate": 0.0},
    },
}


def test_a_test_without_probes_has_no_lines() -> None:
    assert probe_lines({"points": []}) == []


def test_how_many_there_were_and_the_last_that_broke_a_limit() -> None:
    assert probe_lines({"probed": PROBED}) == [
        "14 probes in 2 min 40 s: 4 met the limits, 7 broke them, 1 undecided, 2 not measured",
        "the last that broke a limit: 86 in / 1 out: TTFT p50 24 ms, limit 20 ms: broken in 2 runs",
    ]


def test_one_that_ended_the_engine_is_told_as_such() -> None:
    died = {**PROBED["last_broken"], "text": "86 in / 1 out: the engine died", "values": {}}
    lines = probe_lines({"probed": {**PROBED, "answers": {"engine failed": 1}, "last_broken": died}})
    assert lines[1] == "the last that the engine failed at: 86 in / 1 out: the engine died"


def test_one_that_broke_nothing() -> None:
    one = {**PROBED, "probes": 1, "seconds": 0.4, "answers": {"met": 1}, "last_broken": None}
    assert probe_lines({"probed": one}) == ["1 probe in 0 s: 1 met the limits"]
