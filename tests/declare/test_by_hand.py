from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.cli import parser
from pytest_llmperf.declare.by_hand import load_command
from pytest_llmperf.declare.lengths import Uniform
from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.workload import Workload

POINTS = st.one_of(
    st.builds(
        LoadPoint,
        rate=st.floats(0.5, 100).map(lambda rate: round(rate, 2)),
        arrivals=st.sampled_from(["poisson", "constant", "gamma:0.5"]),
        duration_s=st.integers(1, 100).map(float),
    ),
    st.builds(LoadPoint, concurrency=st.integers(1, 64), requests=st.integers(1, 1000)),
)
WORKLOADS = st.builds(
    Workload, input_tokens=st.integers(1, 9999), output_tokens=st.integers(1, 999), chat=st.booleans()
)


@given(WORKLOADS, POINTS)
def test_the_command_line_means_what_was_measured(workload: Workload, point: LoadPoint) -> None:
    command = load_command(workload, point, "http://host:1")
    assert command is not None
    program, *words = shlex.split(command)
    said = parser().parse_args(words)
    assert program == "llmperf"
    assert (said.input_tokens, said.output_tokens, said.chat) == (
        workload.input_tokens,
        workload.output_tokens,
        workload.chat,
    )
    assert (said.duration, said.requests) == (point.duration_s, point.requests)
    assert (said.rate, said.concurrency) == (point.rate, point.concurrency)
    if point.rate is not None:
        assert said.arrivals == point.arrivals


@pytest.mark.parametrize(
    ("workload", "point"),
    [
        (Workload(input_tokens=Uniform(1, 5), output_tokens=1), LoadPoint(concurrency=1, requests=1)),
        (Workload(input_tokens=9, output_tokens=1, shared_prefix_tokens=4), LoadPoint(concurrency=1)),
        (Workload(input_tokens=9, output_tokens=1, chat=True, turns=2), LoadPoint(concurrency=1)),
        (Workload(input_tokens=9, output_tokens=1, sampling={"top_p": 0.5}), LoadPoint(concurrency=1)),
        (Workload(input_tokens=9, output_tokens=1), LoadPoint(rate=Ramp(1, 2), duration_s=3)),
        (Workload(input_tokens=9, output_tokens=1), LoadPoint.of_batch(8)),
    ],
)
def test_what_it_does_not_know_is_not_told_as_something_else(workload: Workload, point: LoadPoint) -> None:
    assert load_command(workload, point) is None


def test_an_engine_that_was_started_for_the_test_is_at_the_port_that_one_starts_it_at() -> None:
    workload, point = Workload(input_tokens=9, output_tokens=1), LoadPoint(concurrency=1, requests=8)
    assert load_command(workload, point) == (
        "llmperf load http://127.0.0.1:8000 --input-tokens 9 --output-tokens 1 --concurrency 1 --requests 8"
    )
