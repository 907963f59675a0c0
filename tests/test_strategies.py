from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from pytest_llmperf import DeclarationError, Workload
from pytest_llmperf.declare.load import Sweep
from pytest_llmperf.declare.subject import parse_subject
from pytest_llmperf.strategies import engine_flags, load_points, measured, workloads

QUICK = settings(database=None, deadline=None)
FLAGS: dict[str, st.SearchStrategy[Any]] = {
    "--parallel": st.integers(1, 8),
    "--flash-attn": st.booleans(),
    "-ngl": st.integers(0, 99),
}


@given(
    workloads(
        input_tokens=(1, 4096),
        output_tokens=(1, 64),
        chat=st.booleans(),
        turns=(1, 3),
        shared_prefix_tokens=(0, 64),
    )
)
def test_every_workload_can_be_asked_for(workload: Workload) -> None:
    assert isinstance(workload.input_tokens, int)
    assert workload.shared_prefix_tokens < workload.input_tokens <= 4096
    assert workload.turns == 1 or workload.chat


def test_the_smallest_workload_is_found_whatever_is_asked_of_it() -> None:
    all_of_them = workloads(
        input_tokens=(16, 4096), output_tokens=(1, 512), chat=st.booleans(), shared_prefix_tokens=(0, 99)
    )
    assert find(all_of_them, lambda _: True, settings=QUICK) == Workload(input_tokens=16, output_tokens=1)
    wanted = find(
        all_of_them, lambda one: one.most_output_tokens > 9 and one.input_tokens >= 300, settings=QUICK
    )
    assert wanted == Workload(input_tokens=300, output_tokens=10)


@given(load_points(rate=(0.5, 8), duration=(1, 5)) | load_points(concurrency=(1, 64), requests=(1, 100)))
def test_every_load_can_be_driven(load: dict[str, float]) -> None:
    said = {{"rate": "rates"}.get(name, name): value for name, value in load.items()}
    named = {name: [value] if name in ("rates", "concurrency") else value for name, value in said.items()}
    (point,) = Sweep.of(**named).points()
    assert point.mean_rate is None or 0.5 <= point.mean_rate <= 8
    assert point.concurrency is None or 1 <= point.concurrency <= 64


def test_the_lowest_load_is_found() -> None:
    both = load_points(rate=(0.5, 8), requests=(1, 100))
    assert find(both, lambda _: True, settings=QUICK) == {"rate": 0.5, "requests": 1}
    assert find(both, lambda load: load["rate"] > 2.25, settings=QUICK) == {"rate": 2.3, "requests": 1}
    assert find(load_points(rate=3, duration=2.5), lambda _: True) == {"rate": 3, "duration": 2.5}


@given(engine_flags("llamacpp==1.2 --threads 2", FLAGS))
def test_every_choice_of_flags_is_a_subject(text: str) -> None:
    subject = parse_subject(text)
    assert (subject.engine, subject.version, subject.args[:2]) == ("llamacpp", "1.2", ("--threads", "2"))
    assert set(subject.args[2:]) & {"True", "False", "None"} == set()


def test_the_fewest_flags_are_found() -> None:
    subjects = engine_flags("llamacpp", FLAGS)
    assert find(subjects, lambda _: True, settings=QUICK) == "llamacpp"
    assert find(subjects, lambda text: "--flash" in text, settings=QUICK) == "llamacpp --flash-attn"
    many = find(subjects, lambda text: "--parallel" in text and " 1" not in text, settings=QUICK)
    assert many == "llamacpp --parallel 2"


ANY: Any = workloads
FLAGGED: Any = engine_flags
AT: Any = load_points


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: ANY(input_tokens=0), "input_tokens=0: a whole number from 1"),
        (lambda: ANY(input_tokens=(5, 2)), r"input_tokens=\(5, 2\)"),
        (lambda: ANY(input_tokens=True), "input_tokens=True"),
        (lambda: ANY(input_tokens=4, output_tokens=2.5), "output_tokens=2.5"),
        (lambda: ANY(input_tokens=(1, 2, 3)), r"input_tokens=\(1, 2, 3\)"),
        (lambda: ANY(input_tokens=4, chat="yes"), "chat='yes'"),
        (lambda: AT(), "either rate= or concurrency="),
        (lambda: AT(rate=1, concurrency=1), "either rate= or concurrency="),
        (lambda: AT(rate=0), "rate=0: a number greater than 0"),
        (lambda: AT(concurrency=(0, 3)), r"concurrency=\(0, 3\)"),
        (lambda: FLAGGED("http://host:1", {}), "takes no flags"),
        (lambda: FLAGGED("llamacpp", {"parallel": st.just(1)}), "begins with a dash"),
        (lambda: FLAGGED("llamacpp", {"--parallel": 4}), "a strategy"),
    ],
)
def test_what_cannot_be_meant_is_told_at_once(make: Any, told: str) -> None:
    with pytest.raises(DeclarationError, match=told):
        make()


def test_examples_are_shown_as_one_would_write_them() -> None:
    @settings(database=None)
    @given(workloads(input_tokens=(1, 400)))
    def fails(workload: Workload) -> None:
        assert workload.input_tokens == 1

    with pytest.raises(AssertionError) as raised:
        fails()
    assert "workload=Workload(input_tokens=2, output_tokens=1)" in "\n".join(raised.value.__notes__)


def test_the_settings_are_those_of_examples_that_take_their_time() -> None:
    assert measured.deadline is None
    assert Phase.explain not in measured.phases
    assert Phase.shrink in measured.phases
    assert HealthCheck.function_scoped_fixture in measured.suppress_health_check
    assert settings(measured, max_examples=7).report_multiple_bugs is False


def test_without_hypothesis_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['hypothesis'] = None; import pytest_llmperf.strategies"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'pytest-llmperf[hypothesis]'" in done.stderr.splitlines()[-1]


def test_nothing_else_imports_it() -> None:
    code = "import sys, pytest_llmperf.activate, pytest_llmperf.probing; print('hypothesis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
