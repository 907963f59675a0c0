from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.search import GRID_POINTS, Search, read_search
from pytest_llmperf.errors import DeclarationError


@pytest.mark.parametrize(
    ("text", "search"),
    [
        ("adaptive", Search("adaptive")),
        (" adaptive:6 ", Search("adaptive", 6)),
        ("linear", Search("linear", GRID_POINTS)),
        ("linear:5", Search("linear", 5)),
    ],
)
def test_a_search_is_read_as_it_is_written(text: str, search: Search) -> None:
    assert read_search(text) == search
    assert read_search(str(search)) == search


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "adaptiv",
            "rates='adaptiv': a list of numbers, as in rates=[1, 2, 4], or one of adaptive, adaptive",
        ),
        ("adaptive:", "from 2 to 50 points, as in adaptive:8"),
        ("adaptive:1", "from 2 to 50 points"),
        ("linear:51", "from 2 to 50 points"),
        ("linear:2.5", "from 2 to 50 points"),
        ("linear:-3", "from 2 to 50 points"),
    ],
)
def test_what_is_no_search_is_refused_in_words(text: str, told: str) -> None:
    with pytest.raises(DeclarationError) as error:
        read_search(text)
    assert told in str(error.value)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        search = read_search(text)
    except DeclarationError:
        return
    assert read_search(str(search)) == search
