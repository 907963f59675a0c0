"""HTML from Python: whatever is in a text, it is text."""

from __future__ import annotations

import html
import json
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.report.markup import data, escaped, join, tag
from pytest_llmperf.report.printable import printable

TEXTS = st.text(max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "a\x1b[31mb",
        "\u202egnp.exe",
        "a\u200bb",
        "\"'`|&",
    ]
)


class Reader(HTMLParser):
    """What a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)


@given(TEXTS, TEXTS)
def test_a_text_and_an_attribute_are_read_back_as_they_can_be_shown(text: str, title: str) -> None:
    read = Reader(tag("p", text, title=title, data_is_it=True, hidden=False, lang=None))
    assert read.tags == ["p"]
    assert read.text == printable(text)
    assert read.attributes == [{"title": printable(title), "data-is-it": None}]


@given(st.recursive(TEXTS | st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_children_may_be_nested_and_missing(children: object) -> None:
    def flat(child: object) -> str:
        if isinstance(child, list):
            return "".join(map(flat, child))
        return printable(str(child)) if child is not None else ""

    assert Reader(tag("div", children)).text == flat(children)  # type: ignore[arg-type]


def test_markup_is_not_escaped_again_and_a_void_element_has_no_end() -> None:
    assert join([tag("b", "1 < 2"), tag("br")]) == "<b>1 &lt; 2</b><br>"


def test_what_is_too_long_for_a_page_is_cut() -> None:
    assert len(html.unescape(escaped("x" * 10_000))) == 4000


@given(
    st.dictionaries(TEXTS, TEXTS | st.floats(allow_nan=False, allow_infinity=False) | st.none(), max_size=4)
)
def test_json_in_a_page_is_the_same_json_and_ends_no_script(content: dict[str, object]) -> None:
    written = data(content)
    assert json.loads(written) == content
    assert not set("<>&\u2028\u2029") & set(written)
