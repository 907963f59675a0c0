"""How the times of starts read."""

from __future__ import annotations

from typing import Any

from pytest_llmperf.report.startup import startup_lines


def launch(text: str, *phases: float, cache: str | None = None, **within: float) -> dict[str, Any]:
    names = ("spawned", "port", "healthy", "first_token", "first_answer")
    return {
        "text": text,
        "startup_s": dict(zip(names, phases, strict=False)) or None,
        "startup_cache": cache,
        "startup_phases": within,
    }


def test_one_start_is_told_with_its_phases() -> None:
    assert startup_lines([launch("vllm", 0.03, 48.2, 61.2, 61.9, 62.04)]) == [
        "vllm started in 62 s: process 0.0, port 48, ready 61, first token 62"
    ]


def test_several_starts_are_told_as_a_range_for_each_subject() -> None:
    launches = [
        launch("vllm", 0.0, 48, 60, 61, 62),
        launch("llamacpp", 0.02, 0.1, 0.31, 0.4, 0.44),
        launch("vllm", 0.0, 50, 60, 61.2, 99.96),
    ]
    assert startup_lines(launches) == [
        "vllm started 2 times, in 62 to 100 s; the last: process 0.0, port 50, ready 60, first token 61",
        "llamacpp started in 0.4 s: process 0.0, port 0.1, ready 0.3, first token 0.4",
    ]


def test_cold_starts_are_told_from_warm_ones_and_what_the_engine_did_meanwhile() -> None:
    within = {"weights": 9.3, "compile": 12.2, "profile": 2.0, "graph_capture": 14.0, "init_engine": 40.0}
    launches = [
        launch("vllm", 0.1, 100, 125, 128, 130, cache="cold"),
        *(launch("vllm", 0.1, 31, 62, 65.8, total, cache="warm", **within) for total in (102, 77, 66)),
    ]
    last = "process 0.1, port 31, ready 62, first token 66 (weights 9.3, compile 12, graph capture 14)"
    assert startup_lines(launches) == [
        f"vllm started 4 times: cold in 130 s, warm in 66 to 102 s; the last: {last}"
    ]
    assert startup_lines(launches[-1:]) == [f"vllm started warm in 66 s: {last}"]


def test_a_start_of_which_it_is_not_known_stays_apart() -> None:
    launches = [launch("vllm", 0.1, 31, 62, 65, 66, cache=cache) for cache in ("warm", None)]
    (line,) = startup_lines(launches)
    assert line.startswith("vllm started 2 times: warm in 66 s, otherwise in 66 s; the last: ")


def test_phases_that_are_not_known_are_left_out_and_servers_at_a_url_altogether() -> None:
    remote = launch("remote") | {"startup_s": {"spawned": 3.0, "healthy": 12.0}}
    assert startup_lines([remote]) == ["remote started in 12 s: process 3.0, ready 12"]
    assert startup_lines([launch("http://x")]) == []
