"""What logs of real engines tell of their starts.

The logs in ``starts`` are cut and shortened: those of vLLM 0.32.0 from starts of it on a CPU, the others from
what users reported of those versions, some put together of two reports. The wording is the engines' own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.activate import BUILTIN
from pytest_llmperf.engines.startup import Startup, phases_in

STARTS = Path(__file__).parent / "starts"
TOLD: Mapping[str, tuple[str | None, Mapping[str, float]]] = {
    "vllm-0.11-warm-4-workers": ("warm", {}),
    "vllm-0.12-cold-2-workers": ("cold", {"weights": 22.5, "compile": 25.11, "init_engine": 31.42}),
    "vllm-0.19.0-cold": (
        "cold",
        {
            "weights": 26.88463,
            "compile": 31.11,
            "profile": 73.16,
            "graph_capture": 5,
            "init_engine": 120.47,
        },
    ),
    "vllm-0.22.0-warm": (
        "warm",
        {"weights": 4.171419, "compile": 3.59, "profile": 2.33, "graph_capture": 17, "init_engine": 30.23},
    ),
    "vllm-0.26.0-cold": ("cold", {"weights": 7.012805, "compile": 17.57, "profile": 169.73}),
    "vllm-without-aot-cold": ("cold", {"compile": 24.7}),
    "vllm-0.32.0-cpu-cold": ("cold", {"profile": 0.02, "init_engine": 28.63}),
    "vllm-0.32.0-cpu-again": (None, {"profile": 0.07, "init_engine": 19.32}),
    "vllm-cpu-again": (None, {"weights": 2.18, "profile": 24.28}),
    "vllm-eager": (None, {"weights": 35.612771, "init_engine": 9.61}),
    "sglang-0.5.10-2-workers": (None, {"weights": 89.09, "graph_capture": 54.61 + 22.9}),
    "sglang-after-0.5.10": (None, {"weights": 12.02, "graph_capture": 22.96 + 12.26}),
}


def log(name: str) -> str:
    return (STARTS / f"{name}.log").read_text()


def cache_of(text: str) -> str | None:
    return BUILTIN["vllm"].startup(text).cache


@pytest.mark.parametrize("name", TOLD)
def test_a_log_tells_whether_caches_were_warm_and_what_took_how_long(name: str) -> None:
    cache, phases = TOLD[name]
    for engine in (name.partition("-")[0], "command"):
        found = BUILTIN[engine].startup(log(name))
        assert found.cache == cache
        assert found.phases == pytest.approx(phases)


def test_every_log_is_looked_at() -> None:
    assert sorted(path.stem for path in STARTS.iterdir()) == sorted(TOLD)


def test_an_engine_that_compiles_at_every_start_has_no_cold_one() -> None:
    disabled = "(EngineCore pid=9) INFO 06-10 03:11:04 [x.py:1] vLLM's torch.compile cache is disabled.\n"
    assert cache_of(disabled + log("vllm-0.19.0-cold")) is None


def test_a_graph_that_had_to_be_compiled_beside_those_of_the_cache_makes_a_start_cold() -> None:
    compiled = [line for line in log("vllm-0.19.0-cold").splitlines() if "Compiling a graph for" in line]
    assert cache_of("\n".join([log("vllm-0.22.0-warm"), *compiled])) == "cold"


def test_a_graph_of_the_cache_that_is_saved_anew_was_found_there() -> None:
    saved = [line for line in log("vllm-0.19.0-cold").splitlines() if "saved AOT" in line]
    assert cache_of("\n".join([log("vllm-0.22.0-warm"), *saved])) == "warm"


@pytest.mark.parametrize("engine", [name for name in BUILTIN if name not in ("vllm", "vllm-cpu", "sglang")])
def test_a_log_without_a_word_of_it_tells_nothing(engine: str) -> None:
    assert BUILTIN[engine].startup("") == BUILTIN[engine].startup("listening on port 8000\n") == Startup()


def test_the_best_expression_counts_wherever_it_is() -> None:
    patterns = {"a": (r"exactly SECONDS s", r"about SECONDS s")}
    assert phases_in("about 3 s\nexactly 2.5 s\n", patterns) == {"a": 2.5}
    assert phases_in("about 3 s\n", patterns) == {"a": 3}
    assert phases_in("exactly . s, about a few s\n", patterns) == {}


def test_a_tag_before_what_is_said_is_no_matter() -> None:
    """As version 0.32 has it, of a model and its draft."""
    by = "(EngineCore pid=79) INFO 11-01 07:07:29 [backends.py:399]"
    text = "\n".join(
        f"{by} [{tag}] torch.compile took 17.50 s in total" for tag in ("backbone", "eagle_head")
    )
    assert cache_of(f"{by} [backbone] Compiling a graph for compile range (1, 8192) takes 9.00 s") == "cold"
    assert BUILTIN["vllm"].startup(text).phases == {"compile": 35}


def test_one_process_within_another_is_the_inner_one() -> None:
    said = "(EngineCore pid=1) (RayWorkerWrapper pid={}, ip=10.0.0.1) INFO 10-08 13:12:31 [x.py:2] took {} s"
    text = "\n".join([said.format(7, 9.0), said.format(8, 10.5), said.format(7, 2.0)])
    assert phases_in(text, {"a": ("took SECONDS s",)}) == {"a": 11}


@given(
    st.lists(
        st.tuples(st.sampled_from(["pid=1", "pid=22", "pid=3"]), st.integers(0, 10_000)),
        max_size=12,
    ),
    st.lists(st.text(alphabet="took 1.s\n\r(=)", max_size=12), max_size=6),
)
def test_what_a_process_says_twice_is_added_up_and_the_slowest_process_counts(
    said: Sequence[tuple[str, int]], noise: Sequence[str]
) -> None:
    lines = [f"({who}) INFO took {hundredths / 100:.2f} seconds in all" for who, hundredths in said]
    mixed = [line for some in zip(lines, noise, strict=False) for line in some] + lines[len(noise) :]
    sums = {who: sum(h for other, h in said if other == who) / 100 for who, _ in said}
    found = phases_in("\n".join(mixed), {"a": (r"took SECONDS seconds in all",)})
    assert found == (pytest.approx({"a": max(sums.values())}) if said else {})


@given(st.text())
def test_no_text_whatever_breaks_an_engine_s_reading(text: str) -> None:
    for engine in BUILTIN.values():
        told = engine.startup(text)
        assert told.cache in ("cold", "warm", None)
        assert all(re.fullmatch("[a-z_]+", name) for name in told.phases)
