from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.nodeid import short_name, split_name


@pytest.mark.parametrize(
    ("nodeid", "file", "name"),
    [
        ("perf/test_a.py::test_it", "perf/test_a.py", "test_it"),
        ("perf/test_a.py::TestB::test_it[1]", "perf/test_a.py::TestB", "test_it[1]"),
        ("a.py::test_it[http://[::1]:8000]", "a.py", "test_it[http://[::1]:8000]"),
        ("a.py::test_it[std::vector]", "a.py", "test_it[std::vector]"),
        ("runs[1]/a.py::test_it[a.py::b]", "runs[1]/a.py", "test_it[a.py::b]"),
        ("test_it[a::b]", "", "test_it[a::b]"),
        ("test_it", "", "test_it"),
        ("", "", ""),
    ],
)
def test_a_name_is_what_follows_the_file_and_the_class(nodeid: str, file: str, name: str) -> None:
    assert split_name(nodeid) == (file, name)


@given(st.text())
def test_parameters_are_never_cut(params: str) -> None:
    assert short_name(f"perf/test_a.py::TestB::test_it[{params}]") == f"test_it[{params}]"
