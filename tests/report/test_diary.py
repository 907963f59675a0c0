from __future__ import annotations

from typing import Any

from pytest_llmperf.report.diary import diary_lines

QUESTION = {
    "test": "test_chat.py::test_chat",
    "workload": "1024 in / 128 out",
    "load": "4/s",
    "metric": "tpot_p50_ms",
    "better": "lower",
    "tolerance": 0.05,
}
NAMES = ("0.22.1", "0.23.0", "0.23.1", "0.24.0")


def place(index: int) -> dict[str, Any]:
    return {"index": index, "name": NAMES[index]}


def event(kind: str, at: str, **content: Any) -> dict[str, Any]:
    return {"event": kind, "at": f"2026-11-22T{at}:00+00:00", **content}


def pair(number: int, at: str, right: int, left_ms: float, right_ms: float, *notes: str) -> dict[str, Any]:
    figure = {**QUESTION, "left": left_ms, "right": right_ms, "uncertainty": [0.01, 0.01]}
    other = {**figure, "metric": "ttft_p95_ms", "left": 1.0, "right": 9.0}
    sides = {"left": place(0), "right": place(right)}
    return event(
        "pair", at, number=number, **sides, seconds=250.0, notes=list(notes), figures=[other, figure]
    )


VERSIONS = {"pytest-llmperf": "0.1.0", "python": "3.12.1"}
BEGUN = event(
    "begun",
    "09:58",
    llmperf_diary=1,
    asked={
        "kind": "releases",
        "good": "vllm==0.22.1",
        "bad": "vllm==0.24.0",
        "arguments": ["-k", "chat"],
        "variables": {},
    },
    positions=[{"name": name, "change": f"release {name}", "about": {}} for name in NAMES],
    machine={"machine": "Linux x86_64", "cpu": "AMD EPYC"},
    versions=VERSIONS,
)
SKIPPED = event(
    "unusable",
    "10:20",
    position=place(1),
    why="it does not build: " + "no compiler " * 30,
    left=place(0),
    right=place(1),
    seconds=70.0,
)
WHOLE = [
    BEGUN,
    pair(1, "10:02", 3, 12.0, 13.6),
    event("suspicion", "10:02", question=QUESTION, suspects=[place(1), place(2), place(3)], confidence=1.0),
    SKIPPED,
    event("interrupted", "10:21", why="Ctrl-C"),
    event("resumed", "13:00", versions=VERSIONS),
    pair(2, "13:05", 2, 12.1, 12.0, "measured again: requests left 12.1 ms late"),
    event(
        "found",
        "13:06",
        outcome="culprit",
        question=QUESTION,
        suspects=[place(3)],
        confidence=0.987,
        confirmation={"estimate": 0.123, "low": 0.101, "high": 0.15},
        oddities=[{**place(2), "words": "good again"}],
    ),
]


def test_a_whole_bisection_is_read_from_top_to_bottom() -> None:
    assert diary_lines(WHOLE) == [
        "09:58  begun on 2026-11-22 (UTC): releases from 0.22.1 (good) to 0.24.0 (bad)",
        "       3 changes in between",
        "       pytest -k chat",
        "       pytest-llmperf 0.1.0, python 3.12.1; Linux x86_64, AMD EPYC",
        "       followed: TPOT p50 at 4/s of test_chat.py::test_chat, 1024 in / 128 out; tolerance 5%",
        "10:02  pair 1   0.22.1 | 0.24.0  12 ms → 13.6 ms, +13%  (4 min 10 s)",
        "10:02  suspected: 0.23.0, 0.23.1, 0.24.0, 99.9%",
        "10:20  skipped 0.23.0: it does not build: no compiler no compiler no compiler no compiler no",
        *[line for line in diary_lines(WHOLE) if line.startswith("         ")],
        "10:21  interrupted: Ctrl-C",
        "13:00  resumed on 2026-11-22 with pytest-llmperf 0.1.0, python 3.12.1",
        "13:05  pair 2   0.22.1 | 0.23.1  12.1 ms → 12 ms, -0.8%  (4 min 10 s)",
        "       note: measured again: requests left 12.1 ms late",
        "13:06  found: the culprit: 0.24.0, 98.7% sure",
        "       beside what comes before it: +12% (95% interval +10% to +15%)",
        "       odd: 0.23.1: good again",
        "       2 pairs, 4 launches; 1 in vain; 9 min 30 s",
    ]


def test_whatever_was_kept_until_then_can_be_read() -> None:
    """As of one that is running, or was killed."""
    for n in range(1, len(WHOLE) + 1):
        lines = diary_lines(WHOLE[:n])
        assert lines[0].startswith("09:58  begun")
        assert "launches" in lines[-1]
        assert max(map(len, lines)) <= 110


def test_before_a_metric_is_followed_a_pair_says_how_many_it_has_and_later_that_it_lacks_it() -> None:
    assert "2 metrics" in diary_lines(WHOLE[:2])[-2]
    without = {**WHOLE[1], "figures": WHOLE[1]["figures"][:1]}
    assert "has no value" in "\n".join(diary_lines([BEGUN, without, WHOLE[2]]))


def test_what_an_engine_said_cannot_move_the_cursor() -> None:
    why = "it said: \x1b[2J\u202e| no GPU |"
    shown = diary_lines([BEGUN, {**next(one for one in WHOLE if one["event"] == "unusable"), "why": why}])
    assert all(line.isprintable() for line in shown)
    assert "no GPU" in "\n".join(shown)


def test_long_names_do_not_push_figures_out_of_sight() -> None:
    flags = {
        "index": 3,
        "name": "vllm --max-num-batched-tokens 512 --enable-chunked-prefill --max-num-seqs 64",
    }
    lines = diary_lines([BEGUN, {**WHOLE[1], "right": flags}, {**WHOLE[2], "suspects": [flags] * 9}])
    assert max(map(len, lines)) <= 110
    assert "vllm --max-num-batched-to…" in "\n".join(lines)
    assert "(9 of them)" in "\n".join(lines)
