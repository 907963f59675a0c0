"""Against cmark-gfm, the program that GitHub's Markdown is defined by."""

from __future__ import annotations

import html
import re

import cmarkgfm
import pytest
from cmarkgfm.cmark import Options
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.report.gfm import block, code, folded, plain, table

ZERO_WIDTH = "\u200b"
SIGNS = "|`\\*_~<>&#@[](){}!:;.,-+=$\"'/%^? \n\r\t\x1b\u202e\u200d\u2028"
TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet=SIGNS + "aGHw1", max_size=60),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "@octocat and @org/team",
            "fixes #123, GH-123, owner/repo#1",
            "https://evil.example/x www.evil.example a@evil.example",
            "![x](http://evil.example/x.png) [y](javascript:z)",
            "a | b \\| c \\\\| d",
            "``` \n::error::x\n```",
            "</details></code></td>",
            "$x$ $$y$$ :tada: ~~z~~",
            "&lt;b&gt; &#64;",
            "x" * 10_000,
        ]
    ),
)


def rendered(markdown: str) -> str:
    return str(cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE))


def text_of(fragment: str) -> str:
    """What a person reads: without tags, and without what has no width."""
    return html.unescape(re.sub(r"<[^>]*>", "", fragment)).replace(ZERO_WIDTH, "")


def read(text: str, most: int = 200) -> str:
    """What is left of a text: on one line, printable, cut."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return " ".join((shown if len(shown) <= most else shown[: most - 1] + "…").split())


@settings(max_examples=60)
@given(TEXTS)
def test_plain_text_is_text_in_a_sentence(text: str) -> None:
    (paragraph,) = re.findall(r"\A<p>(.*)</p>\n\Z", rendered(f"it says {plain(text)}, and so on"), re.DOTALL)
    assert "<" not in paragraph
    assert " ".join(text_of(paragraph).split()) == " ".join(f"it says {read(text)}, and so on".split())


@settings(max_examples=60)
@given(TEXTS)
def test_nothing_in_plain_text_is_linked_by_what_comes_after_markdown(text: str) -> None:
    shown = html.unescape(plain(text))
    assert not re.search(r"[@#]\w|GH-\d|://|www\.\w|:\w+:", shown)


@settings(max_examples=60)
@given(TEXTS)
def test_code_is_code_in_a_sentence(text: str) -> None:
    markup = rendered(f"it is {code(text)} here")
    if not read(text):
        assert "<code>" not in markup
        return
    (shown,) = re.findall(r"\A<p>it is <code>([^<]*)</code> here</p>\n\Z", markup)
    assert text_of(shown).strip() == read(text)


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_cells_hold_what_was_put_in_them(first: str, second: str) -> None:
    lines = table(["one", "two:"], [(code(first), plain(second)), ("`x`", "y")])
    markup = rendered("\n".join(lines))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", markup, re.DOTALL)
    assert [text_of(cell).strip() for cell in cells] == [read(first), read(second), "x", "y"]
    assert set(re.findall(r"</?(\w+)", markup)) <= {"table", "thead", "tbody", "tr", "th", "td", "code"}


@settings(max_examples=60)
@given(st.lists(TEXTS, max_size=5))
def test_a_block_is_left_by_none_of_its_lines(lines: list[str]) -> None:
    markup = rendered("\n".join([*block(lines), "", "after"]))
    (inside,) = re.findall(r"\A<pre><code>([^<]*)</code></pre>\n<p>after</p>\n\Z", markup)
    shown = [" ".join(line.split()) for line in html.unescape(inside).split("\n")[:-1]]
    assert shown == [read(line.expandtabs(4).rstrip()) for line in lines]


@pytest.mark.parametrize(("lines", "told"), [(3, 3), (5, 5), (6, 5), (100, 5)])
def test_a_long_block_is_cut_and_says_so(lines: int, told: int) -> None:
    shown = block(["x"] * lines, most=4)[1:-1]
    assert len(shown) == min(told, lines)
    assert (shown[-1] == f"… and {lines - 4} more lines") == (lines > 5)


def test_what_is_folded_is_markdown_still() -> None:
    markup = rendered("\n".join(folded("3 more", ["| a |", "| --- |", "| `b` |", ""])))
    assert markup.index("<details><summary>3 more</summary>") < markup.index("<td><code>b</code></td>")
    assert markup.rstrip().endswith("</details>")
